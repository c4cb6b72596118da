"""The evaluation of a fitted head, overall and on each example of its dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.examples.near_duplicates import group_near_duplicates
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.fitting import FittedHead
from headstart_server.learning.heads.split import strata
from headstart_server.learning.metrics.evaluation import Evaluation, evaluate
from headstart_server.learning.metrics.metrics import MetricsSource
from headstart_server.learning.metrics.outcomes import LabeledOutputs, PredictionOutcome
from headstart_server.training.extraction import FeatureTable


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationResult:
    """The out-of-fold or held-out predictions for the examples of a dataset."""

    evaluation: Evaluation  # on held-out examples if there are any, else out of fold
    outcomes: Sequence[PredictionOutcome | None]  # prediction for each example; None without one, [N]


def evaluate_fit(
    fitted: FittedHead,
    table: FeatureTable,
    held_out_mask: NDArray[np.bool_],
    *,
    own: Mapping[str, Float32] | None = None,
    checkpoint: Callable[[], None],
) -> EvaluationResult:
    """Measure a fitted head.

    `own` are the head's views of held-out examples; None for the backbone's. `checkpoint` is called between
    blocks and may raise to stop.
    """
    head, targets = fitted.head, table.targets
    outputs = np.zeros((len(targets), head.bias.shape[0]), np.float32)
    thresholds = np.tile(head.thresholds, (len(targets), 1)) if len(head.thresholds) else head.thresholds
    interval = np.tile(head.interval or (np.nan, np.nan), (len(targets), 1))
    predicted, counted = held_out_mask.copy(), held_out_mask.copy()
    if fitted.outputs is not None:
        outputs[~held_out_mask], predicted[:] = fitted.outputs, True
        counted[~held_out_mask] = fitted.counted
        # Those of the head were chosen with the example itself.
        if len(thresholds):
            thresholds[~held_out_mask] = fitted.thresholds
        if fitted.interval.size:
            interval[~held_out_mask] = fitted.interval
    if held_out_mask.any():
        outputs[held_out_mask] = head.outputs(
            own or {name: table.views[name][held_out_mask] for name in head.views}
        )
    evaluation = evaluate(
        targets,
        outputs,
        thresholds,
        table.ids,
        source=MetricsSource.HELD_OUT if held_out_mask.any() else MetricsSource.OUT_OF_FOLD,
        groups=_groups(table, held_out_mask, checkpoint),
        counted=held_out_mask if held_out_mask.any() else counted,
        interval=interval,
        # Summed in an order that does not depend on the order of the examples.
        metrics=None if held_out_mask.any() else fitted.metrics,
    )
    answered = LabeledOutputs(targets=targets, outputs=outputs, thresholds=thresholds)
    outcomes = answered.outcomes(held_out=held_out_mask, counted=counted)
    return EvaluationResult(
        evaluation=evaluation,
        outcomes=[
            outcome if was else None for outcome, was in zip(outcomes, predicted.tolist(), strict=True)
        ],
    )


def _groups(
    table: FeatureTable, held_out_mask: NDArray[np.bool_], checkpoint: Callable[[], None]
) -> Sequence[str]:
    """Return the group of near-duplicates of each held-out example, or the digest of another one, [N]."""
    places = np.flatnonzero(held_out_mask)
    groups = list(table.digests)
    if len(places):
        held_out = group_near_duplicates(
            (table.views[LAST] if LAST in table.views else next(iter(table.views.values())))[places],
            strata(table.targets.subset(places)),
            [table.digests[place] for place in places.tolist()],
            modality=table.modality,
            checkpoint=checkpoint,
        )
        for place, group in zip(places.tolist(), held_out, strict=True):
            groups[place] = group
    return groups
