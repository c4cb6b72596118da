"""Fitting of a head by a recipe, with out-of-fold metrics."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST, Modality
from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.examples.target import Targets, balancing, is_imbalanced, normalized_weights
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Ints, Scaling
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.logistic import fit_logistic
from headstart_server.learning.heads.mlp import DROPOUT, HIDDEN_UNITS, WEIGHT_DECAY, MlpSettings, fit_mlp
from headstart_server.learning.heads.out_of_fold import finish_calibration
from headstart_server.learning.heads.partial import FineTuningExamples, TailTrainer, fit_partial
from headstart_server.learning.heads.recipe import (
    Auto,
    Logistic,
    Mlp,
    Partial,
    Recipe,
    ResolvedRecipe,
    Ridge,
    check_task,
    required_views,
)
from headstart_server.learning.heads.ridge import NUMPY, fit_ridge
from headstart_server.learning.heads.solver_result import OutOfFold, SolverResult
from headstart_server.learning.heads.split import Folds, folds_for, strata
from headstart_server.learning.metrics.class_predictions import limits_at
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource, measure

Scalar = TypeVar("Scalar", bound=np.generic)

#: Minimum number of examples to compare views; the estimate from fewer is too noisy.
CHOOSE_FROM = 16
#: Maximum number of folds of `partial`, because each requires a training.
FINE_TUNING_FOLDS = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedHead:
    """A fitted head with its out-of-fold metrics, which are empty if nothing could be validated."""

    head: Head
    recipe: ResolvedRecipe
    metrics: Metrics
    stop_reason: StopReason | None
    # calibrated out-of-fold outputs in the given order of the examples, [N, C], or None
    outputs: Float32 | None
    thresholds: Float32  # thresholds of several labels for these outputs, as in `OutOfFold`
    interval: Float64  # the interval of a regression for these outputs, as in `OutOfFold`
    counted: NDArray[np.bool_]  # whether the output of each example counts in metrics of the head, [N]
    # weights of the head's own tail; None if the head uses the backbone's `last`
    tail: TailWeights | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainingExamples:
    """Examples sorted by content: row i of all but `views` is row `order[i]` of `views`, [N, D] by view.

    Weights have a mean of 1; `groups` must not be split between folds.
    """

    views: Mapping[str, Float32]
    order: Ints
    targets: Targets
    groups: Sequence[str]
    seed: int
    known_folds: dict[int, Folds] = field(default_factory=dict)

    def folds(self, count: int) -> Folds:
        """Return the folds of a recipe, 0 to select their number; candidates share them."""
        if count not in self.known_folds:
            self.known_folds[count] = folds_for(self.targets, self.groups, folds=count, seed=self.seed)
        return self.known_folds[count]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FittedCandidate:
    """A candidate of a recipe with its choices made, its folds and the weight of each example, [N]."""

    recipe: ResolvedRecipe
    solved: SolverResult
    folds: Folds
    weights: Float64


def fit(
    recipe: Recipe,
    views: Mapping[str, Float32],
    targets: Targets,
    groups: Sequence[str],
    *,
    seed: int,
    modality: Modality = Modality.IMAGE,
    tails: TailTrainer | None = None,
    checkpoint: Callable[[], None] = lambda: None,
    matrices: Matrices = NUMPY,
) -> FittedHead:
    """Fit a head by a recipe, and measure it out of fold.

    The result does not depend on the order of the examples: they are sorted by content first.

    Args:
        views: features [N, D] of each view that the recipe needs.
        groups: the content digest of each example, [N]. Equal or nearly equal examples are not split between
            folds.
        tails: trains tails; only the recipe `partial` needs it.
        checkpoint: called between pieces of work; may raise to stop.
    """
    check_task(recipe, targets.task)
    examples = _sorted(views, targets, groups, seed=seed, modality=modality, checkpoint=checkpoint)
    if isinstance(recipe, Partial):
        best, others = _fine_tuned(recipe, examples, tails, checkpoint, matrices)
    else:
        tried: list[FittedCandidate] = []
        for candidate in _candidates(recipe, examples):
            # The best regularizations of two candidates are close to each other.
            near = tried[-1].solved.regularization if tried else None
            tried.append(_try(candidate, examples, checkpoint, matrices, near))
        best = _lowest(tried)
        others = [one for one in tried if one is not best]
    solved = best.solved
    calibration, found, metrics = _validated(best, others, examples)
    head = Head(
        views=best.recipe.views,
        scaling=best.recipe.scaling,
        weights=solved.weights.astype(np.float32),
        bias=solved.bias.astype(np.float32),
        calibration=calibration,
        class_names=targets.class_names,
        hidden=solved.hidden,
    )
    return FittedHead(
        head=head,
        recipe=best.recipe,
        metrics=metrics,
        stop_reason=solved.stop_reason,
        outputs=None if found is None else _as_given(found.outputs.astype(np.float32), examples.order),
        thresholds=np.zeros((0, 0), np.float32)
        if found is None
        else _as_given(found.thresholds, examples.order),
        interval=np.zeros((0, 0)) if found is None else _as_given(found.interval, examples.order),
        counted=_as_given(best.folds.counted, examples.order),
        tail=solved.tail,
        note=solved.note,
    )


def _validated(
    best: FittedCandidate, others: Sequence[FittedCandidate], examples: TrainingExamples
) -> tuple[Calibration, OutOfFold | None, Metrics]:
    """Return the final calibration, and the out-of-fold outputs with their metrics."""
    calibration, cross_fitted, counted = best.solved.calibration, best.solved.cross_fitted, best.folds.counted
    if cross_fitted is None:
        return calibration, None, Metrics()
    alternatives = [one.solved.cross_fitted for one in others]
    found = cross_fitted.out_of_fold([one for one in alternatives if one is not None])
    metrics = measure(
        examples.targets.subset(counted),
        found.outputs[counted].astype(np.float32),
        limits_at(found.thresholds, counted),
        source=MetricsSource.OUT_OF_FOLD,
        groups=[examples.groups[place] for place in np.flatnonzero(counted).tolist()],
    )
    return finish_calibration(calibration, found.outputs, examples.targets, counted), found, metrics


def _sorted(
    views: Mapping[str, Float32],
    targets: Targets,
    groups: Sequence[str],
    *,
    seed: int,
    modality: Modality,
    checkpoint: Callable[[], None],
) -> TrainingExamples:
    often = Counter(groups)

    def key(place: int) -> tuple[str, list[float], float]:
        shown = targets.matrix[place].tolist() if often[groups[place]] > 1 else []
        return groups[place], [-share for share in shown], float(targets.weights[place])

    # Usually all contents differ.
    by = groups.__getitem__ if len(often) == len(groups) else key
    order = np.array(sorted(range(len(groups)), key=by))
    names = [groups[place] for place in order]
    shown = targets.subset(order)
    shown = replace(shown, weights=normalized_weights(shown.weights))
    alike = next(iter(views)) if LAST not in views else LAST
    return TrainingExamples(
        views=views,
        order=order,
        targets=shown,
        groups=group_near_duplicates(
            views[alike], strata(shown), names, modality=modality, order=order, checkpoint=checkpoint
        ),
        seed=seed,
    )


def _candidates(recipe: Recipe, examples: TrainingExamples) -> Sequence[ResolvedRecipe]:
    """Return the candidates of `auto`: the last view alone, and all standardized views.

    On photographs like the backbone's training data the last view is best, elsewhere earlier layers help.
    With few examples, or one of each class, the two cannot be compared, so the last view is used.
    """
    if not isinstance(recipe, Auto):
        return [recipe]
    last = Ridge(views=(LAST,), scaling=Scaling.ROOT)
    if len(examples.targets) < CHOOSE_FROM or np.bincount(strata(examples.targets)).max() < 2:
        return [last]
    return [last, Ridge(views=required_views(recipe, examples.views), scaling=Scaling.STANDARD)]


def _try(
    candidate: ResolvedRecipe,
    examples: TrainingExamples,
    checkpoint: Callable[[], None],
    matrices: Matrices,
    near: float | None = None,
) -> FittedCandidate:
    if isinstance(candidate, Mlp):
        return _mlp(candidate, examples, checkpoint)
    if isinstance(candidate, Partial):
        raise ValueError("Expected a recipe for a head only. Received: partial.")
    targets = examples.targets
    folds = examples.folds(candidate.folds)
    balanced = is_imbalanced(targets) if candidate.balanced is None else candidate.balanced
    rows = FeatureMatrix(
        examples.views, candidate.views, candidate.scaling, order=examples.order, checkpoint=checkpoint
    )
    weights = targets.weights
    if isinstance(candidate, Logistic):
        solved = fit_logistic(
            rows,
            targets,
            folds,
            weights=weights,
            regularization=candidate.regularization,
            temperature=candidate.temperature,
            balanced=balanced,
            time_budget=candidate.time_budget,
            checkpoint=checkpoint,
        )
    else:
        weights = weights * balancing(targets) if balanced else weights
        solved = fit_ridge(
            rows,
            targets,
            folds,
            weights=weights,
            regularization=candidate.regularization,
            temperature=candidate.temperature,
            near=near,
            checkpoint=checkpoint,
            matrices=matrices,
        )
    chosen = replace(
        candidate,
        regularization=solved.regularization,
        temperature=_temperature(solved, targets),
        folds=folds.count,
        balanced=balanced,
    )
    return FittedCandidate(recipe=chosen, solved=solved, folds=folds, weights=weights)


def _mlp(candidate: Mlp, examples: TrainingExamples, checkpoint: Callable[[], None]) -> FittedCandidate:
    targets = examples.targets
    views = required_views(candidate, examples.views)
    balanced = is_imbalanced(targets) if candidate.balanced is None else candidate.balanced
    weights = targets.weights * balancing(targets) if balanced else targets.weights
    folds = examples.folds(candidate.folds)
    rows = FeatureMatrix(
        examples.views, views, candidate.scaling, order=examples.order, checkpoint=checkpoint
    )
    chosen = replace(
        candidate,
        hidden_units=candidate.hidden_units or HIDDEN_UNITS,
        dropout=DROPOUT if candidate.dropout is None else candidate.dropout,
        weight_decay=WEIGHT_DECAY if candidate.weight_decay is None else candidate.weight_decay,
        views=views,
        folds=folds.count,
        balanced=balanced,
    )
    settings = {name: getattr(chosen, name) for name in MlpSettings.__dataclass_fields__}
    solved = fit_mlp(
        rows,
        targets,
        folds,
        MlpSettings(**settings),
        weights=weights,
        seed=examples.seed,
        checkpoint=checkpoint,
    )
    chosen = replace(chosen, temperature=_temperature(solved, targets))
    return FittedCandidate(recipe=chosen, solved=solved, folds=folds, weights=weights)


def _fine_tuned(
    candidate: Partial,
    examples: TrainingExamples,
    tails: TailTrainer | None,
    checkpoint: Callable[[], None],
    matrices: Matrices,
) -> tuple[FittedCandidate, Sequence[FittedCandidate]]:
    """Fit a `partial` candidate, which has to beat the best head on the unchanged backbone.

    Return the better of both, and the other heads on the unchanged backbone.
    """
    if tails is None:
        raise ValueError("The recipe partial requires tails. Pass a TailTrainer.")
    targets = examples.targets
    folds = examples.folds(0)
    if folds.count > FINE_TUNING_FOLDS:
        folds = examples.folds(FINE_TUNING_FOLDS)
    shared = Ridge(folds=folds.count, temperature=candidate.temperature, balanced=candidate.balanced)
    probes = [
        _try(replace(shared, views=views, scaling=scaling), examples, checkpoint, matrices)
        for views, scaling in (
            ((LAST,), Scaling.ROOT),
            ((LAST,), Scaling.STANDARD),
            (required_views(candidate, examples.views), Scaling.STANDARD),
        )
    ]
    best, start = _lowest(probes), _lowest(probes[1:])
    solved = fit_partial(
        candidate,
        FineTuningExamples(
            views=examples.views,
            names=start.recipe.views,
            order=examples.order,
            targets=targets,
            weights=start.weights,
            folds=folds,
            seed=examples.seed,
        ),
        start.solved,
        to_beat=best.solved,
        tools=tails,
        checkpoint=checkpoint,
    )
    won = start if solved.tail is not None else best
    recipe = replace(
        candidate,
        views=won.recipe.views,
        scaling=won.recipe.scaling,
        folds=folds.count,
        balanced=won.recipe.balanced,
        temperature=_temperature(solved, targets),
    )
    others = probes if solved.tail is not None else [one for one in probes if one is not best]
    return FittedCandidate(recipe=recipe, solved=solved, folds=folds, weights=start.weights), others


def _lowest(tried: Sequence[FittedCandidate]) -> FittedCandidate:
    """Return the candidate of the lowest out-of-fold loss, the first of equals or of unvalidated ones."""
    return min(tried, key=lambda one: one.solved.loss or 0.0)


def _temperature(solved: SolverResult, targets: Targets) -> float | None:
    return solved.calibration.temperature if targets.task is Task.SINGLE_LABEL else None


def _as_given(rows: NDArray[Scalar], order: Ints) -> NDArray[Scalar]:
    given = np.empty_like(rows)
    given[order] = rows
    return given
