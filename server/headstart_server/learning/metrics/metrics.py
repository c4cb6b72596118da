"""Summary metrics of a head."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import sqrt

import numpy as np

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64, Ints
from headstart_server.learning.metrics.class_predictions import ClassCounts, ClassPredictions
from headstart_server.learning.metrics.paired_tests import Z_95
from headstart_server.learning.metrics.reliability import reliability
from headstart_server.storage.json_values import JsonValue

#: Smallest probability in a log loss.
LEAST = float(np.finfo(np.float32).tiny)
#: Variance of an out-of-fold accuracy relative to the same number of independent examples. The heads of two
#: folds share most of their examples, so their errors correlate, and no estimate of that variance is unbiased
#: (Bengio and Grandvalet 2004). `make bench-figures` measures the factor; it is less than that of Nadeau and
#: Bengio 2003, which suits repeated splits.
OUT_OF_FOLD_VARIANCE = 1.5
#: Probabilities processed at a time: 8 MB.
_BLOCK = 1 << 20


class MetricsSource(Enum):
    """The examples that metrics were measured on."""

    NONE = "none"
    OUT_OF_FOLD = "out_of_fold"
    HELD_OUT = "held_out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(JsonValue):
    """Summary metrics of a head, None if they do not apply; the contract documents them.

    All metrics except counts respect the weights of examples. `confusion` has (actual, predicted, count) of
    each nonzero cell, by class index.
    """

    source: MetricsSource = MetricsSource.NONE
    example_count: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    log_loss: float | None = None
    confusion: tuple[tuple[int, int, int], ...] = ()
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    micro_f1: float | None = None
    calibration_error: float | None = None
    mean_absolute_error: float | None = None
    root_mean_squared_error: float | None = None
    r_squared: float | None = None


def measure(
    targets: Targets,
    outputs: Float32,
    thresholds: Float32,
    *,
    source: MetricsSource,
    groups: Sequence[str] | None = None,
) -> Metrics:
    """Measure calibrated outputs [n, C], with the thresholds of several labels, [C] or [n, C].

    The accuracy has Wilson's interval for the effective number of examples: a group of near-duplicates, named
    by `groups` [n], counts as one heavier example (Kish 1965), and the out-of-fold variance is
    `OUT_OF_FOLD_VARIANCE` times as large.
    """
    if not len(targets):
        return Metrics()
    if targets.task is Task.REGRESSION:
        return _of_numbers(targets, outputs, source)
    predictions = ClassPredictions.from_outputs(targets, outputs, thresholds)
    weights, counts = targets.weights, predictions.counts()
    accuracy = float(weights @ predictions.correct / weights.sum())
    count = effective_count(weights if groups is None else _summed(weights, groups))
    count = count / OUT_OF_FOLD_VARIANCE if source is MetricsSource.OUT_OF_FOLD else count
    low, high = wilson_interval(accuracy, count)
    present = counts.present
    several = targets.task is Task.MULTI_LABEL
    return Metrics(
        source=source,
        example_count=len(targets),
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        log_loss=float(weights @ losses(targets, outputs) / weights.sum()),
        confusion=() if several else _confusion(predictions),
        balanced_accuracy=float(counts.recall[present].mean()) if present.any() else None,
        macro_f1=float(counts.f1[present].mean()) if present.any() else None,
        micro_f1=_micro_f1(counts) if several else None,
        calibration_error=reliability(targets, outputs, predictions).calibration_error,
    )


def score(targets: Targets, outputs: Float32, thresholds: Float32) -> float | None:
    """Return only the weighted accuracy of `measure`, or R squared of a regression."""
    if targets.task is Task.REGRESSION:
        return _of_numbers(targets, outputs, MetricsSource.NONE).r_squared
    correct = ClassPredictions.from_outputs(targets, outputs, thresholds).correct
    return float(targets.weights @ correct / targets.weights.sum())


def losses(targets: Targets, outputs: Float32) -> Float64:
    """Return the negative log-likelihood of each label in nats, [n].

    With several labels it is the mean over the classes; for regression the squared error.
    """
    size = max(_BLOCK // outputs.shape[1], 1)
    parts = [slice(start, start + size) for start in range(0, len(outputs), size)]
    return np.concatenate([_losses(targets, outputs, part) for part in parts])


def _losses(targets: Targets, outputs: Float32, part: slice) -> Float64:
    exact, matrix = outputs[part].astype(np.float64), targets.matrix[part]
    if targets.task is Task.REGRESSION:
        squares: Float64 = np.square(exact - matrix)[:, 0]
        return squares
    surprise = -matrix * np.log(np.maximum(exact, LEAST))
    if targets.task is Task.SINGLE_LABEL:
        # A class that the head does not know has probability 0.
        total: Float64 = np.where(matrix.any(axis=1), surprise.sum(axis=1), -np.log(LEAST))
        return total
    # float32 has no number between 1 and 1 - 6e-8, so closer probabilities count as that.
    lacking = np.maximum(1 - exact, np.finfo(np.float32).epsneg)
    mean: Float64 = (surprise - (1 - matrix) * np.log(lacking)).mean(axis=1)
    return mean


def effective_count(weights: Float64) -> float:
    """Return the number of equally weighted examples that carry as much information (Kish 1965)."""
    # Relative to the largest, since squares of small weights would be 0.
    shares = weights / weights.max()
    return float(shares.sum() ** 2 / np.square(shares).sum())


def _summed(weights: Float64, groups: Sequence[str]) -> Float64:
    members: Ints = np.unique(np.array(groups), return_inverse=True)[1]
    sums: Float64 = np.bincount(members, weights).astype(np.float64)
    return sums


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of a proportion of `count` examples (Wilson 1927)."""
    spread = Z_95**2 / count
    center = (share + spread / 2) / (1 + spread)
    half = Z_95 * sqrt(max(share * (1 - share), 0.0) / count + spread / (4 * count)) / (1 + spread)
    # The interval contains the proportion despite rounding: at 0 and 1 it is an end of the interval.
    return max(0.0, min(center - half, share)), min(1.0, max(center + half, share))


def _confusion(predictions: ClassPredictions) -> tuple[tuple[int, int, int], ...]:
    known = predictions.actual.any(axis=1)
    actual, predicted = predictions.actual[known].argmax(axis=1), predictions.predicted[known].argmax(axis=1)
    cells = Counter(zip(actual.tolist(), predicted.tolist(), strict=True))
    return tuple((label, guess, count) for (label, guess), count in sorted(cells.items()))


def _micro_f1(counts: ClassCounts) -> float | None:
    total = float((counts.predicted + counts.actual).sum())
    return float(2 * counts.correct.sum() / total) if total else None


def _of_numbers(targets: Targets, outputs: Float32, source: MetricsSource) -> Metrics:
    weights, values = targets.weights / targets.weights.sum(), targets.matrix[:, 0]
    errors = outputs[:, 0].astype(np.float64) - values
    variance = float(weights @ np.square(values - weights @ values))
    squared = float(weights @ np.square(errors))
    # Rounding gives equal numbers a variance too.
    rounding = np.finfo(np.float64).eps * np.abs(values).max()
    varies = np.ptp(values) > 0 and variance > rounding**2
    return Metrics(
        source=source,
        example_count=len(targets),
        mean_absolute_error=float(weights @ np.abs(errors)),
        root_mean_squared_error=sqrt(squared),
        r_squared=1 - squared / variance if varies else None,
    )
