"""Contents that came with several labels."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.examples.dataset import find_label_conflicts
from headstart_server.learning.examples.target import Target


def test_each_side_of_a_conflict_is_reported_with_an_example_of_the_other() -> None:
    faults = find_label_conflicts(
        ["x", "y", "x", "z", "x"],
        list(map(Target.of_label, ["cat", "cat", "dog", "dog", "cat"])),
        ["a", "b", "c", "d", "e"],
    )
    assert [(fault.index, fault.id, fault.reason) for fault in faults] == [
        (0, "a", "CONTRADICTING_LABELS"),
        (2, "c", "CONTRADICTING_LABELS"),
        (4, "e", "CONTRADICTING_LABELS"),
    ]
    expected = "The same content has the label {} here and {} at example {}. Correct or remove one of them."
    assert [fault.message for fault in faults] == [
        expected.format("'cat'", "'dog'", "2 (c)"),
        expected.format("'dog'", "'cat'", "0 (a)"),
        expected.format("'cat'", "'dog'", "2 (c)"),
    ]


def test_equal_content_with_equal_labels_is_no_conflict() -> None:
    assert (
        find_label_conflicts(["x", "x", "y"], list(map(Target.of_label, ["cat", "cat", "dog"])), ["", "", ""])
        == []
    )


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("abc")), max_size=12))
@settings(deadline=None)
def test_exactly_the_contents_with_several_labels_are_found(examples: list[tuple[str, str]]) -> None:
    labels: dict[str, set[str]] = {}
    for digest, label in examples:
        labels.setdefault(digest, set()).add(label)
    faults = find_label_conflicts(
        [digest for digest, _ in examples],
        [Target.of_label(label) for _, label in examples],
        [""] * len(examples),
    )
    expected = [place for place, (digest, _) in enumerate(examples) if len(labels[digest]) > 1]
    assert [fault.index for fault in faults] == expected
    for fault in faults:
        digest, label = examples[fault.index]
        named = int(re.search(r"at example (\d+)\.", fault.message)[1])
        assert examples[named][0] == digest
        assert examples[named][1] != label
