"""The gate: what is worse, by how much it may be, and what is said about it."""

import json

import numpy as np
import pytest

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.comparison import Comparison, PairedOutcome, compare
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.learning.metrics.promotion import (
    Decision,
    Promotion,
    PromotionCriteria,
    decide_promotion,
    first_promotion,
    rejected_promotion,
)


def compared(*groups: tuple[str, int, int, int]) -> Comparison:
    """Of (class, its examples, how many only the first got right, how many only the second).

    The rest was right in both.
    """
    pairs = []
    for name, count, only_first, only_second in groups:
        for place in range(count):
            rights = place >= only_second, not only_second <= place < only_second + only_first
            pairs.append(
                PairedOutcome(
                    target=Target.of_label(name),
                    weight=1.0,
                    first=PredictionOutcome(labels=(name if rights[0] else "wrong",), loss=0.1),
                    second=PredictionOutcome(labels=(name if rights[1] else "wrong",), loss=0.1),
                )
            )
    return compare(pairs)


def of_numbers(before: float, after: float, count: int = 8) -> Comparison:
    pair = PairedOutcome(
        target=Target.of_value(0.0),
        weight=1.0,
        first=PredictionOutcome(value=before, loss=before),
        second=PredictionOutcome(value=after, loss=after),
    )
    return compare([pair] * count)


def decision(comparison: Comparison, **gate: float) -> Decision:
    return decide_promotion(PromotionCriteria(**gate), "stable", 3, comparison).decision


def test_a_version_that_is_as_good_is_promoted() -> None:
    promotion = decide_promotion(PromotionCriteria(), "stable", 3, compared(("cat", 50, 5, 5)))
    assert promotion.is_promoted
    assert promotion.baseline == 3
    assert "version 3" in promotion.reasons[0]


def test_a_fall_beyond_the_margin_that_chance_explains_does_not_stop_a_version() -> None:
    assert decision(compared(("cat", 100, 2, 0))) is Decision.PROMOTED
    assert decision(compared(("cat", 228, 11, 8))) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 4, 0))) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 5, 0))) is Decision.KEPT
    assert decision(compared(("cat", 228, 24, 10))) is Decision.KEPT


def test_every_fall_beyond_the_margin_counts_at_a_significance_of_one() -> None:
    strict = {"significance": 1.0}
    assert decision(compared(("cat", 100, 1, 0)), **strict) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 2, 0)), **strict) is Decision.KEPT
    assert decision(compared(("cat", 100, 2, 0)), max_drop=0.02, **strict) is Decision.PROMOTED
    assert decision(compared(("cat", 100, 1, 0)), max_drop=0.0, **strict) is Decision.KEPT


def test_a_significant_fall_within_the_margin_is_allowed() -> None:
    comparison = compared(("cat", 1000, 9, 0))
    assert comparison.worse_p_value < 0.01
    assert decision(comparison) is Decision.PROMOTED
    assert decision(comparison, max_drop=0.005) is Decision.KEPT


def test_a_class_must_not_get_worse_for_others() -> None:
    comparison = compared(("cat", 100, 0, 15), ("dog", 30, 8, 0))
    promotion = decide_promotion(PromotionCriteria(), "stable", 3, comparison)
    assert promotion.decision is Decision.KEPT
    assert promotion.reasons == (
        "The recall of class 'dog' falls by 26.67% on 30 examples (p = 0.0039); 10.00% is allowed.",
    )
    assert promotion.comparison == comparison
    assert decision(comparison, max_class_drop=0.3) is Decision.PROMOTED


def test_a_class_of_few_examples_is_not_compared_individually() -> None:
    comparison = compared(("cat", 100, 0, 15), ("dog", 9, 8, 0))
    assert decision(comparison) is Decision.PROMOTED
    assert decision(comparison, min_class_examples=9) is Decision.KEPT


