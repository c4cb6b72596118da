"""Accuracy by the number of examples, extrapolated to twice as many."""

from collections.abc import Mapping, Sequence

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import LearningPoint
from headstart_server.learning.examples.target import Targets, balancing, normalized_weights
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Ints, Scaling
from headstart_server.learning.features.result_cache import RESULT_CACHE
from headstart_server.learning.heads.recipe import ResolvedRecipe, Ridge
from headstart_server.learning.heads.split import Folds, assign_folds, strata
from headstart_server.learning.metrics.metrics import score

#: Maximum number of examples of the curve: a sample of so many is as accurate, and takes no longer.
SAMPLE = 2000
#: Minimum number of examples, and of groups of a median class.
_FEWEST, _FEWEST_OF_A_CLASS = 40, 4
#: Default if the recipe has no regularization.
_REGULARIZATION = 0.1
_QUARTERS = 4
#: Steepest allowed power law: errors fall at most like 1 / n.
_STEEPEST = 1.0


def learning_curve(dataset: AnalyzedDataset, groups: Sequence[str], *, seed: int) -> list[LearningPoint]:
    """Return the score with a quarter, a half and all of the examples, and with twice as many, ascending.

    Each quarter, and each half, trains a ridge head with the version's settings once and is tested on all
    other examples; the last measured point is the version's out-of-fold score. The error is extrapolated as a
    power of the number of examples (Cortes et al. 1994; Hestness et al. 2017). With too few examples the
    curve is empty. `groups` [N] of near-duplicates are trained on or tested on together.
    """
    places = dataset.trained
    whole = _score_of_all(dataset)
    if whole is None or len(places) < _FEWEST:
        return []
    chosen = np.array(sorted(places.tolist(), key=lambda place: (dataset.digests[place], place))[:SAMPLE])
    targets = dataset.targets.subset(chosen)
    stratum = strata(targets)
    names = [groups[place] for place in chosen.tolist()]
    if np.median(np.bincount(stratum)[np.unique(stratum)]) < _FEWEST_OF_A_CLASS:
        return []
    quarters = assign_folds(stratum, names, folds=_QUARTERS, seed=seed)
    if quarters.count < _QUARTERS:
        return []
    return _extrapolated([*_of_parts(dataset, chosen, targets, quarters), whole], len(places))


def _score_of_all(dataset: AnalyzedDataset) -> LearningPoint | None:
    """Return the out-of-fold score of the version, whose heads were trained on all folds but one."""
    fitted = dataset.fitted
    metrics, folds = fitted.metrics, fitted.recipe.folds
    whole = metrics.r_squared if dataset.targets.task is Task.REGRESSION else metrics.accuracy
    if whole is None or folds < 2:
        return None
    return LearningPoint(example_count=round(len(dataset.trained) * (folds - 1) / folds), score=whole)


def _of_parts(
    dataset: AnalyzedDataset, chosen: Ints, targets: Targets, quarters: Folds
) -> list[LearningPoint]:
    recipe = dataset.fitted.recipe
    settings = _settings(recipe, dataset.views)
    rows = FeatureMatrix(
        dataset.views, settings.views, settings.scaling, order=chosen, checkpoint=dataset.checkpoint
    )
    gram: Float64 = RESULT_CACHE.get(
        None if rows.key is None else ("products", rows.key), lambda: _products(rows)
    )
    weights = normalized_weights(targets.weights)
    weights = weights * balancing(targets) if settings.balanced else weights
    # Sorted by quarter, so that the examples of a part are neighbors.
    order = np.argsort(quarters.assignment, kind="stable")
    # Twice as fast as both axes together.
    gram, targets, weights = gram.take(order, 0).take(order, 1), targets.subset(order), weights[order]
    ends = [0, *np.cumsum(np.bincount(quarters.assignment)).tolist()]
    points = []
    for size in (1, 2):
        scores = []
        for first in range(0, _QUARTERS, size):
            dataset.checkpoint()
            inside = slice(ends[first], ends[first + size])
            answers = _ridge_scores(
                gram, inside, targets.matrix, weights, settings.regularization or _REGULARIZATION
            )
            outside = np.delete(np.arange(len(order)), inside)
            scores.append(_score(dataset, targets.subset(outside), answers[outside]))
        count = round(len(order) * size / _QUARTERS)
        points.append(LearningPoint(example_count=count, score=float(np.mean(scores))))
    return points


def _products(rows: FeatureMatrix) -> Float64:
    matrix = np.concatenate([block.astype(np.float32) for _, block in rows.blocks()])
    products: Float64 = (matrix @ matrix.T).astype(np.float64)
    return products


def _settings(recipe: ResolvedRecipe, views: Mapping[str, Float32]) -> Ridge:
    if isinstance(recipe, Ridge):
        return recipe
    last = LAST if LAST in views else next(iter(views))
    return Ridge(views=(last,), scaling=Scaling.ROOT)


def _ridge_scores(
    gram: Float64, inside: slice, shown: Float64, weights: Float64, regularization: float
) -> Float64:
    """Return scores [N, C] of a ridge head on some examples with a free intercept, from the Gram matrix."""
    kernel = gram[inside, inside].copy()
    kernel[np.diag_indices_from(kernel)] += regularization / weights[inside]
    # The last column finds the intercept: the solution of the examples sums up to 0.
    solved = np.linalg.solve(kernel, np.column_stack([shown[inside], np.ones(len(kernel))]))
    intercept = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()
    solution = solved[:, :-1] - np.outer(solved[:, -1], intercept)
    scores: Float64 = gram[:, inside] @ solution + intercept
    return scores


def _score(dataset: AnalyzedDataset, targets: Targets, scores: Float64) -> float:
    """Return weighted accuracy as in `Metrics`, or R squared, of a head's scores [n, C]."""
    head = dataset.fitted.head
    answers = head.calibration.outputs(scores.astype(np.float32))
    return score(targets, answers, head.thresholds) or 0.0


def _extrapolated(points: list[LearningPoint], count: int) -> list[LearningPoint]:
    """Return the points and the extrapolation of a power law to twice as many examples."""
    sizes = np.log([point.example_count for point in points])
    # Without observed errors, assume half an error.
    errors = np.log([max(1 - point.score, 0.5 / count) for point in points])
    around = sizes - sizes.mean()
    slope = -float(np.clip(around @ errors / (around @ around), -_STEEPEST, 0.0))
    last = points[-1]
    error = max(1 - last.score, 0.0) * (2 * count / last.example_count) ** -slope
    return [*points, LearningPoint(example_count=2 * count, score=1 - error, extrapolated=True)]
