"""Edits of the examples of a parent, as values."""

import gc
import time

import pytest

from headstart_server.datasets.edited_examples import EditedExamples, edited
from headstart_server.errors import InvalidField, WrongTask
from headstart_server.learning.examples.example_edit import ExampleEdit, checked_edits
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task


def stored(place: int, label: str, example_id: str | None = None) -> StoredExample:
    name = f"{label}{place}" if example_id is None else example_id
    return StoredExample(
        target=Target.of_label(label), id=name, held_out=False, digest=str(place), kind="text", member=place
    )


EXAMPLES = [stored(0, "cat"), stored(1, "dog"), stored(2, "dog"), stored(3, "emu", ""), stored(4, "emu", "")]


def result(*edits: ExampleEdit, erased: set[tuple[str, int]] | None = None) -> EditedExamples:
    return edited(EXAMPLES, checked_edits(edits), erased or set(), Task.SINGLE_LABEL)


def test_labels_weights_and_held_out_flags_change_in_place() -> None:
    made = result(
        ExampleEdit(id="dog1", target=Target.of_shares({"cat": 1, "dog": 1e-9})),
        ExampleEdit(index=3, weight=2.5, held_out=True),
        ExampleEdit(id="dog2", remove=True),
    )
    assert [example.member for example in made.examples] == [0, 1, 3, 4]
    assert made.examples[1].target.label == "cat"
    assert (made.examples[2].weight, made.examples[2].held_out) == (2.5, True)
    assert [example.id for example in made.left_out] == ["dog2"]
    assert made.edited_count == 2
    # Unedited examples are the parent's.
    assert made.examples[0] is EXAMPLES[0]


def test_a_class_is_only_empty_if_no_example_comes_for_it() -> None:
    made = result(ExampleEdit(id="cat0", target=Target.of_label("dog")))
    with pytest.raises(InvalidField, match="Edit 0 leaves class 'cat'") as caught:
        made.check_classes({"dog": 3, "emu": 2}, 5)
    assert caught.value.field == "spec.edits[0]"
    made.check_classes({"cat": 1, "dog": 3, "emu": 2}, 6)


def test_an_edited_example_must_not_be_replaced_as_well() -> None:
    made = result(ExampleEdit(id="cat0", weight=2.0), ExampleEdit(id="dog1", remove=True))
    made.check_replaced({"dog1"})
    with pytest.raises(InvalidField, match="Edit 0 changes the example 'cat0'"):
        made.check_replaced({"cat0"})


def test_an_erased_example_may_be_removed_but_not_changed() -> None:
    erased = {("", 0)}
    assert [each.id for each in result(ExampleEdit(id="cat0", remove=True), erased=erased).left_out] == [
        "cat0"
    ]
    with pytest.raises(InvalidField, match="erased"):
        result(ExampleEdit(id="cat0", weight=2.0), erased=erased)


@pytest.mark.parametrize(
    ("edits", "field"),
    [
        ([ExampleEdit(id="fox", remove=True)], "spec.edits[0].example_id"),
        ([ExampleEdit(index=5, remove=True)], "spec.edits[0].index"),
        ([ExampleEdit(index=0, remove=True), ExampleEdit(id="cat0", weight=1.0)], "spec.edits[1]"),
        ([ExampleEdit(id="cat0", weight=1.0)] * 2, "spec.edits[1]"),
        ([ExampleEdit(id="cat0", target=Target.of_value(1.0))], "spec.edits[0].label.number"),
        ([ExampleEdit(id="cat0", target=Target.of_labels(["dog"]))], "spec.edits[0].label.classes"),
    ],
)
def test_an_edit_that_cannot_be_made_is_named(edits: list[ExampleEdit], field: str) -> None:
    with pytest.raises((InvalidField, WrongTask)) as caught:
        result(*edits)
    assert caught.value.field == field


def test_an_id_of_several_examples_needs_an_index() -> None:
    twice = [stored(0, "cat", "same"), stored(1, "dog", "same")]
    with pytest.raises(InvalidField, match="Use the index"):
        edited(twice, [ExampleEdit(id="same", remove=True)], set(), Task.SINGLE_LABEL)
    made = edited(twice, [ExampleEdit(index=1, remove=True)], set(), Task.SINGLE_LABEL)
    assert [each.member for each in made.examples] == [0]


def test_edits_are_stored_and_read_as_they_were() -> None:
    edits = (
        ExampleEdit(id="a", target=Target.of_labels(["x", "y"]), weight=2.0),
        ExampleEdit(index=0, held_out=False),
        ExampleEdit(id="b", remove=True),
    )
    assert tuple(ExampleEdit.from_json(edit.to_json()) for edit in edits) == edits


def test_the_time_of_many_edits_grows_with_their_number() -> None:
    def seconds(count: int) -> float:
        examples = [stored(place, "cat") for place in range(count)]
        edits = [ExampleEdit(id=f"cat{place}", target=Target.of_label("dog")) for place in range(count)]
        began = time.process_time()
        edited(examples, checked_edits(edits), set(), Task.SINGLE_LABEL)
        return time.process_time() - began

    # As a server does: a collection would search the objects of all tests before this one.
    gc.freeze()
    # The processor may slow down in the middle of a measurement.
    assert min(seconds(40_000) / max(seconds(4_000), 0.01) for _ in range(3)) < 30
