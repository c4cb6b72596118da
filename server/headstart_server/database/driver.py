"""A psycopg connection with a timeout for every wait for the server."""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

_Result = TypeVar("_Result")


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


class TimedConnection(psycopg.Connection[Any]):
    """A connection that closes itself if the server does not answer in time, because it or its host may hang.

    A statement's own timeout needs a server that can enforce it.
    """

    #: Seconds to wait for the answer to one message.
    answer_seconds = 5.0

    def wait(self, gen: PQGen[_Result], *args: Any, **options: Any) -> _Result:
        """Wait for an answer of the server; raise NoAnswerError after `answer_seconds`."""
        try:
            return super().wait(_limited(gen, self.answer_seconds), *args, **options)
        except NoAnswerError:
            self.close()
            raise


def _limited(waiting: PQGen[_Result], seconds: float) -> PQGen[_Result]:
    """End a wait after some seconds. psycopg resumes it several times a second until data arrives."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise NoAnswerError(f"no answer within {seconds:g} seconds")
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
