"""How good a head is, measured on examples it was not fitted on."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import sqrt

import numpy as np

from headstart_server.learning.head import Float32, Head
from headstart_server.learning.split import Ints

#: Two-sided 95 % quantile of the normal distribution.
Z_95 = 1.959964


class MetricsSource(Enum):
    """The examples that metrics were measured on."""

    NONE = "none"
    OUT_OF_FOLD = "out_of_fold"
    HELD_OUT = "held_out"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """What is known about a head.

    Attributes:
        source: how it was measured; with NONE all else is empty.
        example_count: number of examples measured on.
        accuracy: share classified right.
        accuracy_low: lower end of its 95 % interval (Wilson 1927).
        accuracy_high: upper end.
        log_loss: mean negative log-likelihood of the right class, in nats.
        confusion: (actual, predicted, count) of each cell that is not zero, by class index.
    """

    source: MetricsSource = MetricsSource.NONE
    example_count: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    log_loss: float | None = None
    confusion: tuple[tuple[int, int, int], ...] = ()


def measure(labels: Ints, predicted: Ints, *, log_loss: float, source: MetricsSource) -> Metrics:
    """Metrics from true and predicted class indexes, both [N], and the mean log loss over them."""
    if not len(labels):
        return Metrics()
    right = int((labels == predicted).sum())
    low, high = wilson_interval(right, len(labels))
    cells = Counter(zip(labels.tolist(), predicted.tolist(), strict=True))
    return Metrics(
        source=source,
        example_count=len(labels),
        accuracy=right / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=log_loss,
        confusion=tuple((actual, guess, count) for (actual, guess), count in sorted(cells.items())),
    )


def measure_held_out(head: Head, views: Mapping[str, Float32], labels: Ints) -> Metrics:
    """Metrics of a head on held-out examples: features [N, D] by view, and labels [N]."""
    probabilities = head.probabilities(views)
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    log_loss = float(-np.log(np.maximum(likelihood, np.finfo(np.float32).tiny)).mean())
    predicted = probabilities.argmax(axis=1)
    return measure(labels, predicted, log_loss=log_loss, source=MetricsSource.HELD_OUT)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `right` in `count` (Wilson 1927)."""
    share, spread = right / count, Z_95**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = Z_95 * sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # The share is within, whatever the rounding: at none or all right it is an end of the interval.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
