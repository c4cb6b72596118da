"""Finding some fields in messages quickly: where to look in each type of message is worked out once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """What of a type of message to look at.

    Attributes:
        fields: those that are looked for, by name and full name.
        parts: fields with messages that have such fields, and what to look at in these.
    """

    fields: tuple[tuple[str, str], ...]
    parts: tuple[tuple[FieldDescriptor, "FieldPlan"], ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to look at."""
        return not self.fields and not self.parts

    def found(self, message: Message) -> Iterator[tuple[Message, str, str]]:
        """The fields in a message: the part that has it, its name and its full name."""
        for name, full in self.fields:
            yield message, name, full
        for field, inner in self.parts:
            for part in self.parts_of(message, field):
                yield from inner.found(part)

    @staticmethod
    def parts_of(message: Message, field: FieldDescriptor) -> Sequence[Message]:
        """The messages that a field holds; none where it is not set."""
        found = getattr(message, field.name)
        if not field.is_repeated:
            return [found] if message.HasField(field.name) else []
        return list(found.values()) if hasattr(found, "values") else list(found)


@cache
def field_plan(descriptor: Descriptor, wanted: frozenset[str]) -> FieldPlan:
    """Where fields are in a type of message.

    Args:
        descriptor: the type.
        wanted: full names of the fields.
    """
    return _made(descriptor, wanted, frozenset())


def _made(descriptor: Descriptor, wanted: frozenset[str], above: frozenset[str]) -> FieldPlan:
    # A type within itself has no such field further down: a test looks for those that would.
    if descriptor.full_name in above:
        return FieldPlan((), ())
    fields, parts = [], []
    for field in descriptor.fields:
        if field.full_name in wanted:
            fields.append((field.name, field.full_name))
        else:
            inner = _held(field)
            plan = None if inner is None else _made(inner, wanted, above | {descriptor.full_name})
            if plan is not None and not plan.is_empty:
                parts.append((field, plan))
    return FieldPlan(tuple(fields), tuple(parts))


def _held(field: FieldDescriptor) -> Descriptor | None:
    """The type of message that a field holds, or a map's values are of; None for none."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return inner.fields_by_name["value"].message_type
    return inner
