"""Edits of the examples of a parent."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from headstart.label_values import LabelValue


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleEdit:
    """A change of one example of the parent, for one fine-tune. The parent does not change.

    Attributes:
        example_id: ID of the example. Empty: `index` is given.
        index: index of the example among those of the parent, as `Client.examples` returns it. None:
            `example_id` is given.
        label: the new label. None: the label does not change.
        weight: the new weight, above 0. None: the weight does not change.
        held_out: whether the example is excluded from training and measured on. None: as in the parent.
        remove: True leaves the example out.
    """

    example_id: str = ""
    index: int | None = None
    label: LabelValue = None
    weight: float | None = None
    held_out: bool | None = None
    remove: bool = False


Edits: TypeAlias = Collection[ExampleEdit] | Mapping[str | int, LabelValue]
"""Edits of examples, or new labels by the ID or the index of each example."""


def parse_edits(edits: Edits | None, removed: Collection[str] | None) -> tuple[ExampleEdit, ...]:
    """Return edits; IDs of removed examples are edits, too."""
    if isinstance(removed, str) or not all(isinstance(each, str) for each in removed or ()):
        raise TypeError(f"remove must be a list of ids. Received: {removed!r}")
    removals = tuple(ExampleEdit(example_id=each, remove=True) for each in removed or ())
    if isinstance(edits, Mapping):
        return (*map(_relabel, edits.items()), *removals)
    for each in edits or ():
        if not isinstance(each, ExampleEdit):
            raise TypeError(
                f"edits must have ExampleEdit values, or labels by example ID. Received: {each!r}"
            )
    return (*(edits or ()), *removals)


def _relabel(item: tuple[str | int, LabelValue]) -> ExampleEdit:
    key, label = item
    if label is None:
        raise TypeError(f"The new label of example {key!r} is missing. Use remove to leave an example out.")
    if isinstance(key, str):
        return ExampleEdit(example_id=key, label=label)
    return ExampleEdit(index=key, label=label)
