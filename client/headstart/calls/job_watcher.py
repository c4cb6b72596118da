"""How a job is followed to its end through lost connections: the decisions, without the waiting."""

import grpc

from headstart.calls.calls import Call, job_events
from headstart.errors import ErrorDetails, HeadstartError, JobCancelled, JobFailed, Unavailable
from headstart.results import JobEvent, JobState, JobStatus
from headstart.transport.call_log import LOGGER
from headstart.transport.retries import Backoff, RetryPolicy

__all__ = ["STATUS_SLICE_SECONDS", "EventCursor", "described_job", "finished_version", "still_going"]

STATUS_SLICE_SECONDS = 30.0
"""How long one Status call waits. Proxies end calls that are silent for a minute."""


class EventCursor:
    """Where a watcher is among the events of a job."""

    def __init__(self, job_id: str, after: int, policy: RetryPolicy) -> None:
        self.ended = False
        self._job_id = job_id
        self._after = after
        self._policy = policy
        self._backoff = Backoff(policy, seconds=policy.outage_seconds)

    def call(self) -> Call[JobEvent]:
        """Asks for the events that have not been seen."""
        return job_events(self._job_id, self._after)

    def accept(self, event: JobEvent) -> bool:
        """Notes an event. False if it was seen before, or is a mere sign of life, which has no number."""
        self._backoff.reset()
        self.ended = event.state.ended
        is_new = event.number > self._after
        self._after = max(event.number, self._after)
        return is_new

    def settle(self, status: JobStatus) -> float:
        """Decides after a stream ended in order but without a last event, as when a server is stopped."""
        self._backoff.reset()
        self.ended = status.state.ended and status.last_event <= self._after
        return self._policy.delay(1)

    def interrupted(self, error: Unavailable) -> float:
        """Decides after a connection was lost."""
        delay = self._backoff.delay_after(error)
        LOGGER.info("Watching job %s goes on in %.2f s: %s", self._job_id, delay, error)
        return delay


def described_job(job_id: str, status: JobStatus | None) -> str:
    """Return a job's ID and what is known about it, for a repr."""
    if status is None:
        return repr(job_id)
    version = "" if status.version is None else f"@{status.version}"
    return f"{job_id!r}, {status.spec.model}{version}, {status.state}"


def finished_version(status: JobStatus) -> int:
    """The number of the version that an ended job published."""
    if status.state is JobState.SUCCEEDED and status.version is not None:
        return status.version
    raise _failure(status)


def still_going(status: JobStatus | None, job_id: str) -> TimeoutError:
    """The error for a caller who will wait no longer; the job goes on."""
    state = status.state if status else "not known to have ended"
    return TimeoutError(f"Job {job_id} is {state} and goes on. Wait for it again, or cancel it.")


def _failure(status: JobStatus) -> HeadstartError:
    if status.state is JobState.CANCELLED:
        message = f"Job {status.job_id} was cancelled."
        return JobCancelled(ErrorDetails(code=grpc.StatusCode.CANCELLED, message=message, reason="CANCELLED"))
    unknown = ErrorDetails(
        code=grpc.StatusCode.UNKNOWN, message=f"Job {status.job_id} failed without saying why."
    )
    return JobFailed(status.error or unknown)
