"""Calls for aliases that give others a share: the routing key, and the metrics of the call."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from headstart_server.api.grpc.canary_call import CanaryCall
from headstart_server.errors import ArtifactDamaged, InvalidField
from headstart_server.models.traffic_split import choose_version
from headstart_server.models.version import TrafficSplit
from headstart_server.observability.telemetry import Telemetry
from headstart_server.prediction.recorder import PredictionRecorder

HALF = (TrafficSplit(number=8, fraction=0.5),)


class Call:
    """The context of a call, as far as it is looked at."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.metadata = metadata
        self.looks = 0

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        self.looks += 1
        return self.metadata


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("test")


def counted(telemetry: Telemetry) -> dict[tuple[str, ...], float]:
    """Calls by model, version and code."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "headstart_canary_requests_total"
    }


def test_the_messages_own_key_goes_before_that_of_the_metadata(telemetry: Telemetry) -> None:
    context: Any = Call(("user-agent", "x"), ("headstart-routing-key", "ann"))
    for own, key in (("", "ann"), ("bob", "bob")):
        with CanaryCall(PredictionRecorder(telemetry), context, own) as router:
            assert router.route("pets", 7, HALF) == choose_version(key, "pets", 7, HALF)
    assert context.looks == 1


def test_a_call_without_anything_to_choose_is_not_recorded(telemetry: Telemetry) -> None:
    context: Any = Call(("headstart-routing-key", "ann"))
    with CanaryCall(PredictionRecorder(telemetry), context):
        pass
    assert context.looks == 0
    assert counted(telemetry) == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, "OK"),
        (ArtifactDamaged("gone"), "DATA_LOSS"),
        (InvalidField("bad"), "INVALID_ARGUMENT"),
        (asyncio.CancelledError(), "CANCELLED"),
        (RuntimeError("a bug"), "INTERNAL"),
    ],
)
def test_the_end_of_a_call_is_recorded_for_each_version_it_was_routed_to(
    telemetry: Telemetry, error: BaseException | None, code: str
) -> None:
    times = iter([10.0, 12.5])
    context: Any = Call()
    chosen_: list[str] = []
    raised = () if error is None else (type(error),)
    with (
        suppress(*raised),
        CanaryCall(PredictionRecorder(telemetry), context, "ann", clock=lambda: next(times)) as router,
    ):
        chosen_ += [str(router.route(model, 7, HALF)) for model in ("pets", "cars")]
        if error is not None:
            raise error
    assert counted(telemetry) == {("pets", chosen_[0], code): 1, ("cars", chosen_[1], code): 1}
    (seconds,) = [
        sample.value
        for family in telemetry.registry.collect()
        for sample in family.samples
        if sample.name == "headstart_canary_request_duration_seconds_sum" and sample.labels["model"] == "pets"
    ]
    assert seconds == 2.5
