"""The examples of a parent after the edits of a fine-tune."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from headstart_server.errors import InvalidField, WrongTask
from headstart_server.learning.examples.example_checks import FIELDS
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EditedExamples:
    """Examples after edits."""

    # the examples that stay, with their new labels, weights and held-out flags
    examples: Sequence[StoredExample]
    left_out: Sequence[StoredExample]  # the examples that were removed or erased
    # position of the edit that changed each example, by ID
    changed_ids: Mapping[str, int] = field(default_factory=dict)
    # position of the last edit that took an example from each class, by class
    reduced: Mapping[str, int] = field(default_factory=dict)
    edited_count: int = 0  # number of changed examples

    def check_replaced(self, ids: Collection[str]) -> None:
        """Check that no edited example is replaced by a new example with its ID."""
        for example_id, position in self.changed_ids.items():
            if example_id in ids:
                raise InvalidField(
                    f"Edit {position} changes the example {example_id[:80]!r}, and a new example with this "
                    "ID replaces it. Remove the edit or the new example.",
                    field=f"spec.edits[{position}]",
                )

    def check_classes(self, class_counts: Mapping[str, int], total: int) -> None:
        """Check that no edit takes the last example of a class or of the dataset."""
        if not self.reduced:
            return
        for name, position in self.reduced.items():
            if name not in class_counts and (name or not total):
                what = f"class {name[:80]!r}" if name else "the dataset"
                raise InvalidField(
                    f"Edit {position} leaves {what} without examples. Keep an example, add one, or train "
                    "without a parent.",
                    field=f"spec.edits[{position}]",
                )


def edited(
    examples: Sequence[StoredExample],
    edits: Sequence[ExampleEdit],
    erased: Collection[tuple[str, int]],
    task: Task,
) -> EditedExamples:
    """Return the examples of a parent after edits, without the archive members in `erased`."""
    positions = _positions(examples, edits)
    kept, left_out = [], []
    changed_ids, reduced, count = {}, _Reduced(), 0
    for index, example in enumerate(examples):
        is_erased = bool(erased) and (example.archive, example.member) in erased
        position = positions.get(index)
        edit = None if position is None else edits[position]
        if is_erased or (edit is not None and edit.remove):
            if edit is not None and not edit.remove:
                raise InvalidField(
                    f"Edit {position} names {edit}, whose content was erased. Remove the edit.",
                    field=f"spec.edits[{position}]",
                )
            left_out.append(example)
            if position is not None and not is_erased:
                reduced.note(example.target, (), position)
            continue
        if edit is None or position is None:
            kept.append(example)
            continue
        new = _changed(example, edit, position, task)
        reduced.note(example.target, new.target.shares, position)
        kept.append(new)
        count += 1
        if example.id:
            changed_ids[example.id] = position
    return EditedExamples(
        examples=kept,
        left_out=left_out,
        changed_ids=changed_ids,
        reduced=reduced.last,
        edited_count=count,
    )


class _Reduced:
    """Records the last edit that took an example from each class; the empty name stands for the dataset."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}

    def note(self, before: Target, after: Collection[str], position: int) -> None:
        for name in before.shares or ("",):
            if name not in after:
                self.last[name] = max(position, self.last.get(name, 0))


def _positions(examples: Sequence[StoredExample], edits: Sequence[ExampleEdit]) -> dict[int, int]:
    by_id: dict[str, int] = {}
    if any(edit.index is None for edit in edits):
        for index, example in enumerate(examples):
            if example.id:
                by_id[example.id] = -1 if example.id in by_id else index
    found: dict[int, int] = {}
    for position, edit in enumerate(edits):
        index = edit.index if edit.index is not None else by_id.get(edit.id, len(examples))
        if index < 0:
            raise InvalidField(
                f"Edit {position} names {edit}, and the parent has several examples with this ID. Use the "
                "index of the example.",
                field=f"spec.edits[{position}].example_id",
            )
        if index >= len(examples):
            field_name = "example_id" if edit.index is None else "index"
            raise InvalidField(
                f"Edit {position} names {edit}, which is not among the {len(examples)} examples of the "
                "parent. ListExamples lists them.",
                field=f"spec.edits[{position}].{field_name}",
            )
        first = found.setdefault(index, position)
        if first != position:
            raise InvalidField(
                f"Edits {first} and {position} both name {edit}. Combine them into one edit.",
                field=f"spec.edits[{position}]",
            )
    return found


def _changed(example: StoredExample, edit: ExampleEdit, position: int, task: Task) -> StoredExample:
    target = example.target if edit.target is None else _target(edit.target, position, task)
    return example._replace(
        target=target,
        weight=example.weight if edit.weight is None else edit.weight,
        held_out=example.held_out if edit.held_out is None else edit.held_out,
    )


def _target(target: Target, position: int, task: Task) -> Target:
    if target.task is not task:
        raise WrongTask(
            f"The label of edit {position} is for the task {target.task}, but the parent has the task "
            f"{task}. Use a label of this task.",
            field=f"spec.edits[{position}].{FIELDS[target.task]}",
        )
    return target
