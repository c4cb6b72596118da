"""Accuracy, its interval, log loss and confusion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import make_head
from headstart_server.learning.evaluation import (
    Metrics,
    MetricsSource,
    measure,
    measure_held_out,
    wilson_interval,
)
from headstart_server.learning.head import Head


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
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 5000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
@settings(deadline=None)
def test_the_interval_holds_the_share_and_lies_between_zero_and_one(counts: tuple[int, int]) -> None:
    right, count = counts
    low, high = wilson_interval(right, count)
    # The ends touch the share where all or none is right, but for rounding.
    assert 0.0 <= low <= right / count + 1e-12
    assert right / count - 1e-12 <= high <= 1.0


def test_metrics_count_what_was_right_and_what_was_taken_for_what() -> None:
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    metrics = measure(labels, predicted, log_loss=0.4, source=MetricsSource.HELD_OUT)
    low, high = wilson_interval(4, 6)
    assert metrics == Metrics(
        source=MetricsSource.HELD_OUT,
        example_count=6,
        accuracy=4 / 6,
        accuracy_low=low,
        accuracy_high=high,
        log_loss=0.4,
        confusion=((0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 1), (2, 2, 2)),
    )


def test_nothing_measured_is_no_metrics() -> None:
    none = np.array([], np.int64)
    assert measure(none, none, log_loss=0.0, source=MetricsSource.OUT_OF_FOLD) == Metrics()


def test_held_out_metrics_are_those_of_the_head_on_the_examples() -> None:
    head = make_head()
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(50, 12)).astype(np.float32), rng.integers(0, 3, 50)
    logits = features / np.linalg.norm(features, axis=1, keepdims=True) @ head.weights + head.bias
    powers = np.exp(logits / head.temperature)
    likelihood = (powers / powers.sum(axis=1, keepdims=True))[np.arange(50), labels]
    metrics = measure_held_out(head, {"last": features}, labels)
    assert metrics.source is MetricsSource.HELD_OUT
    assert metrics.accuracy == (logits.argmax(axis=1) == labels).mean()
    assert metrics.log_loss == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


def test_a_class_held_impossible_costs_much_but_not_everything() -> None:
    head = Head(
        views=("last",),
        weights=np.eye(2, dtype=np.float32),
        bias=np.zeros(2, np.float32),
        temperature=1e-4,
        class_names=("a", "b"),
    )
    metrics = measure_held_out(head, {"last": np.array([[1.0, 0.0]], np.float32)}, np.array([1]))
    assert metrics.accuracy == 0.0
    assert metrics.log_loss == pytest.approx(-np.log(np.finfo(np.float32).tiny))
