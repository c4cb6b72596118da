"""Predictions, features and times, from messages."""

from typing import Any

from numpy.typing import NDArray

from headstart import tensors
from headstart.answers.enums import read_enum
from headstart.answers.optional import optional
from headstart.answers.times import milliseconds
from headstart.results import (
    AbstentionReason,
    ClassProbability,
    CutShort,
    ModelPredictions,
    Neighbor,
    Prediction,
    Predictions,
    Saliency,
    StageTimes,
)
from headstart.task import Task
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb

__all__ = ["read_features", "read_predictions"]


def read_predictions(response: pb.PredictResponse) -> Predictions:
    """Reads what the versions said, the first target's result first."""
    return Predictions(
        results=tuple(_result(result) for result in (response.result, *response.additional_results)),
        features={features.backbone: read_features(features) for features in response.features},
        times=_times(response.times),
    )


def read_features(features: pb.Features) -> dict[str, NDArray[Any]]:
    """Reads features by view, each of shape [inputs, size of the view].

    Raises:
        ValueError: a tensor of the answer contradicts itself.
    """
    return {view: tensors.decode(tensor) for view, tensor in features.views.items()}


def _result(result: pb.VersionPredictions) -> ModelPredictions:
    return ModelPredictions(
        model=result.model,
        version=result.version,
        predictions=tuple(_prediction(each, result) for each in result.predictions),
    )


def _prediction(prediction: pb.Prediction, result: pb.VersionPredictions) -> Prediction:
    return Prediction(
        classes=tuple(
            ClassProbability(
                name=each.name, probability=each.probability, index=each.index, selected=each.selected
            )
            for each in prediction.classes
        ),
        model=result.model,
        version=result.version,
        task=read_enum(result.task, input_pb2.Task.DESCRIPTOR, Task),
        abstained=prediction.abstained,
        abstention_reason=read_enum(
            prediction.abstention_reason, pb.AbstentionReason.DESCRIPTOR, AbstentionReason
        ),
        neighbors=tuple(_neighbor(each) for each in prediction.neighbors),
        saliency=_saliency(prediction.saliency) if prediction.HasField("saliency") else None,
        cut_short=_cut_short(prediction.cut_short) if prediction.HasField("cut_short") else None,
        **optional(prediction, "value", "value_low", "value_high", "typicality"),
    )


def _cut_short(cut: pb.CutShort) -> CutShort:
    return CutShort(kept_characters=cut.kept_characters, characters=cut.characters)


def _neighbor(neighbor: pb.Neighbor) -> Neighbor:
    return Neighbor(
        id=neighbor.id,
        index=neighbor.index,
        labels=tuple(neighbor.labels),
        distance=neighbor.distance,
        **optional(neighbor, "value"),
    )


def _saliency(saliency: pb.Saliency) -> Saliency:
    return Saliency(
        map=tensors.decode(saliency.map), class_name=saliency.class_name, overlay=saliency.overlay
    )


def _times(times: pb.StageTimes) -> StageTimes:
    return StageTimes(
        total=milliseconds(times.total_milliseconds),
        resolve=milliseconds(times.resolve_milliseconds),
        decode=milliseconds(times.decode_milliseconds),
        queue=milliseconds(times.queue_milliseconds),
        backbone=milliseconds(times.backbone_milliseconds),
        head=milliseconds(times.head_milliseconds),
    )
