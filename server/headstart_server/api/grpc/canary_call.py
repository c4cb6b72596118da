"""The deadline of calls that predict, and the canary routing of aliases."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.requests.limits import MAX_ROUTING_KEY
from headstart_server.api.grpc.status import CODES
from headstart_server.errors import HeadstartError, InvalidField
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.prediction.recorder import PredictionRecorder

#: The metadata, over HTTP the header, with the routing key of a call whose message has none.
ROUTING_KEY = "headstart-routing-key"


def deadline_of(context: Context, clock: Callable[[], float]) -> float | None:
    """Return the time on a clock at which the caller stops waiting; None for never."""
    left = context.time_remaining()
    return None if left is None else clock() + left


class CanaryCall:
    """Provide the router of a call, and record how the call ended for each version it was routed to.

    A call is recorded only if one of its aliases splits traffic.

    Args:
        recorder: records the call.
        context: the context of the call.
        key: the routing key in the message; empty to use the one in the metadata.
        field: the field of the message with the key, for errors.
        clock: a monotonic clock, in seconds.

    Raises:
        InvalidField: the key is too long.
    """

    __slots__ = ("_clock", "_recorder", "_router", "_started")

    def __init__(
        self,
        recorder: PredictionRecorder,
        context: Context,
        key: str = "",
        *,
        field: str = "routing_key",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if len(key) > MAX_ROUTING_KEY:
            raise InvalidField(
                f"Expected a key of at most {MAX_ROUTING_KEY} characters. Received: {len(key)}.", field=field
            )
        self._recorder = recorder
        self._clock = clock
        self._router = TrafficRouter(lambda: key or _key_in_metadata(context))
        self._started = 0.0

    def __enter__(self) -> TrafficRouter:
        self._started = self._clock()
        return self._router

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._router.chosen:
            self._recorder.canary_ended(self._router.chosen, _code_of(error), self._clock() - self._started)


def _key_in_metadata(context: Context) -> str:
    """Return the routing key in a call's metadata; empty without one."""
    for name, value in context.invocation_metadata() or ():
        if name == ROUTING_KEY:
            return str(value)
    return ""


def _code_of(error: BaseException | None) -> str:
    """Return the name of the gRPC code that a call ends with."""
    if error is None:
        return "OK"
    if isinstance(error, asyncio.CancelledError):
        # The caller disconnected, or its deadline passed.
        return "CANCELLED"
    return CODES[error.reason].name if isinstance(error, HeadstartError) else "INTERNAL"
