"""Accuracy by the number of examples, extrapolated to twice as many."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_findings import LearningPoint
from headstart_server.learning.examples.target import Targets, balancing
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Ints, Scaling
from headstart_server.learning.features.result_cache import RESULT_CACHE
from headstart_server.learning.heads.recipe import ResolvedRecipe, Ridge
from headstart_server.learning.heads.split import Folds, assign_folds, strata
from headstart_server.learning.metrics.metrics import MetricsSource, measure

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
    score = _score_of_all(dataset)
    if score is None or len(places) < _FEWEST:
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
    return _extrapolated([*_of_parts(dataset, chosen, targets, quarters), score], len(places))


def _score_of_all(dataset: AnalyzedDataset) -> LearningPoint | None:
    """Return the out-of-fold score of the version, whose heads were trained on all folds but one."""
    fitted = dataset.fitted
    metrics, folds = fitted.metrics, fitted.recipe.folds
    score = metrics.r_squared if dataset.targets.task is Task.REGRESSION else metrics.accuracy
    if score is None or folds < 2:
        return None
    return LearningPoint(example_count=round(len(dataset.trained) * (folds - 1) / folds), score=score)


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
    weights = targets.weights / targets.weights.mean()
    weights = weights * balancing(targets) if settings.balanced else weights
    points = []
    for parts in ([[0], [1], [2], [3]], [[0, 1], [2, 3]]):
        scores, count = [], 0
        for part in parts:
            dataset.checkpoint()
            inside = np.isin(quarters.assignment, part)
            answers = _ridge_scores(
                gram, inside, targets.matrix, weights, settings.regularization or _REGULARIZATION
            )
            scores.append(_score(dataset, targets.subset(~inside), answers))
            count += int(inside.sum())
        mean = float(np.mean(scores))
        points.append(LearningPoint(example_count=round(count / len(parts)), score=mean))
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
    gram: Float64, inside: NDArray[np.bool_], shown: Float64, weights: Float64, regularization: float
) -> Float64:
    """Return scores [outside, C] of a weighted ridge head with a free intercept, from the Gram matrix."""
    share = weights[inside] / weights[inside].sum()
    kernel, across = gram[np.ix_(inside, inside)], gram[np.ix_(~inside, inside)]
    mean = share @ kernel
    kernel = kernel - mean - mean[:, None] + share @ mean
    across = across - (across @ share)[:, None] - mean + share @ mean
    target_mean = share @ shown[inside]
    kernel[np.diag_indices_from(kernel)] += regularization / weights[inside]
    scores: Float64 = across @ np.linalg.solve(kernel, shown[inside] - target_mean) + target_mean
    return scores


def _score(dataset: AnalyzedDataset, targets: Targets, scores: Float64) -> float:
    """Return weighted accuracy as in `Metrics`, or R squared, of a head's scores [n, C]."""
    head = dataset.fitted.head
    answers = head.calibration.outputs(scores.astype(np.float32))
    figures = measure(targets, answers, head.thresholds, source=MetricsSource.HELD_OUT)
    return (figures.r_squared if targets.task is Task.REGRESSION else figures.accuracy) or 0.0


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
