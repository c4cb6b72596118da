"""What rooms tell of calls and jobs for traces. This is the form without any; `open_telemetry` sends them."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

#: Pairs of a call's metadata.
Metadata = Iterable[tuple[str, str | bytes]]


class Span:
    """A call or a job that goes on; told of nothing."""

    #: Labels that point from a metric to this span; None for a span that is not kept.
    exemplar: Mapping[str, str] | None = None

    def end(self, outcome: str) -> None:
        """It ended.

        Args:
            outcome: of a call its code, such as `NOT_FOUND`; of a job how its run ended.
        """


class Tracing:
    """Traces nothing, which takes no time and imports nothing.

    Attributes:
        is_on: whether traces are made: what is done for every call is left out otherwise.
    """

    is_on = False

    def call(self, method: str, metadata: Callable[[], Metadata | None]) -> Span:
        """A call arrived; it is the current span of its task from now on.

        Args:
            method: ``/package.Service/Method``.
            metadata: gives the call's, which may name the span that it is a part of.
        """
        del method, metadata
        return _NOTHING

    def stages(self, seconds: Mapping[str, float], *, model: str, version: int, inputs: int) -> None:
        """The current call, a Predict, was answered just now.

        Args:
            seconds: of each stage.
            model: of the first target.
            version: its number.
            inputs: their number.
        """

    def context(self) -> str | None:
        """The current span, as W3C's `traceparent`, to be linked to later; None without one."""
        return None

    def job(self, job_id: str, model: str, attempt: int, asked: str | None) -> Span:
        """A run of a job began; it is the current span of its thread until it is ended.

        Args:
            job_id: the job.
            model: the model that gets a version.
            attempt: how often it was claimed.
            asked: the span of the call that asked for it, as `context` gave it.
        """
        del job_id, model, attempt, asked
        return _NOTHING

    def step(self, name: str) -> AbstractContextManager[None]:
        """A step of the current job is carried out in this block."""
        del name
        return nullcontext()

    def close(self, timeout: float) -> None:
        """Send what was not sent yet, for some seconds at most."""


_NOTHING = Span()
NO_TRACING = Tracing()
