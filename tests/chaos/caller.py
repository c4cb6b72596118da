"""A client of several servers, which repeats calls until one answers and records them."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc

from headstart.v1 import job_pb2
from histories.history import History, Operation, Outcome
from integration.server.calls import Api, refusal_of

Answer = TypeVar("Answer")

#: Codes of a call to a server that dies, stops, starts or has no database; clients repeat these calls.
#: A paused server does not answer, so the deadline of its caller passes. A call that arrives while a stopping
#: server closes its connection is CANCELLED (see `api.server.Server.stop`); clients repeat it.
REPEATED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
#: Codes of a call that certainly had no effect, and that a race between clients explains.
REFUSED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
#: Seconds of one call, and until a client gives up.
CALL_SECONDS = 20.0
GIVE_UP_SECONDS = 240.0
CLASSES = ("cat", "dog", "emu")


class GivenUpError(Exception):
    """No server has answered for far too long."""


class Caller:
    """The connections of one thread, which record what they carry.

    Args:
        targets: addresses of the servers.
        history: records the calls.
        chance: of the choices.
    """

    def __init__(self, targets: Sequence[str], history: History, chance: random.Random) -> None:
        self._apis = {target: Api.connect(target) for target in targets}
        self._history = history
        self.chance = chance

    def close(self) -> None:
        for api in self._apis.values():
            api.channel.close()

    def insist(
        self, kind: str, key: str, sent: Mapping[str, Any], call: Callable[[Api], Answer]
    ) -> Answer | None:
        """Call servers until one answers; returns None if it refused.

        Raises:
            GivenUpError: no server has answered for far too long.
            grpc.RpcError: a server answered with an error that no client should receive.
        """
        give_up = time.monotonic() + GIVE_UP_SECONDS
        while True:
            server = self.chance.choice(list(self._apis))
            called = self._history.now()
            outcome, result, error = Outcome.OK, None, None
            try:
                result = call(self._apis[server])
            except grpc.RpcError as failed:
                error = failed
                outcome = Outcome.UNKNOWN if may_have_happened(failed) else Outcome.FAILED
            self._history.add(
                Operation(
                    kind=kind,
                    key=key,
                    server=server,
                    sent=sent,
                    result=result if error is None else error.code().name,
                    outcome=outcome,
                    called=called,
                    returned=self._history.now(),
                )
            )
            if error is None:
                return result
            if error.code() in REFUSED:
                return None
            if error.code() not in REPEATED:
                raise error
            if time.monotonic() > give_up:
                raise GivenUpError(f"no answer in {GIVE_UP_SECONDS:g} s: {error.details()}")
            time.sleep(0.1)


def may_have_happened(error: grpc.RpcError) -> bool:
    """Return whether a failed call may have had an effect: it may, once a server has received it."""
    if error.code() not in REPEATED:
        return False
    details = error.details() or ""
    return "failed to connect" not in details and refusal_of(error).metadata.get("begun") != "false"


def state_name(state: int) -> str:
    """Return the state as the database has it."""
    return job_pb2.JobState.Name(state).removeprefix("JOB_STATE_").lower()
