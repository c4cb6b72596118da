"""The prediction of a version, from the features of inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Truncation
from headstart_server.errors import HeadstartError
from headstart_server.learning.analysis.neighbors import Neighbor
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.influence import ExampleInfluence
from headstart_server.prediction.predict_options import Abstention, PredictOptions
from headstart_server.prediction.saliency import Saliency
from headstart_server.prediction.statistics import StageTimes

Value = TypeVar("Value", np.float32, np.bool_)

#: Multiplications that take as long as ranking one class.
_RANKING_WORK = 100
#: Maximum outputs that are sorted in Python, which is faster: numpy releases the GIL to other threads.
_FEW_OUTPUTS = 256


class AbstentionReason(Enum):
    """The reason why an input is unknown."""

    UNLIKE_TRAINING = "unlike_training"
    LOW_PROBABILITY = "low_probability"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AbstentionResult:
    """Whether inputs are known to a version."""

    typicality: Float32 | None  # of each input, [n]; None if the version has no typicality model
    reasons: Sequence[AbstentionReason | None]  # reason why each is unknown, [n]; None for a known input


class VersionPrediction(NamedTuple):
    """The prediction of one version."""

    version: ResidentVersion  # the version
    indexes: NDArray[np.int64]  # for each input the requested class indexes, the most probable first, [n, k]
    probabilities: Float32  # their probabilities, [n, k]
    selected: NDArray[np.bool_]  # whether each is predicted, [n, k]; of a single label only the first
    outputs: Float32  # all outputs of the head, [n, C]
    values: Float32 | None = None  # regression: the number for each input, [n], instead of classes
    abstention_result: AbstentionResult | None = None  # whether the inputs are known; None unless requested
    # the nearest training examples of each input; empty unless requested
    neighbors: Sequence[Sequence[Neighbor]] = ()
    # the most influential training examples of each input; empty unless requested
    influences: Sequence[Sequence[ExampleInfluence]] = ()
    # saliency map of each input; empty unless requested
    saliency: Sequence[Saliency] = ()
    # truncation of each truncated input, by index
    truncation: Mapping[int, Truncation] = MappingProxyType({})
    # ID of the prediction for each input; empty unless the model captures inputs
    prediction_ids: Sequence[str] = ()

    @property
    def parts(self) -> int:
        """The number of predictions, with the classes and training examples that they list."""
        listed = self.indexes.size + sum(map(len, self.neighbors)) + sum(map(len, self.influences))
        return len(self.outputs) + listed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BackboneFeatures:
    """The features of one backbone for all inputs of a call."""

    backbone: str  # its name
    views: Mapping[str, Float32]  # by view, [n, D]
    # truncation of each truncated input, by index
    truncation: Mapping[int, Truncation] = field(default_factory=dict)


class PredictResult(NamedTuple):
    """The answers of a call."""

    predictions: Sequence[VersionPrediction]  # one for each selector, in order
    features: Sequence[BackboneFeatures]  # one for each backbone that was run; none unless requested
    times: StageTimes  # where the time went
    # errors of skipped inputs, by index; the predictions are for the others
    faults: Mapping[int, HeadstartError] = MappingProxyType({})


def predict_version(
    version: ResidentVersion,
    views: Mapping[str, Float32],
    options: PredictOptions,
    own: Mapping[str, Float32] | None = None,
    outputs: Float32 | None = None,
) -> VersionPrediction:
    """Return the prediction of a version for n inputs.

    Args:
        version: the version, with the evidence that the options need.
        views: features [n, D of the view] by view: those of `required_views`.
        options: the options of the call.
        own: the views of the version's tail, if it has one. Typicality and neighbors use the backbone's:
            the tail was trained on the examples, and would make other inputs less similar to them.
        outputs: outputs of the head for the inputs, [n, C]; None to compute them from the views.
    """
    head, evidence = version.head, version.evidence
    if outputs is None:
        outputs = head.outputs(views if own is None else own)
    indexes, selected = _classes(version, outputs, options.top_k)
    typicality_model, index = evidence.typicality_model, evidence.neighbors
    abstention_result = None
    if options.abstention is not None:
        typicality = typicality_model.typicality(views) if typicality_model is not None else None
        abstention_result = _judged(options.abstention, typicality, outputs, head.task)
    return VersionPrediction(
        version=version,
        indexes=indexes,
        probabilities=_chosen(outputs, indexes),
        selected=selected,
        outputs=outputs,
        values=outputs[:, 0] if head.task is Task.REGRESSION else None,
        abstention_result=abstention_result,
        neighbors=index.nearest(views, options.neighbors) if index is not None and options.neighbors else (),
    )


def needs_evidence(version: ResidentVersion, options: PredictOptions) -> bool:
    """Return whether a prediction needs features in addition to the outputs of the head."""
    evidence = version.evidence
    return (options.abstention is not None and evidence.typicality_model is not None) or (
        options.neighbors > 0 and evidence.neighbors is not None
    )


def required_views(version: ResidentVersion, options: PredictOptions) -> set[str]:
    """Return the views that a prediction needs."""
    views, evidence = set(version.head.views), version.evidence
    if options.abstention is not None and evidence.typicality_model is not None:
        views.update(evidence.typicality_model.views)
    if options.neighbors and evidence.neighbors is not None:
        views.update(evidence.neighbors.views)
    return views


def work_per_input(version: ResidentVersion, options: PredictOptions) -> int:
    """Return the approximate multiplications for one input."""
    work, evidence = version.head.work, version.evidence
    work += _RANKING_WORK * len(version.head.class_names)
    if options.abstention is not None and evidence.typicality_model is not None:
        work += evidence.typicality_model.work
    if options.neighbors and evidence.neighbors is not None:
        work += evidence.neighbors.work
    return work


def _classes(
    version: ResidentVersion, outputs: Float32, top_k: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the requested class indexes, most probable first, and whether each is predicted, both [n, k]."""
    task, count = version.head.task, len(outputs)
    if task is Task.REGRESSION:
        return np.zeros((count, 0), np.int64), np.zeros((count, 0), np.bool_)
    classes = outputs.shape[1]
    indexes = _ranked(outputs, min(top_k or classes, classes))
    if task is Task.MULTI_LABEL:
        return indexes, _chosen(outputs >= version.head.thresholds, indexes)
    selected = np.zeros(indexes.shape, np.bool_)
    selected[:, :1] = True
    return indexes, selected


