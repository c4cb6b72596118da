"""Accuracy, its interval, log loss and confusion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.learning.evaluation import Metrics, MetricsSource, measure, wilson_interval
from headstart_server.learning.target import Target
from headstart_server.learning.targets import Targets


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [
        # Newcombe 1998, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_the_interval_is_that_of_wilson(right: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(right / count, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
@settings(deadline=None)
def test_the_interval_holds_the_share_and_lies_between_zero_and_one(counts: tuple[int, int]) -> None:
    right, count = counts
    low, high = wilson_interval(right / count, count)
    # The ends touch the share where all or none is right, but for rounding.
    assert 0.0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1.0


def sure(predicted: list[int], classes: int, share: float = 0.7) -> np.ndarray:
    """Outputs that give one class of each row its share, and the rest evenly to the others."""
    rest = (1 - share) / (classes - 1)
    return np.where(np.eye(classes)[predicted] > 0, share, rest).astype(np.float32)


NONE = np.zeros(0, np.float32)


def test_metrics_count_what_was_right_and_what_was_taken_for_what() -> None:
    targets = Targets.of_labels(np.array([0, 0, 1, 2, 2, 2]), "abc")
    metrics = measure(targets, sure([0, 1, 1, 2, 0, 2], 3), NONE, source=MetricsSource.HELD_OUT)
    low, high = wilson_interval(4 / 6, 6)
    assert metrics.source is MetricsSource.HELD_OUT
    assert metrics.example_count == 6
    assert (metrics.accuracy, metrics.accuracy_low, metrics.accuracy_high) == pytest.approx(
        (4 / 6, low, high)
    )
    assert metrics.log_loss == pytest.approx(-(4 * np.log(0.7) + 2 * np.log(0.15)) / 6)
    assert metrics.confusion == ((0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 1), (2, 2, 2))


def test_nothing_measured_is_no_metrics() -> None:
    none = Targets.of_labels(np.array([], np.int64), "ab")
    assert measure(none, sure([], 2), NONE, source=MetricsSource.OUT_OF_FOLD) == Metrics()


def test_a_class_held_impossible_costs_much_but_not_everything() -> None:
    targets = Targets.of_labels(np.array([1]), "ab")
    metrics = measure(targets, sure([0], 2, 1.0), NONE, source=MetricsSource.HELD_OUT)
    assert metrics.accuracy == 0.0
    assert metrics.log_loss == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_weights_count_in_every_figure_but_the_counts() -> None:
    labels, predicted = np.array([0, 1, 1]), [0, 1, 0]
    weighted = replace(Targets.of_labels(labels, "ab"), weights=np.array([1.0, 2.0, 1.0]))
    repeated = Targets.of_labels(np.array([0, 1, 1, 1]), "ab")
    one = measure(weighted, sure(predicted, 2), NONE, source=MetricsSource.HELD_OUT)
    other = measure(repeated, sure([0, 1, 1, 0], 2), NONE, source=MetricsSource.HELD_OUT)
    assert (one.accuracy, one.log_loss) == pytest.approx((other.accuracy, other.log_loss))
    assert one.example_count == 3


def test_several_labels_are_right_where_exactly_those_that_apply_reach_their_thresholds() -> None:
    targets = Targets.of([Target.of_labels(names) for names in ("ab", "", "b")])
    outputs = np.array([[0.4, 0.9], [0.2, 0.7], [0.2, 0.9]], np.float32)
    thresholds = np.array([0.3, 0.8], np.float32)
    metrics = measure(targets, outputs, thresholds, source=MetricsSource.HELD_OUT)
    assert metrics.accuracy == 1.0
    assert metrics.log_loss == pytest.approx(-np.log([0.4, 0.9, 0.8, 0.3, 0.8, 0.9]).mean(), rel=1e-6)
    assert metrics.confusion == ()


def test_numbers_are_measured_by_their_errors() -> None:
    targets = Targets.of([Target.of_value(value) for value in (1.0, 2.0, 3.0, 6.0)])
    outputs = np.array([[1.0], [2.0], [5.0], [6.0]], np.float32)
    metrics = measure(targets, outputs, NONE, source=MetricsSource.OUT_OF_FOLD)
    assert metrics.mean_absolute_error == 0.5
    assert metrics.root_mean_squared_error == 1.0
    assert metrics.r_squared == pytest.approx(1 - 4 / 14)
    assert metrics.accuracy is None
