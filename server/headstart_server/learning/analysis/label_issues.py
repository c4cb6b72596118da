"""Labels that are probably wrong, according to heads fitted without the example."""

from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import LabelIssue
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import BLOCK, MAD_TO_DEVIATION, Float64, Ints

#: Maximum stored label issues.
MAX_LABEL_ISSUES = 10_000
#: Fraction of a class's typical probability that an example must reach to count for it, and how many times as
#: probable as its own label another class must be. docs/lab/heads.md compares other values.
USUAL, LEAST_ODDS = 0.8, 5.0
#: Minimum number of out-of-fold predictions.
_FEWEST = 10
#: Robust deviations at which an error is an outlier (Iglewicz and Hoaglin 1993).
_FAR = 3.5
_LEAST = 1e-12


def find_label_issues(dataset: AnalyzedDataset) -> tuple[list[LabelIssue], int]:
    """Return label issues, the most probable first, and their number.

    Classes use confident learning (Northcutt, Jiang and Chuang 2021): an example counts for a class that is
    about as probable as it is on average for the examples labeled with it. An example is an issue if it
    counts for a class other than its own that is also its most probable one, and far more probable. Each of
    several labels is compared with its absence. Numbers are compared by their error.
    """
    fitted, targets = dataset.fitted, dataset.targets.subset(dataset.trained)
    if fitted.outputs is None or fitted.counted.sum() < _FEWEST:
        return [], 0
    counted = np.flatnonzero(fitted.counted)
    shown, answers = targets.matrix[counted], fitted.outputs[counted].astype(np.float64)
    if targets.task is Task.REGRESSION:
        found = _of_numbers(shown[:, 0], answers[:, 0])
    elif targets.task is Task.MULTI_LABEL:
        found = _of_several(shown, answers, targets.class_names)
    else:
        found = _of_one(shown.argmax(axis=1), answers, targets.class_names)
    places = dataset.trained[counted]
    listed = [
        LabelIssue(
            example=dataset.reference(int(places[place])),
            suggested_label=label,
            suggested_probability=suggested,
            given_probability=given,
        )
        for place, label, suggested, given in found[:MAX_LABEL_ISSUES]
    ]
    return listed, len(found)


#: Index, suggested label, its probability and the probability of the given label.
_Found = list[tuple[int, Target, float, float]]


def _of_one(labels: Ints, answers: Float64, names: tuple[str, ...]) -> _Found:
    every = np.arange(len(labels))
    given = answers[every, labels]
    typical = np.full(len(names), np.inf)
    for label in np.unique(labels):
        typical[label] = given[labels == label].mean()
    likeliest = answers.argmax(axis=1)
    best = answers[every, likeliest]
    issue = (likeliest != labels) & (best >= USUAL * typical[likeliest]) & (best >= LEAST_ODDS * given)
    return [
        (place, Target.of_label(names[likeliest[place]]), float(best[place]), float(given[place]))
        for place in _ranked(issue, best, given)
    ]


def _of_several(shown: Float64, answers: Float64, names: tuple[str, ...]) -> _Found:
    """Report an example once, by its most doubtful class."""
    typical = _typical_of_several(shown, answers)
    found: _Found = []
    # In blocks: with many examples and classes each further matrix takes half a gigabyte.
    for start in range(0, len(shown), BLOCK):
        part = slice(start, start + BLOCK)
        found += [
            (start + place, label, best, given)
            for place, label, best, given in _of_block(shown[part], answers[part], typical, names)
        ]
    return sorted(found, key=lambda one: -one[2] / max(one[3], _LEAST))


def _typical_of_several(shown: Float64, answers: Float64) -> Float64:
    """Return the mean probability of each class's absence and presence where they are given, [2, C].

    It is infinite for a class that applies to all examples, or to none.
    """
    typical = np.full((2, shown.shape[1]), np.inf)
    for column in range(shown.shape[1]):
        applies, probability = shown[:, column] > 0, answers[:, column]
        if applies.any() and not applies.all():
            typical[:, column] = (1 - probability[~applies]).mean(), probability[applies].mean()
    return typical


def _of_block(shown: Float64, answers: Float64, typical: Float64, names: tuple[str, ...]) -> _Found:
    applies = shown > 0
    given = np.where(applies, answers, 1 - answers)
    other = 1 - given
    # An issue if the other state is as probable as for the examples labeled with it.
    doubts = (other >= USUAL * np.where(applies, typical[0], typical[1])) & (other >= LEAST_ODDS * given)
    odds = np.where(doubts, other / np.maximum(given, _LEAST), 0.0)
    worst = odds.argmax(axis=1)
    looks = applies ^ doubts
    return [
        (
            place,
            Target.of_labels(names[column] for column in np.flatnonzero(looks[place])),
            float(other[place, worst[place]]),
            float(given[place, worst[place]]),
        )
        for place in np.flatnonzero(doubts.any(axis=1)).tolist()
    ]


def _of_numbers(values: Float64, answers: Float64) -> _Found:
    errors = values - answers
    centered = np.abs(errors - np.median(errors))
    deviation = MAD_TO_DEVIATION * float(np.median(centered))
    if deviation <= np.finfo(np.float32).eps * float(np.abs(values).max()):
        return []
    # Probability of so large an error if errors are normal: 2 (1 - Phi(z)) = erfc(z / sqrt 2).
    given = np.array([erfc(error / deviation / sqrt(2)) for error in centered.tolist()])
    far = centered > _FAR * deviation
    order = np.flatnonzero(far)[np.argsort(-centered[far], kind="stable")]
    return [
        (place, Target.of_value(float(answers[place])), float(1 - given[place]), float(given[place]))
        for place in order.tolist()
    ]


def _ranked(issue: NDArray[np.bool_], best: Float64, given: Float64) -> list[int]:
    """Return the indexes of label issues by the odds of the other label; the first of equals."""
    places = np.flatnonzero(issue)
    odds = best[places] / np.maximum(given[places], _LEAST)
    ranked: list[int] = places[np.argsort(-odds, kind="stable")].tolist()
    return ranked