def _ranked(outputs: Float32, top_k: int) -> NDArray[np.int64]:
    """Return the first indexes of each row, the highest output first, and equal ones in their order."""
    if outputs.size > _FEW_OUTPUTS:
        # A slice would keep the places of all classes in memory.
        return (-outputs).argsort(axis=1, kind="stable")[:, :top_k].copy()
    places = range(outputs.shape[1])
    ranked = [sorted(places, key=row.__getitem__, reverse=True)[:top_k] for row in outputs.tolist()]
    return np.array(ranked, np.int64).reshape(len(outputs), top_k)


def _chosen(values: NDArray[Value], indexes: NDArray[np.int64]) -> NDArray[Value]:
    """Return the values [n, C] at indexes [n, k]."""
    chosen: NDArray[Value]
    if len(values) == 1:
        chosen = values[0].take(indexes)
    else:
        chosen = values[np.arange(len(values))[:, np.newaxis], indexes]
    return chosen


def _judged(
    options: Abstention, typicality: Float32 | None, outputs: Float32, task: Task
) -> AbstentionResult:
    unlike = np.zeros(len(outputs), np.bool_)
    if typicality is not None:
        unlike = typicality < options.false_alarm_rate
    unsure = np.zeros(len(outputs), np.bool_)
    if task is not Task.REGRESSION:
        unsure = outputs.max(axis=1) < options.min_probability
    return AbstentionResult(
        typicality=typicality,
        reasons=[
            AbstentionReason.UNLIKE_TRAINING if far else AbstentionReason.LOW_PROBABILITY if low else None
            for far, low in zip(unlike.tolist(), unsure.tolist(), strict=True)
        ],
    )
