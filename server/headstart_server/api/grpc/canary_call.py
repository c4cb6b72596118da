"""A call that may ask for an alias that gives others a share of its calls: chosen, counted and timed."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from headstart_server.api.grpc.requests.limits import MAX_ROUTING_KEY
from headstart_server.api.grpc.status import CODES
from headstart_server.api.grpc.telemetry_interceptor import Context
from headstart_server.errors import HeadstartError, InvalidField
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.observability.telemetry import Telemetry

#: The call's metadata, and header over HTTP, that has the key where the message has none.
ROUTING_KEY = "headstart-routing-key"


class CanaryCall:
    """Gives the router of a call, and tells how the call went of each version that was chosen.

    A call that asks for no such alias costs nothing here, and is not told of.

    Args:
        telemetry: is told.
        context: of the call.
        key: the message's own; empty for that of the metadata.
        field: of the message that has the key, for errors.
        clock: seconds that only go up.

    Raises:
        InvalidField: the key is too long.
    """

    __slots__ = ("_clock", "_router", "_started", "_telemetry")

    def __init__(
        self,
        telemetry: Telemetry,
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
        self._telemetry = telemetry
        self._clock = clock
        self._router = TrafficRouter(lambda: key or _told(context))
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
            self._telemetry.canary_call_ended(
                self._router.chosen, _code_of(error), self._clock() - self._started
            )


def _told(context: Context) -> str:
    """The key in a call's metadata; empty without one."""
    for name, value in context.invocation_metadata() or ():
        if name == ROUTING_KEY:
            return str(value)
    return ""


def _code_of(error: BaseException | None) -> str:
    """The name of the gRPC code that a call ends with."""
    if error is None:
        return "OK"
    if isinstance(error, asyncio.CancelledError):
        # The caller left, or its deadline passed.
        return "CANCELLED"
    return CODES[error.reason].name if isinstance(error, HeadstartError) else "INTERNAL"
