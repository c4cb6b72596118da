"""The memory of jobs: how much a server gives to them, and whether one fits."""

from collections.abc import Iterable, Mapping

from headstart_server.backbones.contract.memory import limit_bytes
from headstart_server.errors import JobMemoryLimit
from headstart_server.learning.heads.memory_estimate import Sizes, estimated_bytes
from headstart_server.learning.heads.recipe import Recipe, required_views

#: Bytes left to the server itself and its backbones, and the share of all memory that jobs get in any case.
RESERVED = 1 << 30
LEAST_SHARE = 4
_GIB = 1 << 30


def memory_budget(setting: int | None, cached_bytes: int, total: int | None = None) -> int | None:
    """Return the bytes of memory that all jobs of a server may take together; None if unknown.

    Args:
        setting: bytes that an operator gave them; None takes what the machine or container leaves.
        cached_bytes: most bytes of the server's caches.
        total: bytes of the machine or container; None finds out.
    """
    if setting is not None:
        return setting
    total = limit_bytes() if total is None else total
    return None if total is None else max(total - RESERVED - cached_bytes, total // LEAST_SHARE)


def check_memory(
    recipe: Recipe,
    views: Iterable[Mapping[str, int]],
    *,
    examples: int,
    outputs: int,
    limit: int | None,
) -> int | None:
    """Estimate the memory of a job, and check that it fits if it runs alone.

    Args:
        views: sizes of the views of each backbone that it may use; empty ones are not known yet.
        outputs: number of classes, or 1 for numbers.
        limit: most bytes; None for no limit.

    Returns:
        The estimated bytes; None if no sizes are known.
    """
    known = [Sizes(examples=examples, views=sizes, outputs=outputs) for sizes in views if sizes]
    if not known:
        return None
    estimate, largest = max(
        ((estimated_bytes(recipe, sizes), sizes) for sizes in known), key=lambda found: found[0]
    )
    if limit is not None and estimate > limit:
        numbers = sum(largest.views[name] for name in required_views(recipe, largest.views))
        raise JobMemoryLimit(
            f"The fine-tune would take about {estimate / _GIB:,.1f} GiB of memory for {examples:,} examples "
            f"with {numbers:,} features each, and this server gives {limit / _GIB:,.1f} GiB to jobs "
            "(--job-memory). Use fewer examples, a backbone with fewer features, or a server with more "
            "memory.",
            metadata={"limit": str(limit), "estimate": str(estimate)},
        )
    return estimate
