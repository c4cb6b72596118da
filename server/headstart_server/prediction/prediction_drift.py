"""Drift of a version's predictions from the predictions of its evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Float64
from headstart_server.learning.heads.head import Head
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersion
from headstart_server.models.version import Selector
from headstart_server.prediction.head_predictions import predicted_classes

#: Summand of each count, so that all are positive (Jeffreys 1946).
_PRIOR = 0.5


def population_stability_index(expected: Float64, recent: Float64) -> float:
    """Return the population stability index of recent counts [K] against expected ones [K].

    It is the sum of (p - q) ln(p / q) over K categories with proportions p and q: about 0 without drift. By
    the rule of thumb of credit scoring, 0.1 is little and 0.25 much (Siddiqi 2006). Its mean without drift,
    (K - 1) (1 / n + 1 / m) for n and m predictions (Yurdakul and Naranjo 2020), is subtracted.
    """
    kinds = len(expected)
    sizes = recent.sum(), expected.sum()
    now, before = (
        (counts + _PRIOR) / (size + kinds * _PRIOR)
        for counts, size in zip((recent, expected), sizes, strict=True)
    )
    index = float(((now - before) * np.log(now / before)).sum())
    return max(0.0, index - (kinds - 1) * sum(1 / float(size) for size in sizes))


log = structlog.get_logger(__name__)

#: Maximum kinds of predictions; the rarest are combined into one kind.
MAX_KINDS = 20
#: Minimum expected predictions of a kind; a rarer one is combined with the rarest.
FEWEST_OF_KIND = 5
#: Minimum predictions of a version's evaluation.
FEWEST_EXPECTED = 20
#: Minimum numbers of an evaluation in each range.
NUMBERS_OF_RANGE = 10
MAX_RANGES = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExpectedPredictions:
    """A version's out-of-fold or held-out predictions, counted by kind."""

    counts: Float64  # number of predictions of each of K kinds, [K]
    # returns the number of predictions of each kind, [n, K], for the outputs [n, C] of n inputs
    kinds: Callable[[Float32], Float64]
    confidence: float | None  # mean probability of the predicted class; None except for a single label


class PredictionDrift:
    """The drift of a version's predictions.

    Args:
        expected: its expected predictions.
        horizon: horizon of exponential means, in inputs.
        fewest: minimum inputs for a drift, or ten for each kind after the first if that is more.
    """

    def __init__(self, expected: ExpectedPredictions, *, horizon: int, fewest: int) -> None:
        self._expected = expected
        self._horizon = horizon
        self._fewest = max(fewest, 10 * (len(expected.counts) - 1))
        self._mean: Float64 = np.zeros(len(expected.counts))
        self._confidence = 0.0
        self._count = 0

    @property
    def is_known(self) -> bool:
        """Whether enough inputs were added."""
        return self._count >= self._fewest

    def add(self, outputs: Float32) -> None:
        """Add the outputs [n, C] of inputs."""
        sure = outputs.max(axis=1).astype(np.float64)
        for kinds, probability in zip(self._expected.kinds(outputs), sure.tolist(), strict=True):
            self._count += 1
            step = 1 / min(self._count, self._horizon)
            self._mean += (kinds - self._mean) * step
            self._confidence += (probability - self._confidence) * step

    @property
    def shift(self) -> float:
        """The population stability index of the predictions."""
        # An exponential mean over a horizon is as accurate as a mean of twice as many inputs.
        known = min(self._count, 2 * self._horizon)
        return population_stability_index(self._expected.counts, self._mean * known)

    @property
    def confidence_shift(self) -> float | None:
        """Rise of the mean probability of the predicted class; None except for a single label."""
        expected = self._expected.confidence
        return None if expected is None else self._confidence - expected


def expected_predictions(registry: Registry, version: ResidentVersion) -> ExpectedPredictions | None:
    """Return a version's expected predictions; None if its evaluation has too few, or is unreadable.

    Raise VersionNotFound if it was deleted meanwhile, and ServiceUnavailable if the database or the bucket
    does not answer.
    """
    try:
        stored = registry.selected(Selector(model=version.model, number=version.number))
        evaluation, _ = registry.files.evaluation(stored)
        outcomes = registry.files.outcomes(stored)
    except ArtifactDamaged as error:
        log.warning(
            "evaluation_read_failed", model=version.model, version=version.number, error=error.message
        )
        return None
    return expected_of(version.head, outcomes, evaluation)


def expected_of(
    head: Head, outcomes: Sequence[PredictionOutcome | None], evaluation: Evaluation | None
) -> ExpectedPredictions | None:
    """Return the expected predictions of a head, from its predictions for examples and its evaluation."""
    counted = [each for each in outcomes if each is not None and each.counted]
    if len(counted) < FEWEST_EXPECTED:
        return None
    if head.task is Task.REGRESSION:
        return _of_numbers(np.array([each.value for each in counted if each.value is not None]))
    return _of_classes(head, counted, evaluation)


def _of_numbers(values: Float64) -> ExpectedPredictions | None:
    """Count numbers by range; ranges have equally many values, as far as values differ."""
    ranges = min(MAX_RANGES, len(values) // NUMBERS_OF_RANGE)
    different = np.unique(values)
    above = np.searchsorted(different, np.quantile(values, np.arange(1, ranges) / ranges))
    above = np.unique(above[above > 0])
    if not len(above):
        return None
    # Halfway between two values: stored numbers are rounded, which must not change their kind.
    edges = (different[above - 1] + different[above]) / 2

    def kinds(outputs: Float32) -> Float64:
        return np.eye(len(edges) + 1)[np.searchsorted(edges, outputs[:, 0], side="right")]

    counts = kinds(values[:, np.newaxis].astype(np.float32)).sum(axis=0)
    return ExpectedPredictions(counts=counts, kinds=kinds, confidence=None)


def _of_classes(
    head: Head, outcomes: Sequence[PredictionOutcome], evaluation: Evaluation | None
) -> ExpectedPredictions | None:
    """Count each class as a kind, and no predicted class as another; the rarest are combined."""
    places = {name: place for place, name in enumerate(head.class_names)}
    counts = np.zeros(len(places) + 1)
    for outcome in outcomes:
        predicted = [places[name] for name in outcome.labels if name in places]
        np.add.at(counts, predicted or [-1], 1)
    if head.task is Task.SINGLE_LABEL:
        counts = counts[:-1]
    groups = _grouped(counts)
    width = int(groups.max()) + 1
    if width == 1:
        return None
    of_group = np.eye(width)[groups]

    def kinds(outputs: Float32) -> Float64:
        predicted = predicted_classes(head, outputs)
        if head.task is Task.MULTI_LABEL:
            predicted = np.column_stack([predicted, ~predicted.any(axis=1)])
        kinds: Float64 = predicted @ of_group
        return kinds

    confidence = None
    if head.task is Task.SINGLE_LABEL and evaluation is not None and evaluation.reliability:
        bins = evaluation.reliability
        confidence = sum(each.count * each.confidence for each in bins) / sum(each.count for each in bins)
    return ExpectedPredictions(counts=counts @ of_group, kinds=kinds, confidence=confidence)


def _grouped(counts: Float64) -> NDArray[np.intp]:
    """Return the group of each kind: a separate one for the frequent kinds, the last for all others."""
    order = np.argsort(-counts, kind="stable")
    own = [place for place in order[: MAX_KINDS - 1] if counts[place] >= FEWEST_OF_KIND]
    groups = np.full(len(counts), len(own), np.intp)
    groups[own] = np.arange(len(own))
    return groups
