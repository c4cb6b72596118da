"""PredictionService: predictions of versions and features of backbones."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as stubs
from headstart.v1.input_pb2 import Input
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.canary_call import CanaryCall, deadline_of
from headstart_server.api.grpc.messages.common import contents_of, selector_of
from headstart_server.api.grpc.messages.predictions import (
    encoded,
    fault_message,
    features_message,
    fill_predictions,
    fill_times,
    predict_options_of,
    truncation_message,
)
from headstart_server.api.grpc.requests.request_parsing import in_thread_if_large
from headstart_server.backbones.contract.backbone import Content
from headstart_server.errors import InvalidField
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.version_prediction import PredictResult


class PredictionService(stubs.PredictionServiceServicer):
    """Decode requests, call the predictor, encode results.

    Args:
        predictor: predicts, and records each Predict.
        clock: the predictor's monotonic clock, in seconds.
    """

    def __init__(self, predictor: Predictor, clock: Callable[[], float] = time.monotonic) -> None:
        self._predictor = predictor
        self._clock = clock

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        if not request.targets:
            raise InvalidField("Expected at least one target. Received: 0 targets.", field="targets")
        selectors = [
            selector_of(message, f"targets[{place}]") for place, message in enumerate(request.targets[:])
        ]
        contents = await self._contents(request.inputs)
        with CanaryCall(self._predictor.recorder, context, request.routing_key) as router:
            predicted = await self._predictor.predict(
                selectors,
                contents,
                predict_options_of(request),
                deadline=deadline_of(context, self._clock),
                router=router,
            )
        return await encoded(partial(_response, predicted, len(contents)), predicted.predictions)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        features, times = await self._predictor.embed(
            request.backbone,
            await self._contents(request.inputs),
            views=request.views,
            deadline=deadline_of(context, self._clock),
        )
        response = pb.EmbedResponse(
            features=features_message(features),
            truncation={place: truncation_message(cut) for place, cut in features.truncation.items()},
        )
        fill_times(response.times, times)
        return response

    async def _contents(self, messages: Sequence[Input]) -> list[Content]:
        # Counted before any is converted.
        self._predictor.check_count(len(messages))
        return await in_thread_if_large(contents_of, messages)


def _response(predicted: PredictResult, inputs: int) -> pb.PredictResponse:
    response = pb.PredictResponse(
        features=map(features_message, predicted.features),
        faults=[fault_message(place, fault) for place, fault in sorted(predicted.faults.items())],
    )
    for each in predicted.predictions:
        fill_predictions(response.results.add(), each, predicted.faults, inputs)
    fill_times(response.times, predicted.times)
    return response
