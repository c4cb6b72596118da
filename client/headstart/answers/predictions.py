"""Predictions, features and times, from messages."""

from typing import Any

from numpy.typing import NDArray

from headstart import tensors
from headstart.answers.times import milliseconds
from headstart.results import ClassProbability, ModelPredictions, Prediction, Predictions, StageTimes
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
        predictions=tuple(
            Prediction(
                classes=tuple(
                    ClassProbability(name=each.name, probability=each.probability, index=each.index)
                    for each in prediction.classes
                ),
                model=result.model,
                version=result.version,
            )
            for prediction in result.predictions
        ),
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
