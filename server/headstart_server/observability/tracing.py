"""The interface that records traces of calls and jobs; `open_telemetry` implements it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext

#: Pairs of a call's metadata.
Metadata = Iterable[tuple[str, str | bytes]]


class Span:
    """A running call or job that is not traced."""

    #: Labels that point from a metric to this span; None for a span that is not recorded.
    exemplar: Mapping[str, str] | None = None

    def end(self, outcome: str) -> None:
        """End the span with the code of a call, such as `NOT_FOUND`, or the outcome of a job's run."""


class Tracing:
    """Tracing that is off, which takes no time and imports nothing."""

    #: Whether traces are recorded; if not, calls skip preparing them.
    is_on = False

    def call(self, method: str, metadata: Callable[[], Metadata | None]) -> Span:
        """Start the span of a call, and make it current in its task.

        The metadata may contain the span that the call is part of.
        """
        del method, metadata
        return _NOTHING

    def stages(self, seconds: Mapping[str, float], *, model: str, version: int, inputs: int) -> None:
        """Record the seconds of each stage of the current call, a Predict that ended just now."""

    def context(self) -> str | None:
        """Return the current span as W3C `traceparent`, for a later link; None without one."""
        return None

    def job(self, job_id: str, model: str, attempt: int, submitted_by: str | None) -> Span:
        """Start the span of a job's run, and make it current in its thread until it ends.

        `submitted_by` is the `context` of the call that submitted the job.
        """
        del job_id, model, attempt, submitted_by
        return _NOTHING

    def step(self, name: str) -> AbstractContextManager[None]:
        """Record the block as a step of the current job."""
        del name
        return nullcontext()

    def close(self, timeout: float) -> None:
        """Send the remaining spans, within some seconds."""


_NOTHING = Span()
NO_TRACING = Tracing()
