"""Retry decisions while a job is watched, without the waiting."""

import grpc

from headstart.calls.calls import Call, job_events
from headstart.errors import ErrorDetails, HeadstartError, JobCancelled, JobFailed
from headstart.results import JobEvent, JobState, JobStatus
from headstart.transport.call_log import LOGGER
from headstart.transport.retries import Outage, RetryPolicy

STATUS_SLICE_SECONDS = 30.0
"""Maximum seconds that one Status call waits: proxies end calls that are silent for a minute."""

ANSWER_SECONDS = 5.0
"""Seconds after the deadline of a wait within which a server may answer the last call."""


class EventCursor:
    """The position of a watcher in the events of a job."""

    def __init__(self, job_id: str, after: int, policy: RetryPolicy) -> None:
        self.ended = False
        self._job_id = job_id
        self._after = after
        self._policy = policy
        self._outage = Outage(policy)

    def call(self) -> Call[JobEvent]:
        """Return the call for the events after the last one."""
        return job_events(self._job_id, self._after)

    def accept(self, event: JobEvent) -> bool:
        """Record an event; return False for a repeated event and for a keepalive, which has no number."""
        self._outage.answered()
        self.ended = event.state.ended
        is_new = event.number > self._after
        self._after = max(event.number, self._after)
        return is_new

    def settle(self, status: JobStatus) -> float:
        """Return the seconds to wait after the server ended a stream before the job's last event."""
        self._outage.answered()
        self.ended = status.state.ended and status.last_event <= self._after
        return self._policy.delay(1)

    def interrupted(self, error: HeadstartError) -> float:
        """Return the seconds to wait after a transient error; raise other errors, and after a long outage."""
        delay = self._outage.interrupted(error)
        LOGGER.info("Watching job %s continues in %.2f s: %s", self._job_id, delay, error)
        return delay


def job_repr(job_id: str, status: JobStatus | None) -> str:
    """Return a repr of a job's ID and last status."""
    if status is None:
        return repr(job_id)
    version = "" if status.version is None else f"@{status.version}"
    return f"{job_id!r}, {status.spec.model}{version}, {status.state}"


def finished_version(status: JobStatus) -> int:
    """Return the version number of an ended job; raise its error if the job failed or was cancelled."""
    if status.state is JobState.SUCCEEDED and status.version is not None:
        return status.version
    raise _failure(status)


def wait_timeout(status: JobStatus | None, job_id: str) -> TimeoutError:
    """Return the error of a wait that timed out."""
    state = status.state if status else "not known to have ended"
    return TimeoutError(f"Job {job_id} is {state} and continues. Wait for it again, or cancel it.")


def _failure(status: JobStatus) -> HeadstartError:
    if status.state is JobState.CANCELLED:
        message = f"Job {status.job_id} was cancelled."
        return JobCancelled(ErrorDetails(code=grpc.StatusCode.CANCELLED, message=message, reason="CANCELLED"))
    unknown = ErrorDetails(
        code=grpc.StatusCode.UNKNOWN, message=f"Job {status.job_id} failed without an error."
    )
    return JobFailed(status.error or unknown)
