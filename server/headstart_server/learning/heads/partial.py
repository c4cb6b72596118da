"""Fine-tuning of the last blocks of a backbone, starting from a fitted linear head.

LP-FT (Kumar et al. 2022): a head that is correct before the blocks below it move keeps them from adapting to
a random head.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.contract.tail_training import Loss, TailRequest, TailResult
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Float32, Float64, Ints, Scaling
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.lbfgs import StopReason
from headstart_server.learning.heads.out_of_fold import calibrate
from headstart_server.learning.heads.recipe import Partial
from headstart_server.learning.heads.ridge import fit_ridge
from headstart_server.learning.heads.solver_result import CrossFitted, SolverResult
from headstart_server.learning.heads.split import Folds
from headstart_server.learning.metrics.metrics import losses

#: Number of examples in a step.
BATCH = 32
#: Regularization of the initial head relative to the best one. The best head uses directions in which
#: features hardly vary, and breaks as soon as the blocks below it move; and where it fits its examples
#: exactly, there is nothing left to learn.
FIRMER = 10.0
_LOSSES = {
    Task.SINGLE_LABEL: Loss.SOFTMAX,
    Task.MULTI_LABEL: Loss.SIGMOID,
    Task.REGRESSION: Loss.SQUARED,
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailTrainer:
    """The training of tails: a ``.npy`` file of activations at the cut, and the row of each example."""

    activations: Path
    rows: Ints
    train: Callable[[TailRequest], TailResult]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FineTuningExamples:
    """The examples of a fine-tuning: row i of all but `views` is row `order[i]` of `views`, [N, D] by view.

    `names` are the views of the head, `LAST` the last of them; `seed` seeds the order of the examples.
    """

    views: Mapping[str, Float32]
    names: Sequence[str]
    order: Ints
    targets: Targets
    weights: Float64
    folds: Folds
    seed: int


def fit_partial(
    recipe: Partial,
    examples: FineTuningExamples,
    start: SolverResult,
    *,
    to_beat: SolverResult,
    tools: TailTrainer,
    checkpoint: Callable[[], None],
) -> SolverResult:
    """Train the last blocks and the head together, and return the head with its tail if it is better.

    Training begins at `start`, a ridge head on standardized features. `to_beat` is the best head on the
    unchanged backbone, validated on the same folds. It is returned with a note if its out-of-fold loss is not
    beaten, or if nothing can be validated.
    """
    if to_beat.loss is None or start.regularization is None:
        return _kept(to_beat, "there are too few examples to determine whether training helps")
    scale = _Scale(examples.targets, examples.weights)
    begun = _heads(examples, FIRMER * start.regularization, checkpoint)
    heads = [scale.head(one, begun[-1].calibration) for one in begun]
    result = tools.train(_request(recipe, examples, np.stack(heads), scale, tools))
    trained = result.outputs.astype(np.float64)
    scores = trained * scale.spread + scale.center
    counted, judged = examples.folds.counted, examples.folds.weights_once(examples.weights)
    # On the scale of the training, like the loss of other heads.
    shown = scale.targets(examples.targets)
    calibration, loss = calibrate(
        trained[counted], shown.subset(counted), judged[counted], temperature=recipe.temperature
    )
    figures = f"out-of-fold loss {loss:.4g}, and {to_beat.loss:.4g} with the backbone as it is"
    if result.epoch == 0 or not _is_better(scores, calibration, to_beat, examples):
        return _kept(to_beat, f"training the last blocks did not help ({figures})")
    cross_fitted = CrossFitted(
        shown,
        judged,
        examples.folds,
        temperature=recipe.temperature,
        shift=float(scale.center[0]),
        scale=float(scale.spread[0]),
    )
    cross_fitted.offer(trained, calibration)
    cross_fitted.choose(trained, calibration)
    return SolverResult(
        weights=result.head[:-1].astype(np.float64) * scale.spread,
        bias=result.head[-1].astype(np.float64) * scale.spread + scale.center,
        calibration=calibration,
        loss=loss,
        scores=scores,
        cross_fitted=cross_fitted,
        stop_reason=StopReason(result.stop.value),
        epochs=result.epoch,
        tail=result.tail,
        note=f"Trained blocks for {result.epoch} epochs ({figures}).",
    )


def _kept(solved: SolverResult, reason: str) -> SolverResult:
    return SolverResult(
        weights=solved.weights,
        bias=solved.bias,
        calibration=solved.calibration,
        regularization=solved.regularization,
        loss=solved.loss,
        scores=solved.scores,
        cross_fitted=solved.cross_fitted,
        note=f"No trained blocks: {reason}.",
    )


def _request(
    recipe: Partial, examples: FineTuningExamples, heads: Float32, scale: "_Scale", tools: TailTrainer
) -> TailRequest:
    other_views = [examples.views[name][examples.order] for name in examples.names if name != LAST]
    count = len(examples.order)
    return TailRequest(
        blocks=recipe.blocks,
        activations=tools.activations,
        rows=tools.rows[examples.order],
        fixed_features=np.concatenate([np.zeros((count, 0), np.float32), *other_views], axis=1),
        targets=scale.targets(examples.targets).matrix.astype(np.float32),
        weights=(examples.weights / examples.weights.mean()).astype(np.float32),
        loss=_LOSSES[examples.targets.task],
        folds=examples.folds.assignment,
        heads=heads,
        learning_rate=recipe.learning_rate,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        batch=BATCH,
        seed=examples.seed,
        seconds=recipe.time_budget,
    )


def _is_better(
    scores: Float64, calibration: Calibration, to_beat: SolverResult, examples: FineTuningExamples
) -> bool:
    """Return whether scores beat those of another head by more than the standard error of the difference."""
    counted = examples.folds.counted
    shown, weights = examples.targets.subset(counted), examples.weights[counted]
    if to_beat.scores is None:
        return False
    ours, theirs = (
        losses(shown, one.outputs(of_one[counted]).astype(np.float32))
        for one, of_one in ((calibration, scores), (to_beat.calibration, to_beat.scores))
    )
    gains = theirs - ours
    mean = float(np.average(gains, weights=weights))
    variance = float(np.average(np.square(gains - mean), weights=weights))
    return mean > 0 and mean * mean > variance / len(gains)


def _heads(
    examples: FineTuningExamples, regularization: float, checkpoint: Callable[[], None]
) -> list[SolverResult]:
    """Return the initial heads, fitted without each fold and, last, on all examples."""
    none = Folds(count=0, assignment=np.zeros(0, np.int64), counted=np.zeros(0, np.bool_))
    everything = np.arange(len(examples.order))
    heads = []
    for fold in [*range(examples.folds.count), None]:
        seen = everything if fold is None else np.flatnonzero(examples.folds.assignment != fold)
        rows = FeatureMatrix(
            examples.views,
            examples.names,
            Scaling.STANDARD,
            order=examples.order[seen],
            checkpoint=checkpoint,
        )
        heads.append(
            fit_ridge(
                rows,
                examples.targets.subset(seen),
                examples.folds if fold is None else none,
                weights=examples.weights[seen],
                regularization=regularization,
                checkpoint=checkpoint,
            )
        )
    return heads


class _Scale:
    """Conversion of scores into training targets: logits, and numbers around 0 with a variance of 1."""

    def __init__(self, targets: Targets, weights: Float64) -> None:
        self.center, self.spread = np.zeros(1), np.ones(1)
        if targets.task is Task.REGRESSION:
            self.center = np.average(targets.matrix, axis=0, weights=weights)
            variance = np.average(np.square(targets.matrix - self.center), axis=0, weights=weights)
            self.spread = np.where(variance > 0, np.sqrt(variance), 1.0)

    def targets(self, targets: Targets) -> Targets:
        """Return training targets."""
        return replace(targets, matrix=(targets.matrix - self.center) / self.spread)

    def head(self, solved: SolverResult, calibration: Calibration) -> Float32:
        """Return weights and, in the last row, bias of a head whose outputs are on this scale, [D + 1, C]."""
        matrix = np.vstack([solved.weights, solved.bias])
        if calibration.task is Task.SINGLE_LABEL:
            matrix = matrix / calibration.temperature
        elif calibration.task is Task.MULTI_LABEL:
            matrix = matrix * calibration.slopes
            matrix[-1] += calibration.offsets
        else:
            matrix[-1] -= self.center
            matrix = matrix / self.spread
        return matrix.astype(np.float32)