def test_many_fallen_classes_are_counted_the_worst_are_named() -> None:
    groups = [(f"class {place}", 20, 10 + place, 0) for place in range(8)]
    reasons = decide_promotion(PromotionCriteria(), "stable", 1, compared(*groups)).reasons
    assert "'class 7'" in reasons[1]
    assert reasons[-1] == "The recall of 3 further classes falls by more than is allowed."


@pytest.mark.parametrize(("count", "classes", "accuracy"), [(40, 2, 0.7), (228, 10, 0.9), (1000, 20, 0.95)])
def test_equally_good_versions_are_rejected_as_rarely_as_promised(
    count: int, classes: int, accuracy: float
) -> None:
    rng = np.random.default_rng(count)
    stopped = np.zeros(2)
    repeats = 300
    for _ in range(repeats):
        # Both err on the same hard examples half of the time, and by chance on others.
        hard = rng.random(count) < (1 - accuracy) / 2
        only = [~hard & (rng.random(count) < (1 - accuracy) / 2) for _ in range(2)]
        labels = np.arange(count) % classes
        groups = [
            (
                f"class {label}",
                int((labels == label).sum()),
                int((only[1] & ~only[0] & (labels == label)).sum()),
                int((only[0] & ~only[1] & (labels == label)).sum()),
            )
            for label in range(classes)
        ]
        reasons = decide_promotion(PromotionCriteria(), "stable", 1, compared(*groups)).reasons
        stopped += any("accuracy falls" in one for one in reasons), any("recall" in one for one in reasons)
    # Two standard errors of 300 repetitions.
    assert (stopped / repeats <= 0.05 + 0.025).all()


def test_a_real_regression_is_stopped() -> None:
    rng = np.random.default_rng(1)
    kept = 0
    for _ in range(200):
        # From 92 to 82 % of 228 examples.
        only_first, only_second = rng.multinomial(228, [0.13, 0.03, 0.84])[:2]
        kept += decision(compared(("cat", 228, int(only_first), int(only_second)))) is Decision.KEPT
    assert kept >= 0.95 * 200


def test_the_error_of_numbers_may_rise_by_a_part() -> None:
    assert decision(of_numbers(10.0, 10.1)) is Decision.PROMOTED
    assert decision(of_numbers(10.0, 10.2)) is Decision.KEPT
    assert decision(of_numbers(10.0, 10.2), max_drop=0.05) is Decision.PROMOTED
    assert decision(of_numbers(10.0, 10.2, count=4)) is Decision.PROMOTED
    assert decision(of_numbers(10.0, 10.2, count=4), significance=1.0) is Decision.KEPT
    assert (
        "rises from 10 to 10.2"
        in decide_promotion(PromotionCriteria(), "stable", 1, of_numbers(10.0, 10.2)).reasons[0]
    )
    assert decision(of_numbers(0.0, 0.0)) is Decision.PROMOTED


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_drop", -0.1),
        ("max_drop", 1.1),
        ("max_drop", float("nan")),
        ("max_class_drop", 2.0),
        ("min_class_examples", -1),
        ("significance", 0.0),
        ("significance", 1.5),
        ("significance", float("nan")),
    ],
)
def test_margins_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InvalidField, match="Received") as caught:
        PromotionCriteria(**{field: value}).check("spec.promote_if")
    assert caught.value.field == f"spec.promote_if.{field}"


@pytest.mark.parametrize(
    "promotion",
    [
        first_promotion("stable"),
        rejected_promotion("stable", 2, "It could not be compared."),
        decide_promotion(PromotionCriteria(), "stable", 3, compared(("cat", 50, 5, 5))),
        decide_promotion(PromotionCriteria(), "stable", 3, of_numbers(1.0, 2.0)),
        decide_promotion(PromotionCriteria(), "stable", 3, of_numbers(1.0, 2.0, count=1)),
    ],
)
def test_a_promotion_survives_its_json(promotion: Promotion) -> None:
    # As a database takes it: JSON has no infinity.
    written = json.dumps(promotion.to_json(), allow_nan=False)
    assert Promotion.from_json(json.loads(written)) == promotion
