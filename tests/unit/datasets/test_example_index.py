"""Lists of examples in columns: the same records as the list, filters, orders, and their cost."""

import time
from collections.abc import Sequence
from hashlib import sha256

import pytest

from headstart_server.datasets.example_index import ExampleFilter, ExampleIndex, ExampleIssue
from headstart_server.learning.analysis.dataset_findings import (
    DatasetFindings,
    DuplicateGroup,
    ExampleReference,
    LabelIssue,
    Outlier,
)
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.outcomes import PredictionOutcome


def stored(index: int, target: Target, **fields: object) -> StoredExample:
    return StoredExample(
        **{
            "target": target,
            "id": f"{target.label}/{index}",
            "held_out": False,
            "digest": sha256(str(index).encode()).hexdigest(),
            "kind": "image",
            "archive": "job",
            "member": index,
            "media_type": "image/png",
            "nbytes": 100 + index,
            **fields,
        }
    )


def outcome(*labels: str, loss: float = 0.1, **fields: object) -> PredictionOutcome:
    return PredictionOutcome(labels=labels, probability=0.5, loss=loss, confidence=0.75, **fields)


CAT, DOG = Target.of_label("cat"), Target.of_label("dog")
SOFT = Target.of_shares({"cat": 0.75, "dog": 0.25})
EXAMPLES = [
    stored(0, CAT),
    stored(1, DOG, held_out=True, weight=2.0),
    stored(2, SOFT, id="", feedback=True),
    stored(3, DOG, digest=sha256(b"0").hexdigest(), archive="older"),
    stored(4, CAT, id="../x"),
]
OUTCOMES = [
    outcome("cat"),
    outcome("cat", loss=3.0),
    outcome("cat", loss=0.5),
    None,
    outcome("dog", loss=9.0),
]


def reference(index: int) -> ExampleReference:
    return ExampleReference(index=index, id=EXAMPLES[index].id, label=EXAMPLES[index].target)


FINDINGS = DatasetFindings(
    label_issues=(
        LabelIssue(
            example=reference(4), suggested_label=DOG, suggested_probability=0.9, given_probability=0.1
        ),
    ),
    duplicates=(
        DuplicateGroup(
            examples=(reference(1), reference(2)),
            count=2,
            exact=False,
            contradicting=True,
            across_held_out=False,
        ),
    ),
    outliers=(Outlier(example=reference(1), distance_ratio=9.0),),
)


@pytest.fixture
def index() -> ExampleIndex:
    return ExampleIndex(ExampleList(examples=EXAMPLES, outcomes=OUTCOMES), FINDINGS)


def test_an_index_gives_the_same_examples_as_its_list(index: ExampleIndex) -> None:
    assert [index.stored(place) for place in range(len(index))] == EXAMPLES
    assert [index.at(place).outcome for place in range(len(index))] == OUTCOMES


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"label": "cat"}, [0, 2, 4]),
        ({"label": "dog"}, [1, 2, 3]),
        ({"label": "emu"}, []),
        ({"predicted_label": "cat"}, [0, 1, 2]),
        ({"predicted_label": "cat", "label": "dog"}, [1, 2]),
        ({"held_out": True}, [1]),
        ({"held_out": False}, [0, 2, 3, 4]),
        ({"id_prefix": "dog/"}, [1, 3]),
        ({"id_prefix": "../"}, [4]),
        ({"issue": ExampleIssue.ERROR}, [1, 4]),
        ({"issue": ExampleIssue.LABEL_ISSUE}, [4]),
        ({"issue": ExampleIssue.DUPLICATE}, [0, 1, 2, 3]),
        ({"issue": ExampleIssue.CONTRADICTION}, [1, 2]),
        ({"issue": ExampleIssue.OUTLIER}, [1]),
    ],
)
def test_a_filter_keeps_the_examples_that_meet_all_of_it(
    index: ExampleIndex, condition: dict[str, object], expected: Sequence[int]
) -> None:
    assert index.select(ExampleFilter(**condition), by_suspicion=False).tolist() == expected


def test_the_most_suspicious_come_first_and_those_without_a_prediction_last(index: ExampleIndex) -> None:
    assert index.select(ExampleFilter(), by_suspicion=True).tolist() == [4, 1, 2, 0, 3]


def test_label_issues_and_errors_suggest_a_label(index: ExampleIndex) -> None:
    assert dict(index.at(4).findings) == {ExampleIssue.LABEL_ISSUE: DOG, ExampleIssue.ERROR: DOG}


def test_an_id_is_found_wherever_it_is(index: ExampleIndex) -> None:
    assert index.indexes_of("../x") == [4]
    assert index.indexes_of("missing") == []
    twice = ExampleIndex(ExampleList(examples=[EXAMPLES[0]] * 3))
    assert twice.indexes_of("cat/0") == [0, 1]


def test_several_labels_and_numbers_are_listed_too() -> None:
    several = [Target.of_labels(["a", "b"]), Target.of_labels([]), Target.of_value(1.5)]
    outcomes = [outcome("b", "a"), outcome("a"), PredictionOutcome(value=3.0, loss=1.5)]
    index = ExampleIndex(
        ExampleList(examples=[stored(place, each) for place, each in enumerate(several)], outcomes=outcomes)
    )
    assert [index.stored(place).target for place in range(3)] == several
    assert index.select(ExampleFilter(issue=ExampleIssue.ERROR), by_suspicion=False).tolist() == [1]
    assert index.at(2).outcome == outcomes[2]


def test_an_empty_list_has_no_examples() -> None:
    index = ExampleIndex(ExampleList(examples=[]))
    assert index.select(ExampleFilter(label="cat"), by_suspicion=True).tolist() == []


def test_a_page_of_many_examples_costs_a_small_part_of_reading_the_list() -> None:
    examples = [stored(place, CAT if place % 3 else DOG) for place in range(20_000)]
    listed = ExampleList(examples=examples, outcomes=[outcome("cat", loss=place) for place in range(20_000)])
    content = listed.to_bytes()
    began = time.process_time()
    index = ExampleIndex(ExampleList.from_bytes(content))
    reading = time.process_time() - began
    assert index.nbytes < 20_000 * 400
    began = time.process_time()
    for _ in range(5):
        places = index.select(ExampleFilter(label="dog", id_prefix="dog/1"), by_suspicion=True)
        assert len([index.at(place) for place in places[:50].tolist()]) == 50
    assert (time.process_time() - began) / 5 < reading / 4
