"""Changes of stored examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.example_checks import EDITS, check_weight, checked_target
from headstart_server.learning.examples.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleEdit:
    """A change of an example of the parent."""

    id: str = ""  # ID of the example; empty if `index` is given
    index: int | None = None  # index of the example among those of the parent; None if `id` is given
    target: Target | None = None  # the new label; None keeps the label
    weight: float | None = None  # the new weight; None keeps the weight
    held_out: bool | None = None  # whether the example is held out from now on; None keeps the current value
    remove: bool = False

    @property
    def changes(self) -> bool:
        """Whether a label, a weight or `held_out` is given."""
        return self.target is not None or self.weight is not None or self.held_out is not None

    def __str__(self) -> str:
        """Return the name of the example, for messages."""
        return f"example {self.index}" if self.index is not None else f"example {self.id[:80]!r}"

    def to_json(self) -> dict[str, Any]:
        """Return the values that are set as JSON values. Equal edits give equal JSON."""
        fields = {
            "id": self.id or None,
            "index": self.index,
            "target": None if self.target is None else self.target.to_json(),
            "weight": self.weight,
            "held_out": self.held_out,
            "remove": self.remove or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ExampleEdit":
        """Return the edit that `to_json` wrote."""
        target = fields.get("target")
        return cls(
            id=fields.get("id", ""),
            index=fields.get("index"),
            target=None if target is None else Target.from_json(target),
            weight=fields.get("weight"),
            held_out=fields.get("held_out"),
            remove=bool(fields.get("remove")),
        )


def checked_edits(edits: Sequence[ExampleEdit]) -> tuple[ExampleEdit, ...]:
    """Return edits with their labels in normal form."""
    return tuple(_checked(edit, position) for position, edit in enumerate(edits))


def _checked(edit: ExampleEdit, position: int) -> ExampleEdit:
    field = f"{EDITS.path}[{position}]"
    if not edit.id and edit.index is None:
        raise InvalidField(f"Edit {position} names no example. Set example_id or index.", field=field)
    if edit.remove and edit.changes:
        raise InvalidField(
            f"Edit {position} removes {edit} and changes it. Remove it, or set a label, a weight or "
            "held_out.",
            field=field,
        )
    if not edit.remove and not edit.changes:
        raise InvalidField(
            f"Edit {position} does not change {edit}. Set a label, a weight, held_out or remove.", field=field
        )
    if edit.weight is not None:
        check_weight(edit.weight, position, EDITS)
    if edit.target is None:
        return edit
    return replace(edit, target=checked_target(edit.target, position, EDITS))
