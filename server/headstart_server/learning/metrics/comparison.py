"""Paired comparison of two versions on the same examples; the contract documents the fields."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan

import numpy as np

from headstart_server.errors import NoCommonExamples
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float64
from headstart_server.learning.metrics.metrics import effective_count
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.learning.metrics.paired_tests import (
    mcnemar_p,
    mcnemar_worse_p,
    mean_interval,
    share_difference_interval,
    signed_rank_p,
    signed_rank_worse_p,
)
from headstart_server.storage.json_values import JsonValue

#: The p-value below which a difference is significant.
SIGNIFICANT = 0.05
#: Maximum reported examples, for each version, that only this version predicts correctly.
MAX_DIFFERING = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedOutcome:
    """An example and the predictions of two versions."""

    target: Target
    weight: float  # the weight, above 0
    first: PredictionOutcome
    second: PredictionOutcome
    index: int = 0  # the index of the example in its source
    id: str = ""
    # 0 or 1 for the examples of the first or second version; None for examples of the caller
    source: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedMetrics:
    """Metrics of one of the two versions; None if its task does not have the metric."""

    accuracy: float | None = None
    balanced_accuracy: float | None = None
    log_loss: float | None = None
    mean_absolute_error: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedClass:
    """Both versions on the examples of one class, with the p-value of McNemar's exact test, one-sided."""

    name: str
    example_count: int
    first_recall: float
    second_recall: float
    worse_p_value: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(JsonValue):
    """Comparison of two versions. Metrics weigh each example by its weight, tests count examples.

    The ends of the interval are infinite if there is a single number. The p-values are of McNemar's exact
    test, for regression of the Wilcoxon signed-rank test; `worse_p_value` is one-sided, against the second
    being worse.
    """

    task: Task
    example_count: int
    first: ComparedMetrics
    second: ComparedMetrics
    difference: float
    difference_low: float
    difference_high: float
    only_first_right: int = 0
    only_second_right: int = 0
    p_value: float
    significant: bool
    worse_p_value: float = 1.0
    classes: tuple[ComparedClass, ...] = ()
    verdict: str


def compare(pairs: Sequence[PairedOutcome]) -> Comparison:
    """Compare two versions on examples of one task; raise NoCommonExamples if `pairs` is empty."""
    if not pairs:
        raise NoCommonExamples(
            "The versions have no examples in common. Send labeled examples to compare them on."
        )
    weights = np.array([pair.weight for pair in pairs], np.float64)
    if pairs[0].target.task is Task.REGRESSION:
        return _compare_numbers(pairs, weights)
    return _compare_labels(pairs, weights)


def differing(pairs: Sequence[PairedOutcome]) -> tuple[list[PairedOutcome], list[PairedOutcome]]:
    """Return the examples that only the first version predicts correctly, and those for the second.

    At most `MAX_DIFFERING` of each, with the highest loss of the wrong version first, unknown losses last.
    """
    found: tuple[list[PairedOutcome], list[PairedOutcome]] = ([], [])
    for pair in pairs:
        if pair.target.task is Task.REGRESSION:
            continue
        first, second = is_right(pair.target, pair.first), is_right(pair.target, pair.second)
        if first != second:
            found[second].append(pair)
    found[0].sort(key=lambda pair: _descending(pair.second.loss))
    found[1].sort(key=lambda pair: _descending(pair.first.loss))
    return found[0][:MAX_DIFFERING], found[1][:MAX_DIFFERING]


def _descending(loss: float) -> float:
    return inf if isnan(loss) else -loss


def is_right(target: Target, outcome: PredictionOutcome) -> bool:
    """Return whether exactly the true classes are predicted, the most probable one of a soft label."""
    return set(outcome.labels) == set(_classes(target))


def _classes(target: Target) -> tuple[str, ...]:
    return (target.label,) if target.task is Task.SINGLE_LABEL else tuple(target.shares)


