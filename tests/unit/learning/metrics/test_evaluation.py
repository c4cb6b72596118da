"""Accuracy, its interval, log loss and confusion."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.calibration import softmax
from headstart_server.learning.metrics.evaluation import Evaluation, evaluate
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource, measure, wilson_interval


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


def test_a_class_of_probability_zero_has_a_finite_loss() -> None:
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
    targets = Targets.from_targets([Target.of_labels(names) for names in ("ab", "", "b")])
    outputs = np.array([[0.4, 0.9], [0.2, 0.7], [0.2, 0.9]], np.float32)
    thresholds = np.array([0.3, 0.8], np.float32)
    metrics = measure(targets, outputs, thresholds, source=MetricsSource.HELD_OUT)
    assert metrics.accuracy == 1.0
    assert metrics.log_loss == pytest.approx(-np.log([0.4, 0.9, 0.8, 0.3, 0.8, 0.9]).mean(), rel=1e-6)
    assert metrics.confusion == ()


def test_numbers_are_measured_by_their_errors() -> None:
    targets = Targets.from_targets([Target.of_value(value) for value in (1.0, 2.0, 3.0, 6.0)])
    outputs = np.array([[1.0], [2.0], [5.0], [6.0]], np.float32)
    metrics = measure(targets, outputs, NONE, source=MetricsSource.OUT_OF_FOLD)
    assert metrics.mean_absolute_error == 0.5
    assert metrics.root_mean_squared_error == 1.0
    assert metrics.r_squared == pytest.approx(1 - 4 / 14)
    assert metrics.accuracy is None


# In detail, compared with scikit-learn.


def several_labels(seed: int, count: int = 80) -> tuple[Targets, np.ndarray]:
    rng = np.random.default_rng(seed)
    has = rng.uniform(size=(count, 4)) < [0.5, 0.3, 0.2, 0.05]
    targets = Targets(
        task=Task.MULTI_LABEL,
        matrix=has.astype(np.float64),
        weights=rng.uniform(0.5, 2.0, count),
        class_names=tuple("abcd"),
    )
    return targets, np.round(rng.uniform(size=has.shape) * 0.6 + 0.3 * has, 2).astype(np.float32)


def one_of_many(seed: int, count: int = 80) -> tuple[Targets, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    scores = np.round(2 * np.eye(4)[labels] + rng.normal(size=(count, 4)), 1)
    targets = replace(Targets.of_labels(labels, "abcd"), weights=rng.uniform(0.5, 2.0, count))
    return targets, softmax(scores).astype(np.float32)


IDS = [f"id{place}" for place in range(80)]
HALF = np.full(4, 0.5, np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [several_labels, one_of_many])
def test_figures_of_classes_are_those_of_scikit_learn(make, seed: int) -> None:
    targets, outputs = make(seed)
    found = evaluate(targets, outputs, HALF, IDS, source=MetricsSource.HELD_OUT)
    actual, weights = targets.matrix > 0, targets.weights
    predicted = outputs >= 0.5 if make is several_labels else np.eye(4, dtype=bool)[outputs.argmax(axis=1)]
    for place, one in enumerate(found.classes):
        truth, weighed = actual[:, place], {"sample_weight": weights}
        if not truth.any():
            continue
        assert one.support == truth.sum()
        assert one.recall == pytest.approx(recall_score(truth, predicted[:, place], **weighed))
        assert one.f1 == pytest.approx(f1_score(truth, predicted[:, place], **weighed))
        assert one.average_precision == pytest.approx(
            average_precision_score(truth, outputs[:, place], **weighed)
        )
        assert one.roc_auc == pytest.approx(roc_auc_score(truth, outputs[:, place], **weighed))
        assert [point.threshold for point in one.thresholds] == pytest.approx(np.linspace(0, 1, 21))
        for point in one.thresholds[:-1]:
            reached = outputs[:, place] >= np.float32(point.threshold)
            if reached.any():
                assert point.precision == pytest.approx(precision_score(truth, reached, **weighed))
                assert point.recall == pytest.approx(recall_score(truth, reached, **weighed))
    metrics = found.metrics
    present = np.flatnonzero(actual.any(axis=0))
    macro = f1_score(
        actual, predicted, average="macro", labels=present, sample_weight=weights, zero_division=0
    )
    assert metrics.macro_f1 == pytest.approx(macro)
    assert metrics.accuracy == pytest.approx(accuracy_score(actual, predicted, sample_weight=weights))
    if make is one_of_many:
        truth, guess = targets.labels, outputs.argmax(axis=1)
        balanced = balanced_accuracy_score(truth, guess, sample_weight=weights)
        assert metrics.balanced_accuracy == pytest.approx(balanced)
        assert metrics.micro_f1 is None
    else:
        micro = f1_score(actual, predicted, average="micro", sample_weight=weights)
        assert metrics.micro_f1 == pytest.approx(micro)


@pytest.mark.parametrize("values", [[0.1] * 10, [0.1] * 3, [1 / 3] * 7, [0.0, 1e-200]])
def test_numbers_that_do_not_vary_have_no_r_squared(values: list[float]) -> None:
    targets = Targets.from_targets([Target.of_value(value) for value in values])
    outputs = np.full((len(values), 1), 0.2, np.float32)
    assert measure(targets, outputs, NONE, source=MetricsSource.HELD_OUT).r_squared is None


def test_an_evaluation_comes_back_from_json_as_it_was() -> None:
    for targets, outputs in (several_labels(0), one_of_many(0)):
        found = evaluate(targets, outputs, HALF, IDS, source=MetricsSource.HELD_OUT)
        assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
    targets = Targets.from_targets([Target.of_value(value) for value in (1.0, 4.0)])
    outputs = np.array([[1.0], [2.0]], np.float32)
    found = evaluate(targets, outputs, NONE, ["x", "y"], source=MetricsSource.HELD_OUT, interval=(-1.0, 1.0))
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.interval_coverage == 0.5
    assert found.median_absolute_error == 1.0
    assert (found.worst[0].id, found.worst[0].loss, found.worst[0].value) == ("y", 2.0, 2.0)


def test_reliability_is_the_accuracy_of_predictions_by_confidence() -> None:
    targets = Targets.of_labels(np.array([0, 0, 0, 1]), "ab")
    outputs = sure([0, 0, 0, 0], 2, 0.8)
    found = evaluate(targets, outputs, NONE, list("wxyz"), source=MetricsSource.HELD_OUT)
    (only,) = found.reliability
    assert (only.low, only.high) == (0.8, 13 / 15)
    assert (only.count, only.accuracy) == (4, 0.75)
    assert only.confidence == pytest.approx(0.8)
    assert found.metrics.calibration_error == pytest.approx(0.05)


def test_confused_pairs_come_by_their_number_and_the_worst_examples_by_their_loss() -> None:
    targets = Targets.of_labels(np.array([0, 0, 1, 2, 2]), "abc")
    outputs = sure([1, 1, 2, 2, 0], 3)
    outputs[0] = [0.01, 0.9, 0.09]
    found = evaluate(targets, outputs, NONE, list("vwxyz"), source=MetricsSource.HELD_OUT)
    assert [(one.actual, one.predicted, one.count) for one in found.confused] == [
        ("a", "b", 2),
        ("b", "c", 1),
        ("c", "a", 1),
    ]
    worst = found.worst[0]
    assert (worst.index, worst.id, worst.labels, worst.predicted) == (0, "v", ("a",), ("b",))
    assert worst.probability == pytest.approx(0.01)
    assert worst.loss == pytest.approx(-np.log(0.01))
    assert [one.loss for one in found.worst] == sorted((one.loss for one in found.worst), reverse=True)


def test_a_missed_one_of_several_labels_is_confused_with_the_predicted_ones() -> None:
    targets = Targets.from_targets([Target.of_labels("a"), Target.of_labels("ab")])
    outputs = np.array([[0.1, 0.9], [0.9, 0.2]], np.float32)
    found = evaluate(targets, outputs, HALF[:2], ["x", "y"], source=MetricsSource.HELD_OUT)
    assert [(one.actual, one.predicted, one.count) for one in found.confused] == [("a", "b", 1)]
    assert found.worst[0].probability == pytest.approx(0.1)
    assert found.worst[1].labels == ("a", "b")
    assert found.worst[1].predicted == ("a",)


def test_examples_that_do_not_count_are_left_out_and_places_stay() -> None:
    targets = Targets.of_labels(np.array([0, 1, 1]), "ab")
    counted = np.array([False, True, True])
    found = evaluate(
        targets, sure([1, 1, 0], 2), NONE, list("xyz"), source=MetricsSource.OUT_OF_FOLD, counted=counted
    )
    assert found.metrics.example_count == 2
    assert (found.worst[0].index, found.worst[0].id) == (2, "z")
    nothing = evaluate(
        targets,
        sure([1, 1, 0], 2),
        NONE,
        list("xyz"),
        source=MetricsSource.OUT_OF_FOLD,
        counted=~targets.labels.astype(bool) & counted,
    )
    assert nothing == Evaluation(metrics=Metrics())


def test_a_class_that_the_head_does_not_know_counts_as_wrong() -> None:
    targets = replace(Targets.of_labels(np.array([0, 0]), "ab"), matrix=np.array([[1.0, 0.0], [0.0, 0.0]]))
    found = evaluate(targets, sure([0, 0], 2), NONE, ["x", "y"], source=MetricsSource.HELD_OUT)
    assert found.metrics.accuracy == 0.5
    assert found.metrics.confusion == ((0, 0, 1),)
    assert found.worst[0].id == "y"
    assert found.worst[0].labels == ()
    assert found.worst[0].loss > 80


@pytest.mark.parametrize(("weights", "median"), [([1, 1, 1], 2.0), ([1, 1, 5], 4.0), ([1, 1, 2], 3.0)])
def test_half_of_the_weight_lies_below_the_median_error(weights: list[float], median: float) -> None:
    targets = Targets.from_targets([Target.of_value(value) for value in (1.0, 2.0, 4.0)], weights)
    found = evaluate(targets, np.zeros((3, 1), np.float32), NONE, list("xyz"), source=MetricsSource.HELD_OUT)
    assert found.median_absolute_error == median


@pytest.mark.parametrize("count", [1, 3, 1000, 2500])
def test_value_pairs_are_spread_evenly_over_all_examples(count: int) -> None:
    values = np.arange(count, dtype=np.float32)
    targets = Targets(
        task=Task.REGRESSION, class_names=("value",), matrix=values[:, None], weights=np.ones(count)
    )
    evaluation = evaluate(
        targets, values[:, None] + 0.5, NONE, [""] * count, source=MetricsSource.OUT_OF_FOLD
    )

    pairs = evaluation.values
    assert len(pairs) == min(count, 1000)
    assert (pairs[0].actual, pairs[-1].actual) == (0, count - 1)
    assert all(pair.predicted == pair.actual + 0.5 for pair in pairs)
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_an_evaluation_that_was_stored_without_numbers_can_be_read() -> None:
    fields = Evaluation(metrics=Metrics()).to_json()
    del fields["values"]

    assert Evaluation.from_json(fields).values == ()


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e-200, 1e6])
def test_weights_that_are_all_equal_say_nothing_however_small(weight: float) -> None:
    outputs = sure([0, 1, 1, 0], 2)
    targets = Targets.of_labels(np.array([0, 1, 0, 0]), ["a", "b"])
    plain, weighted = (
        measure(one, outputs, np.zeros(0, np.float32), source=MetricsSource.HELD_OUT)
        for one in (targets, replace(targets, weights=np.full(4, weight)))
    )
    assert weighted.accuracy_low == pytest.approx(plain.accuracy_low)
    assert weighted.accuracy_high == pytest.approx(plain.accuracy_high)
