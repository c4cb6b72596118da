"""Label conflicts, which need no features."""

from collections.abc import Sequence

from headstart_server.errors import ContradictingLabels
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.examples.target import Target


def find_label_conflicts(
    digests: Sequence[str], targets: Sequence[Target], ids: Sequence[str]
) -> list[ExampleFault]:
    """Return a fault for each example whose content also has another label, in order."""
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