def _compare_labels(pairs: Sequence[PairedOutcome], weights: Float64) -> Comparison:
    right = np.array(
        [[is_right(pair.target, outcome) for outcome in (pair.first, pair.second)] for pair in pairs],
        np.bool_,
    )
    losses = np.array([[pair.first.loss, pair.second.loss] for pair in pairs], np.float64)
    known = np.isfinite(losses).all(axis=1)
    classes = _compare_classes(pairs)
    recalls = [[one.first_recall, one.second_recall] for one in classes]
    # Divided last, so that all correct gives exactly 1.
    accuracies = weights @ right / weights.sum()
    log_losses = weights[known] @ losses[known] / weights[known].sum() if known.any() else None
    metrics = [
        ComparedMetrics(
            accuracy=float(accuracies[side]),
            balanced_accuracy=float(np.mean([both[side] for both in recalls])) if classes else None,
            log_loss=None if log_losses is None else float(log_losses[side]),
        )
        for side in (0, 1)
    ]
    only_first = int((right[:, 0] & ~right[:, 1]).sum())
    only_second = int((right[:, 1] & ~right[:, 0]).sum())
    # As many equally weighted examples as carry the same information.
    count = effective_count(weights)
    shares = weights / weights.sum() * count
    low, high = share_difference_interval(
        float(shares @ (right[:, 0] & ~right[:, 1])), float(shares @ (right[:, 1] & ~right[:, 0])), count
    )
    p_value = mcnemar_p(only_first, only_second)
    return Comparison(
        task=pairs[0].target.task,
        example_count=len(pairs),
        first=metrics[0],
        second=metrics[1],
        difference=float(accuracies[1] - accuracies[0]),
        difference_low=low,
        difference_high=high,
        only_first_right=only_first,
        only_second_right=only_second,
        p_value=p_value,
        significant=p_value < SIGNIFICANT,
        worse_p_value=mcnemar_worse_p(only_first, only_second),
        classes=classes,
        verdict=_verdict(
            only_second - only_first,
            p_value,
            [f"{accuracy:.1%} right" for accuracy in accuracies],
            _apart(only_first + only_second, len(pairs)),
        ),
    )


def _apart(count: int, total: int) -> str:
    if count == 0:
        return f"no example of {total} distinguishes them"
    return f"{count} of {total} examples {'distinguishes' if count == 1 else 'distinguish'} them"


def _compare_classes(pairs: Sequence[PairedOutcome]) -> tuple[ComparedClass, ...]:
    # By class: examples, weight, weight recognized by each version, and number recognized by only one.
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0] * 6)
    for pair in pairs:
        for name in _classes(pair.target):
            total = sums[name]
            total[0] += 1
            total[1] += pair.weight
            first, second = name in pair.first.labels, name in pair.second.labels
            total[2] += pair.weight * first
            total[3] += pair.weight * second
            total[4] += first and not second
            total[5] += second and not first
    return tuple(
        ComparedClass(
            name=name,
            example_count=int(count),
            first_recall=first / weight,
            second_recall=second / weight,
            worse_p_value=mcnemar_worse_p(int(only_first), int(only_second)),
        )
        for name, (count, weight, first, second, only_first, only_second) in sorted(sums.items())
    )


def _compare_numbers(pairs: Sequence[PairedOutcome], weights: Float64) -> Comparison:
    errors = np.array([[pair.first.loss, pair.second.loss] for pair in pairs], np.float64)
    sizes = weights / weights.sum() @ errors
    gains = errors[:, 0] - errors[:, 1]
    low, high = mean_interval(gains, weights)
    p_value = signed_rank_p(gains)
    return Comparison(
        task=Task.REGRESSION,
        example_count=len(pairs),
        first=ComparedMetrics(mean_absolute_error=float(sizes[0])),
        second=ComparedMetrics(mean_absolute_error=float(sizes[1])),
        difference=float(sizes[0] - sizes[1]),
        difference_low=low,
        difference_high=high,
        p_value=p_value,
        significant=p_value < SIGNIFICANT,
        worse_p_value=signed_rank_worse_p(gains),
        verdict=_verdict(
            float(sizes[0] - sizes[1]),
            p_value,
            [f"off by {size:.4g} on average" for size in sizes],
            f"{len(pairs)} examples",
        ),
    )


def _verdict(gain: float, p_value: float, facts: Sequence[str], of: str) -> str:
    figures = f"{facts[0]} against {facts[1]}"
    if not gain and p_value >= SIGNIFICANT:
        return f"Both are equally good: {figures}; {of}."
    better = "second" if gain > 0 else "first"
    if p_value < SIGNIFICANT:
        return f"The {better} is better, by more than chance: {figures} (p = {p_value:.2g}); {of}."
    return f"The {better} is better, but it may be chance: {figures} (p = {p_value:.2g}); {of}."
