"""Detailed evaluation of a head on examples it was not fitted on.

The contract documents the fields of the messages with the same names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64
from headstart_server.learning.metrics.class_predictions import ClassPredictions, limits_at
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource, measure
from headstart_server.learning.metrics.outcomes import (
    ExampleOutcome,
    worst_examples,
    worst_regression_examples,
)
from headstart_server.learning.metrics.ranking import RankingCurve, ThresholdPoint
from headstart_server.learning.metrics.reliability import ReliabilityBin, reliability
from headstart_server.storage.json_values import JsonValue


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """Metrics of one class against all others, None if undefined."""

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    roc_auc: float | None
    thresholds: tuple[ThresholdPoint, ...]


def class_metrics(
    targets: Targets, outputs: Float32, predictions: ClassPredictions
) -> tuple[ClassMetrics, ...]:
    """Return the metrics of each class of calibrated outputs [n, C], in the order of the classes."""
    counts = predictions.counts()
    shares = np.stack([counts.precision, counts.recall, counts.f1], axis=1)
    found = []
    for place, name in enumerate(targets.class_names):
        precision, recall, f1 = (None if np.isnan(share) else float(share) for share in shares[place])
        ranking = RankingCurve.from_scores(
            outputs[:, place], predictions.actual[:, place], predictions.weights
        )
        found.append(
            ClassMetrics(
                name=name,
                support=int(counts.support[place]),
                precision=precision,
                recall=recall,
                f1=f1,
                average_precision=ranking.average_precision,
                roc_auc=ranking.roc_auc,
                thresholds=ranking.points(),
            )
        )
    return tuple(found)


#: Maximum reported pairs of confused classes.
MAX_CONFUSED = 50
#: Maximum reported pairs of true and predicted numbers.
MAX_VALUES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusedPair:
    """Two classes that are confused."""

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuePair:
    """A number and its prediction."""

    actual: float
    predicted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation(JsonValue):
    """Detailed evaluation of a head. All metrics except counts respect the weights of examples."""

    metrics: Metrics
    classes: tuple[ClassMetrics, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    confused: tuple[ConfusedPair, ...] = ()
    worst: tuple[ExampleOutcome, ...] = ()
    interval_coverage: float | None = None
    median_absolute_error: float | None = None
    values: tuple[ValuePair, ...] = ()


def evaluate(
    targets: Targets,
    outputs: Float32,
    thresholds: Float32,
    ids: Sequence[str],
    *,
    source: MetricsSource,
    groups: Sequence[str] | None = None,
    counted: NDArray[np.bool_] | None = None,
    interval: Float64 | tuple[float, float] | None = None,
    metrics: Metrics | None = None,
) -> Evaluation:
    """Evaluate calibrated outputs.

    Args:
        targets: labels of N examples. A single label whose shares are all 0 is of a class that the head does
            not know, and counts as wrong.
        outputs: calibrated outputs, [N, C].
        thresholds: of several labels, [C], or [N, C] if each example has its own; empty for 0.5.
        ids: the caller's ID of each example, [N].
        groups: the group of near-duplicates of each example, [N]; None if all differ.
        counted: whether each example counts in metrics of the head, [N]; None for all.
        interval: the ends of the interval of a regression, [2], or [N, 2] if each example has its own, NaN if
            unknown; None if all are unknown.
        metrics: the summary metrics, if they are known.
    """
    places = np.arange(len(targets))
    ends = None if interval is None else np.asarray(interval)
    if counted is not None:
        places = np.flatnonzero(counted)
        targets, outputs, thresholds = targets.subset(places), outputs[places], limits_at(thresholds, places)
        ends = None if ends is None else limits_at(ends, places)
        groups = None if groups is None else [groups[place] for place in places.tolist()]
    if metrics is None:
        metrics = measure(targets, outputs, thresholds, source=source, groups=groups)
    if not len(targets):
        return Evaluation(metrics=metrics)
    if targets.task is Task.REGRESSION:
        return Evaluation(
            metrics=metrics,
            worst=worst_regression_examples(targets, outputs, ids, places),
            interval_coverage=_coverage(targets, outputs, ends),
            median_absolute_error=_median_error(targets, outputs),
            values=_values(targets, outputs),
        )
    predictions = ClassPredictions.from_outputs(targets, outputs, thresholds)
    return Evaluation(
        metrics=metrics,
        classes=class_metrics(targets, outputs, predictions),
        reliability=reliability(targets, outputs, predictions).bins,
        confused=_confused(targets.class_names, predictions),
        worst=worst_examples(targets, outputs, predictions, ids, places),
    )


def _confused(names: Sequence[str], predictions: ClassPredictions) -> tuple[ConfusedPair, ...]:
    """Return missed classes paired with the classes predicted instead in the same example."""
    missed = (predictions.actual & ~predictions.predicted).astype(np.float32)
    instead = (predictions.predicted & ~predictions.actual).astype(np.float32)
    counts = np.rint(missed.T @ instead).astype(np.int64)
    order = np.argsort(-counts, axis=None, kind="stable")[:MAX_CONFUSED]
    pairs = (
        (actual, predicted) for actual, predicted in zip(*np.unravel_index(order, counts.shape), strict=True)
    )
    return tuple(
        ConfusedPair(actual=names[actual], predicted=names[predicted], count=int(counts[actual, predicted]))
        for actual, predicted in pairs
        if counts[actual, predicted]
    )


def _values(targets: Targets, outputs: Float32) -> tuple[ValuePair, ...]:
    count = len(targets)
    rows = np.linspace(0, count - 1, min(count, MAX_VALUES)).round().astype(np.int64)
    predicted, actual = outputs[rows, 0].tolist(), targets.matrix[rows, 0].tolist()
    return tuple(ValuePair(actual=one, predicted=other) for one, other in zip(actual, predicted, strict=True))


def _coverage(targets: Targets, outputs: Float32, interval: Float64 | None) -> float | None:
    if interval is None:
        return None
    errors, low, high = targets.matrix[:, 0] - outputs[:, 0], interval[..., 0], interval[..., 1]
    weights = np.where(np.isnan(low), 0.0, targets.weights)
    within = (errors >= low) & (errors <= high)
    return float(weights @ within / weights.sum()) if weights.any() else None


def _median_error(targets: Targets, outputs: Float32) -> float:
    errors = np.abs(targets.matrix[:, 0] - outputs[:, 0])
    order = np.argsort(errors, kind="stable")
    shares = np.cumsum(targets.weights[order]) / targets.weights.sum()
    # The middle of two errors if exactly half of the weight lies below.
    low, high = (int(np.searchsorted(shares, half)) for half in (0.5 - 1e-12, 0.5 + 1e-12))
    return float(errors[order[low]] + errors[order[min(high, len(order) - 1)]]) / 2
