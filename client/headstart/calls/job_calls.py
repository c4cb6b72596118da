"""Calls about all jobs as values, and the cursor that resumes a stream of all jobs after lost connections."""

from headstart.calls.calls import Call
from headstart.decode import decode
from headstart.errors import Unavailable
from headstart.results import JobEvent, WatchedJobs
from headstart.transport.retries import Backoff, RetryPolicy
from headstart.v1 import fine_tuning_service_pb2 as pb

__all__ = ["JobsCursor", "job_deletion", "watched_jobs"]

_SERVICE = "/headstart.v1.FineTuningService/"


def job_deletion(job_id: str) -> Call[None]:
    """Return the call of DeleteJob."""
    return Call(
        path=_SERVICE + "DeleteJob",
        request=pb.DeleteJobRequest(job_id=job_id),
        response=pb.DeleteJobResponse,
        read=lambda _: None,
    )


def watched_jobs(model: str | None, resume_token: str) -> Call[WatchedJobs]:
    """Return the call of WatchJobs, from a resume token."""
    return Call(
        path=_SERVICE + "WatchJobs",
        request=pb.WatchJobsRequest(model=model or "", resume_token=resume_token),
        response=pb.WatchJobsResponse,
        read=lambda response: decode(response, WatchedJobs),
    )


class JobsCursor:
    """The position of a watcher in the events of all jobs."""

    def __init__(self, model: str | None, resume_token: str, policy: RetryPolicy) -> None:
        self._model = model
        self._token = resume_token
        self._policy = policy
        self._backoff = Backoff(policy, seconds=policy.outage_seconds)
        # Events since the last token, which are repeated after a lost connection.
        self._seen: dict[str, int] = {}

    def call(self) -> Call[WatchedJobs]:
        """Return the call that resumes the stream."""
        return watched_jobs(self._model, self._token)

    def accept(self, watched: WatchedJobs) -> JobEvent | None:
        """Record a response; return its event if it is new."""
        self._backoff.reset()
        event = watched.event
        is_new = event is not None and event.number > self._seen.get(event.job_id, 0)
        if watched.resume_token:
            self._token = watched.resume_token
            self._seen.clear()
        elif event is not None:
            self._seen[event.job_id] = event.number
        return event if is_new else None

    def ended(self) -> float:
        """Return the seconds to wait after the server ended a stream without an error."""
        self._backoff.reset()
        return self._policy.delay(1)

    def interrupted(self, error: Unavailable) -> float:
        """Return the seconds to wait after a lost connection; raise its error after the outage limit."""
        return self._backoff.delay_after(error)
