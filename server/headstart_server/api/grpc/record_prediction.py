"""What every call that predicts has in common: its deadline, and what is told of it when it is answered."""

from collections.abc import Callable
from dataclasses import fields

from headstart_server.api.grpc.telemetry_interceptor import Context
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import Tracing
from headstart_server.prediction.predictor import PredictResult
from headstart_server.prediction.statistics import StageTimes

_STAGES = tuple(field.name for field in fields(StageTimes))


def deadline_of(context: Context, clock: Callable[[], float]) -> float | None:
    """When the caller stops waiting, on a clock; None for never."""
    left = context.time_remaining()
    return None if left is None else clock() + left


def tell(telemetry: Telemetry, predicted: PredictResult, inputs: int, tracing: Tracing) -> None:
    """Count an answered call of so many inputs, and trace its stages if traces are on."""
    versions = {(answer.version.model, answer.version.number): inputs for answer in predicted.predictions}
    # Not `asdict`: it copies deeply, and this is done for every call.
    seconds = {stage: getattr(predicted.times, stage) for stage in _STAGES}
    telemetry.predicted(seconds, versions)
    if tracing.is_on:
        first = predicted.predictions[0].version
        tracing.stages(seconds, model=first.model, version=first.number, inputs=inputs)
