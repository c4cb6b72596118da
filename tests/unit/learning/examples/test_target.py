"""What an example shows, as JSON and in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task

NAMES = st.text(min_size=1, max_size=4)
TARGETS = st.one_of(
    NAMES.map(Target.of_label),
    st.sets(NAMES, max_size=4).map(Target.of_labels),
    st.dictionaries(NAMES, st.floats(0.01, 1), min_size=1, max_size=3).map(Target.of_shares),
    st.floats(allow_nan=False, allow_infinity=False).map(Target.of_value),
)


@given(TARGETS)
def test_a_target_comes_back_from_json_as_it_was(target: Target) -> None:
    assert Target.from_json(json.loads(json.dumps(target.to_json()))) == target


def test_a_certain_label_is_a_plain_string_in_json() -> None:
    assert Target.of_label("cat").to_json() == Target.of_shares({"cat": 1.0}).to_json() == "cat"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target.of_label("cat"), "'cat'"),
        (Target.of_labels(["dog", "cat"]), "'cat', 'dog'"),
        (Target.of_labels([]), "no label"),
        (Target.of_shares({"dog": 0.25, "cat": 0.75}), "'cat' 0.75, 'dog' 0.25"),
        (Target.of_value(2.5), "2.5"),
    ],
)
def test_it_says_what_it_shows(target: Target, words: str) -> None:
    assert str(target) == words


def test_the_label_is_the_likeliest_class() -> None:
    assert Target.of_shares({"dog": 0.5, "cat": 0.5, "emu": 0.0}).label == "cat"
    assert Target.of_value(1.0).label == ""


def test_targets_are_a_matrix_with_a_column_for_each_class() -> None:
    targets = Targets.from_targets([Target.of_labels(["b", "a"]), Target.of_labels([])], [1.0, 2.0])
    assert targets.class_names == ("a", "b")
    assert targets.matrix.tolist() == [[1, 1], [0, 0]]
    assert targets.subset([1]).weights.tolist() == [2.0]
    assert Targets.from_targets([Target.of_value(3.0)]).matrix.tolist() == [[3.0]]
    assert Targets.from_targets([Target.of_label("b")], class_names=["a", "b"]).labels.tolist() == [1]
    assert Targets.from_targets([Target.of_label("b")]).task is Task.SINGLE_LABEL
