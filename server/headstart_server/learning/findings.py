"""Faults in the data that can be told without features."""

from collections.abc import Sequence

from headstart_server.errors import ContradictingLabels
from headstart_server.learning.dataset import ExampleFault
from headstart_server.learning.target import Target


def find_label_conflicts(
    digests: Sequence[str], targets: Sequence[Target], ids: Sequence[str]
) -> list[ExampleFault]:
    """The examples whose content came with another target as well, in order.

    Args:
        digests: content digest of each example, [N].
        targets: what it shows, [N].
        ids: the caller's name for it, [N].
    """
    first: dict[str, int] = {}
    other: dict[str, int] = {}
    for index, digest in enumerate(digests):
        earlier = first.setdefault(digest, index)
        if targets[index] != targets[earlier]:
            other.setdefault(digest, index)
    faults = []
    for index, digest in enumerate(digests):
        if digest in other:
            against = first[digest] if targets[index] != targets[first[digest]] else other[digest]
            faults.append(
                ExampleFault(
                    index=index,
                    id=ids[index],
                    reason=ContradictingLabels.reason,
                    message=f"The same content has the label {targets[index]} here and "
                    f"{targets[against]} at example "
                    f"{against}{f' ({ids[against]})' if ids[against] else ''}. Correct or remove one of "
                    "them.",
                )
            )
    return faults
