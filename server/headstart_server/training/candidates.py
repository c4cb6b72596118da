"""The candidates of the backbone `auto`, in the order in which they are tried."""

from collections.abc import Callable, Sequence
from math import prod

from headstart_server.backbones.contract.backbone import BackboneInfo
from headstart_server.backbones.contract.machine import available_bytes
from headstart_server.backbones.worker.optional_packages import training_missing
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.modality import takes
from headstart_server.errors import InvalidField
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.heads.recipe import Partial, Recipe, required_views

#: Number of candidates if the caller names none.
SHORT_LIST = 4
#: Memory of a network while it is converted and compiled, in multiples of its float32 weights.
TIMES_WEIGHTS = 4

_FLOAT_BYTES = 4


def megabytes(info: BackboneInfo) -> float:
    """Return the size of a backbone's weights in float32, in millions of bytes."""
    return info.parameter_count * _FLOAT_BYTES / 1e6


def by_cost(infos: Sequence[BackboneInfo]) -> list[BackboneInfo]:
    """Return backbones by expected cost, the cheapest first.

    The time is only known after a run. Weights are applied at a number of positions that is proportional to
    the number of pixels, so the order is by the product of weights and pixels. Backbones for which it is
    unknown come last.
    """

    def cost(info: BackboneInfo) -> tuple[bool, int, str]:
        return not info.views, info.parameter_count * prod(info.input_size), info.name

    return sorted(infos, key=cost)


class Candidates:
    """The candidates of one fine-tune, known once its first input arrives.

    Args:
        available: returns the bytes of available memory; None if unknown.
    """

    def __init__(
        self, pool: BackbonePool, spec: FineTuneSpec, available: Callable[[], int | None] = available_bytes
    ) -> None:
        self._pool = pool
        self._recipe = spec.recipe
        self._available = available
        self._named = [pool.metadata(name) for name in spec.backbone_candidates]
        for info in self._named:
            # A backbone that was never loaded is unknown: the job checks it.
            if info.views:
                check_recipe(info, spec.recipe)
        modalities = {info.modality.value for info in self._named}
        if len(modalities) > 1:
            raise InvalidField(
                f"Expected backbone_candidates of one modality. Received: {', '.join(sorted(modalities))}.",
                field="spec.backbone_candidates",
            )

    def like(self, default: BackboneInfo, kind: str) -> list[BackboneInfo]:
        """Return the candidates for examples of a kind, the cheapest by its size first."""
        return by_cost(self._named or self._short_list(default, kind))

    def _short_list(self, default: BackboneInfo, kind: str) -> Sequence[BackboneInfo]:
        """Return backbones like the default one that support the recipe and fit into the available memory.

        Of more than `SHORT_LIST` return the cheapest, the largest and some between them, evenly by rank.
        """
        # A backbone that was never loaded may have to be downloaded: callers have to name it. One that is not
        # listed, such as a backbone of precomputed features, has no alternatives.
        infos = self._pool.all_metadata()
        listed = [info for info in infos if info.views and info.modality is default.modality]
        alike = listed if default.name in {info.name for info in infos} else [default]
        able = [info for info in alike if takes(info, kind) and can(info, self._recipe)]
        free = self._available()
        if free is not None:
            able = [
                info
                for info in able
                if self._pool.loaded(info.name) is not None
                or info.parameter_count * _FLOAT_BYTES * TIMES_WEIGHTS <= free
            ]
        if not able:
            raise InvalidField(
                "No backbone of this server supports these examples and this recipe and fits into its "
                "memory. "
                "Name a backbone or candidates.",
                field="spec.backbone",
            )
        ordered = by_cost(able)
        if len(ordered) <= SHORT_LIST:
            return ordered
        step = (len(ordered) - 1) / (SHORT_LIST - 1)
        return [ordered[round(place * step)] for place in range(SHORT_LIST)]


def check_trainable_here(recipe: Recipe) -> None:
    """Check that the packages that a recipe needs are installed."""
    if isinstance(recipe, Partial) and (lacking := training_missing("The recipe 'partial'")):
        raise InvalidField(lacking, field="spec.recipe.partial")


def check_recipe(info: BackboneInfo, recipe: Recipe) -> None:
    """Check that a backbone has the views and the cut that a recipe needs."""
    unknown = [view for view in required_views(recipe, info.views) if view not in info.views]
    if unknown:
        raise InvalidField(
            f"Expected a view of backbone '{info.name}': {', '.join(sorted(info.views))}. "
            f"Received: {unknown[0]!r}.",
            field=f"spec.recipe.{type(recipe).__name__.lower()}.view",
        )
    if isinstance(recipe, Partial) and recipe.blocks not in info.tails:
        known = ", ".join(map(str, info.tails))
        raise InvalidField(
            f"Expected a number of last blocks that backbone '{info.name}' can be cut before: "
            f"{known or 'it cannot be cut'}. Received: {recipe.blocks}.",
            field="spec.recipe.partial.blocks",
        )


def check_known_recipe(info: BackboneInfo, recipe: Recipe) -> None:
    """Check a recipe as `check_recipe`, unless the backbone is being prepared: then the job checks it."""
    if info.is_prepared:
        check_recipe(info, recipe)


def can(info: BackboneInfo, recipe: Recipe) -> bool:
    """Return whether a backbone supports a recipe."""
    try:
        check_recipe(info, recipe)
    except InvalidField:
        return False
    return True
