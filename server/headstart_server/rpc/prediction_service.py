"""PredictionService: answers and features."""

import time
from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from headstart import tensors
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as stubs
from headstart_server.prediction.predictor import Answer, BackboneFeatures, Predicted, Predictor, StageTimes
from headstart_server.rpc.calls import Context
from headstart_server.rpc.messages import contents_of, selector_of
from headstart_server.telemetry import Telemetry

#: Classes returned for each input where the caller does not say.
DEFAULT_TOP_K = 5

_STAGES = tuple(field.name for field in fields(StageTimes))


class PredictionService(stubs.PredictionServiceServicer):
    """Decodes, calls and encodes; all work is the `prediction` room's.

    Args:
        predictor: answers.
        telemetry: is told of answered calls.
        clock: seconds that only go up; the predictor's.
    """

    def __init__(
        self,
        predictor: Predictor,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._predictor = predictor
        self._telemetry = telemetry
        self._clock = clock

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        selectors = [selector_of(request.target, "target")]
        for place, message in enumerate(request.additional_targets):
            selectors.append(selector_of(message, f"additional_targets[{place}]"))
        predicted = await self._predictor.predict(
            selectors,
            contents_of(request.inputs),
            top_k=request.top_k if request.HasField("top_k") else DEFAULT_TOP_K,
            deadline=self._deadline(context),
            with_features=request.return_features,
        )
        self._tell(predicted, len(request.inputs))
        results = [_predictions_message(answer) for answer in predicted.answers]
        return pb.PredictResponse(
            result=results[0],
            additional_results=results[1:],
            features=map(_features_message, predicted.features),
            times=_times_message(predicted.times),
        )

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        features, times = await self._predictor.embed(
            request.backbone,
            contents_of(request.inputs),
            views=request.views,
            deadline=self._deadline(context),
        )
        return pb.EmbedResponse(features=_features_message(features), times=_times_message(times))

    def _deadline(self, context: Context) -> float | None:
        left = context.time_remaining()
        return None if left is None else self._clock() + left

    def _tell(self, predicted: Predicted, inputs: int) -> None:
        versions = {(answer.version.model, answer.version.number): inputs for answer in predicted.answers}
        # Not `asdict`: it copies deeply, and this is done for every call.
        seconds = {stage: getattr(predicted.times, stage) for stage in _STAGES}
        self._telemetry.predicted(seconds, versions)


def _predictions_message(answer: Answer) -> pb.VersionPredictions:
    names = answer.version.head.class_names
    return pb.VersionPredictions(
        model=answer.version.model,
        version=answer.version.number,
        predictions=[
            pb.Prediction(
                classes=[
                    pb.ClassProbability(name=names[index], probability=probability, index=index)
                    for index, probability in zip(indexes, probabilities, strict=True)
                ]
            )
            for indexes, probabilities in zip(
                answer.indexes.tolist(), answer.probabilities.tolist(), strict=True
            )
        ],
    )


def _features_message(features: BackboneFeatures) -> pb.Features:
    return pb.Features(
        backbone=features.backbone,
        views={view: _tensor_message(matrix) for view, matrix in features.views.items()},
    )


def _tensor_message(matrix: NDArray[np.float32]) -> input_pb2.Tensor:
    return tensors.encode(matrix)


def _times_message(times: StageTimes) -> pb.StageTimes:
    return pb.StageTimes(
        total_milliseconds=times.total * 1e3,
        resolve_milliseconds=times.resolve * 1e3,
        decode_milliseconds=times.decode * 1e3,
        queue_milliseconds=times.queue * 1e3,
        backbone_milliseconds=times.backbone * 1e3,
        head_milliseconds=times.head * 1e3,
    )
