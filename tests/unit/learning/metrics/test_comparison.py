"""Two versions side by side: figures by hand, by their definitions, and what is said of them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart_server.errors import NoCommonExamples
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.comparison import (
    MAX_DIFFERING,
    Comparison,
    PairedOutcome,
    compare,
    differing,
)
from headstart_server.learning.metrics.outcomes import PredictionOutcome


def predicted(*labels: str, loss: float = 0.5) -> PredictionOutcome:
    return PredictionOutcome(labels=labels, probability=0.6, loss=loss)


def pairs_of(
    answers: Sequence[tuple[str, str, str]], weights: Sequence[float] | None = None
) -> list[PairedOutcome]:
    """Of (truth, first's answer, second's answer)."""
    return [
        PairedOutcome(
            target=Target.of_label(truth),
            weight=1.0 if weights is None else weights[place],
            first=predicted(first, loss=0.1 if first == truth else 2.0),
            second=predicted(second, loss=0.1 if second == truth else 2.0),
        )
        for place, (truth, first, second) in enumerate(answers)
    ]


def numbers(errors: Sequence[tuple[float, float]]) -> list[PairedOutcome]:
    return [
        PairedOutcome(
            target=Target.of_value(1.0),
            weight=1.0,
            first=PredictionOutcome(value=1.0 + first, loss=abs(first)),
            second=PredictionOutcome(value=1.0 + second, loss=abs(second)),
        )
        for first, second in errors
    ]


def test_the_figures_are_those_counted_by_hand() -> None:
    found = compare(
        pairs_of(
            [
                ("cat", "cat", "cat"),
                ("cat", "dog", "cat"),
                ("cat", "dog", "cat"),
                ("dog", "dog", "cat"),
                ("dog", "dog", "dog"),
            ]
        )
    )
    assert found.example_count == 5
    assert (found.first.accuracy, found.second.accuracy) == pytest.approx((0.6, 0.8))
    assert found.first.balanced_accuracy == pytest.approx((1 / 3 + 1) / 2)
    assert found.second.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert found.first.log_loss == pytest.approx((3 * 0.1 + 2 * 2.0) / 5)
    assert found.difference == pytest.approx(0.2)
    assert (found.only_first_right, found.only_second_right) == (1, 2)
    assert found.p_value == pytest.approx(stats.binomtest(1, 3).pvalue)
    assert not found.significant
    assert [(one.name, one.example_count) for one in found.classes] == [("cat", 3), ("dog", 2)]
    assert (found.classes[0].first_recall, found.classes[0].second_recall) == pytest.approx((1 / 3, 1.0))


def test_a_class_that_one_does_not_know_counts_as_wrong_for_it() -> None:
    found = compare(pairs_of([("cat", "cat", "cat"), ("bird", "cat", "bird")]))
    assert [(one.name, one.first_recall, one.second_recall) for one in found.classes] == [
        ("bird", 0.0, 1.0),
        ("cat", 1.0, 1.0),
    ]


def test_a_large_difference_is_more_than_chance_and_is_said_to_be() -> None:
    found = compare(pairs_of([("cat", "dog", "cat")] * 20 + [("dog", "dog", "dog")] * 30))
    assert found.significant
    assert "second is better, by more than chance" in found.verdict
    assert found.difference_low > 0
    other = compare(pairs_of([("cat", "cat", "dog")] * 20))
    assert "first is better, by more than chance" in other.verdict


def test_a_small_difference_may_be_chance_and_none_is_said_to_be_none() -> None:
    assert "may be chance" in compare(pairs_of([("cat", "dog", "cat"), ("dog", "dog", "dog")])).verdict
    assert "equally good" in compare(pairs_of([("cat", "cat", "cat")] * 5)).verdict


def test_a_few_weighted_examples_that_agree_leave_a_wide_interval() -> None:
    answers = [("cat", "cat", "cat")] * 5
    equal, weighted = compare(pairs_of(answers)), compare(pairs_of(answers, weights=[1.0, 1, 1, 1, 2]))
    assert weighted.difference == equal.difference == 0
    assert (weighted.difference_low, weighted.difference_high) == pytest.approx(
        (equal.difference_low, equal.difference_high), rel=0.1
    )
    assert equal.difference_high > 0.2


def test_equal_weights_of_any_size_give_the_interval_of_unweighted_examples() -> None:
    answers = [("cat", "cat", "dog"), ("dog", "dog", "dog"), ("cat", "dog", "cat"), ("dog", "cat", "dog")]
    one, other = compare(pairs_of(answers)), compare(pairs_of(answers, weights=[0.3] * 4))
    assert (one.difference_low, one.difference_high) == pytest.approx(
        (other.difference_low, other.difference_high)
    )


def test_an_example_counts_by_its_weight() -> None:
    answers = [("cat", "cat", "dog"), ("dog", "dog", "dog"), ("dog", "cat", "dog")]
    weighted = compare(pairs_of(answers, weights=[3.0, 1.0, 2.0]))
    repeated = compare(pairs_of([answers[0]] * 3 + [answers[1]] + [answers[2]] * 2))
    assert asdict(weighted.first) == pytest.approx(asdict(repeated.first), nan_ok=True)
    assert asdict(weighted.second) == pytest.approx(asdict(repeated.second), nan_ok=True)
    assert weighted.difference == pytest.approx(repeated.difference)
    assert weighted.example_count == 3
    assert weighted.only_first_right == 1


def test_several_labels_are_right_if_all_are_and_recalls_are_of_each_class() -> None:
    pairs = [
        PairedOutcome(
            target=Target.of_labels(["red", "big"]),
            weight=1.0,
            first=predicted("red"),
            second=predicted("big", "red"),
        ),
        PairedOutcome(target=Target.of_labels([]), weight=1.0, first=predicted(), second=predicted("red")),
        PairedOutcome(
            target=Target.of_labels(["red"]), weight=1.0, first=predicted("red"), second=predicted("red")
        ),
    ]
    found = compare(pairs)
    assert (found.first.accuracy, found.second.accuracy) == pytest.approx((2 / 3, 2 / 3))
    assert [(one.name, one.example_count, one.first_recall, one.second_recall) for one in found.classes] == [
        ("big", 1, 0.0, 1.0),
        ("red", 2, 1.0, 1.0),
    ]


def test_a_soft_label_is_correct_if_its_most_probable_class_is_predicted() -> None:
    target = Target.of_shares({"cat": 0.6, "dog": 0.4})
    found = compare(
        [PairedOutcome(target=target, weight=1.0, first=predicted("dog"), second=predicted("cat"))]
    )
    assert (found.first.accuracy, found.second.accuracy) == (0.0, 1.0)


def test_numbers_are_compared_by_the_size_of_their_errors() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(0, [2.0, 1.0], (60, 2))
    found = compare(numbers(errors.tolist()))
    sizes = np.abs(errors)
    gains = sizes[:, 0] - sizes[:, 1]
    assert found.first.mean_absolute_error == pytest.approx(sizes[:, 0].mean())
    assert found.difference == pytest.approx(gains.mean())
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (found.difference_low, found.difference_high) == pytest.approx(
        (expected.low, expected.high), rel=1e-4
    )
    assert found.p_value == pytest.approx(stats.wilcoxon(gains, method="approx").pvalue)
    assert found.significant
    assert "second is better" in found.verdict
    assert found.classes == ()
    assert found.first.accuracy is None


def test_without_an_example_there_is_nothing_to_compare() -> None:
    with pytest.raises(NoCommonExamples, match="labeled examples"):
        compare([])


names = st.sampled_from(["cat", "dog", "bird"])


@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=40), st.randoms())
def test_sides_and_order_of_examples_do_not_matter(
    answers: list[tuple[str, str, str]], random: object
) -> None:
    found = compare(pairs_of(answers))
    shuffled = list(answers)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    turned = compare(pairs_of([(truth, second, first) for truth, first, second in shuffled]))
    assert turned.first.accuracy == pytest.approx(found.second.accuracy)
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p_value == pytest.approx(found.p_value)
    assert turned.difference_low == pytest.approx(-found.difference_high)
    assert (turned.only_first_right, turned.only_second_right) == (
        found.only_second_right,
        found.only_first_right,
    )


@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=5))
def test_a_comparison_survives_its_json(answers: list[tuple[str, str, str]]) -> None:
    found = compare(pairs_of(answers))
    assert Comparison.from_json(found.to_json()) == found


def test_the_examples_that_only_one_version_gets_right_come_with_the_worst_first() -> None:
    pairs = pairs_of(
        [
            ("cat", "cat", "cat"),
            ("cat", "dog", "dog"),
            ("cat", "cat", "dog"),
            ("dog", "cat", "dog"),
            ("dog", "cat", "dog"),
            ("dog", "cat", "dog"),
        ]
    )
    losses = {3: 1.0, 4: nan, 5: 3.0}
    pairs = [
        replace(pair, index=index, first=pair.first._replace(loss=losses.get(index, pair.first.loss)))
        for index, pair in enumerate(pairs)
    ]

    first, second = differing(pairs)

    assert [pair.index for pair in first] == [2]
    assert [pair.index for pair in second] == [5, 3, 4]
    assert [len(some) for some in differing(pairs * 200)] == [MAX_DIFFERING, MAX_DIFFERING]
    assert differing(numbers([(0.0, 1.0)])) == ([], [])
