"""The gate: what is worse, by how much it may be, and what is said about it."""

import json

import pytest

from headstart_server.errors import InvalidField
from headstart_server.learning.comparison import Comparison, Pair, compare
from headstart_server.learning.outcome import Outcome
from headstart_server.learning.promotion import Decision, Gate, Promotion, first_of, judge, kept
from headstart_server.learning.target import Target


def compared(*groups: tuple[str, int, int, int]) -> Comparison:
    """Of (class, its examples, how many the first got right, how many the second)."""
    pairs = []
    for name, count, first, second in groups:
        for place in range(count):
            answers = [name if place < right else "wrong" for right in (first, second)]
            pairs.append(
                Pair(
                    target=Target.of_label(name),
                    weight=1.0,
                    first=Outcome(labels=(answers[0],), loss=0.1),
                    second=Outcome(labels=(answers[1],), loss=0.1),
                )
            )
    return compare(pairs)


def of_numbers(before: float, after: float, count: int = 2) -> Comparison:
    pair = Pair(
        target=Target.of_value(0.0),
        weight=1.0,
        first=Outcome(value=before, loss=before),
        second=Outcome(value=after, loss=after),
    )
    return compare([pair] * count)


def decision(comparison: Comparison, **gate: float) -> Decision:
    return judge(Gate(**gate), "stable", 3, comparison).decision


def test_a_version_that_is_as_good_is_promoted() -> None:
    promotion = judge(Gate(), "stable", 3, compared(("cat", 50, 45, 45)))
    assert promotion.is_promoted
    assert promotion.baseline == 3
    assert "version 3" in promotion.reasons[0]


def test_the_accuracy_may_fall_by_the_margin_and_no_more() -> None:
    assert decision(compared(("cat", 100, 90, 89))) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 90, 88))) is Decision.KEPT
    assert decision(compared(("cat", 100, 90, 88)), max_drop=0.02) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 90, 89)), max_drop=0.0) is Decision.KEPT


def test_a_class_must_not_be_given_up_for_others() -> None:
    comparison = compared(("cat", 100, 80, 95), ("dog", 20, 18, 14))
    promotion = judge(Gate(), "stable", 3, comparison)
    assert promotion.decision is Decision.KEPT
    assert promotion.reasons == (
        "The recall of class 'dog' falls by 20.00% on 20 examples; 10.00% is allowed.",
    )
    assert promotion.comparison == comparison
    assert decision(comparison, max_class_drop=0.2) is Decision.PROMOTED


def test_a_class_of_few_examples_is_not_judged_by_itself() -> None:
    comparison = compared(("cat", 100, 80, 95), ("dog", 9, 8, 6))
    assert decision(comparison) is Decision.PROMOTED
    assert decision(comparison, min_class_examples=9) is Decision.KEPT


def test_many_fallen_classes_are_counted_the_worst_are_named() -> None:
    groups = [(f"class {place}", 20, 20, 16 - place) for place in range(8)]
    reasons = judge(Gate(), "stable", 1, compared(*groups)).reasons
    assert "'class 7'" in reasons[1]
    assert reasons[-1] == "The recall of 3 further classes falls by more than is allowed."


def test_the_error_of_numbers_may_rise_by_a_part() -> None:
    assert decision(of_numbers(10.0, 10.1)) is Decision.PROMOTED
    assert decision(of_numbers(10.0, 10.2)) is Decision.KEPT
    assert decision(of_numbers(10.0, 10.2), max_drop=0.05) is Decision.PROMOTED
    assert "rises from 10 to 10.2" in judge(Gate(), "stable", 1, of_numbers(10.0, 10.2)).reasons[0]
    assert decision(of_numbers(0.0, 0.0)) is Decision.PROMOTED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_drop", -0.1),
        ("max_drop", 1.1),
        ("max_drop", float("nan")),
        ("max_class_drop", 2.0),
        ("min_class_examples", -1),
    ],
)
def test_margins_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidField, match="Received") as caught:
        Gate(**{field: value}).check("spec.promote_if")
    assert caught.value.field == f"spec.promote_if.{field}"


@pytest.mark.parametrize(
    "promotion",
    [
        first_of("stable"),
        kept("stable", 2, "It could not be compared."),
        judge(Gate(), "stable", 3, compared(("cat", 50, 45, 45))),
        judge(Gate(), "stable", 3, of_numbers(1.0, 2.0)),
        judge(Gate(), "stable", 3, of_numbers(1.0, 2.0, count=1)),
    ],
)
def test_a_promotion_survives_its_json(promotion: Promotion) -> None:
    # As a database takes it: JSON has no infinity.
    written = json.dumps(promotion.to_json(), allow_nan=False)
    assert Promotion.from_json(json.loads(written)) == promotion
