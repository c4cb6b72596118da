"""Faults in the data that can be told without features."""

from collections.abc import Sequence

from headstart_server.errors import ContradictingLabels
from headstart_server.learning.dataset import ExampleFault


def contradictions(digests: Sequence[str], labels: Sequence[str], ids: Sequence[str]) -> list[ExampleFault]:
    """The examples whose content came with another label as well, in order.

    Args:
        digests: content digest of each example, [N].
        labels: its label, [N].
        ids: the caller's name for it, [N].
    """
    first: dict[str, int] = {}
    other: dict[str, int] = {}
    for index, digest in enumerate(digests):
        earlier = first.setdefault(digest, index)
        if labels[index] != labels[earlier]:
            other.setdefault(digest, index)
    faults = []
    for index, digest in enumerate(digests):
        if digest in other:
            against = first[digest] if labels[index] != labels[first[digest]] else other[digest]
            faults.append(
                ExampleFault(
                    index=index,
                    id=ids[index],
                    reason=ContradictingLabels.reason,
                    message=f"Expected one label for the same content. Received: {labels[index]!r} here and "
                    f"{labels[against]!r} at example {against}.",
                )
            )
    return faults
