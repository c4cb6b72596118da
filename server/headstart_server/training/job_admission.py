"""The admission of jobs to the queue: while the server is open, and within the quotas."""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from headstart_server.errors import NOT_STARTED, Draining
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.quotas import PendingUploads, Quotas, UploadQuota
from headstart_server.jobs.submitting import Submission
from headstart_server.observability.tracing import NO_TRACING, Tracing


class JobAdmission:
    """Admits jobs until it is closed. Safe to use from many threads.

    Args:
        wake_workers: called after each job that was accepted.
    """

    def __init__(
        self,
        queue: JobQueue,
        quotas: Quotas,
        *,
        wake_workers: Callable[[], None],
        tracing: Tracing = NO_TRACING,
    ) -> None:
        self._queue = queue
        self._quotas = quotas
        self._tracing = tracing
        self._pending = PendingUploads()
        self._closed = threading.Event()
        self.wake_workers = wake_workers

    def check_open(self) -> None:
        """Check that uploads are taken. Raise Draining if the server is stopping."""
        if self._closed.is_set():
            raise Draining(
                "The server is stopping and takes no new jobs. Try again at another replica.",
                metadata=dict([NOT_STARTED]),
            )

    def close(self) -> None:
        """Take no further uploads, and stop looking at those that came."""
        self._closed.set()

    def earlier(self, request_id: str, tenant: str, request_hash: str | None = None) -> Job | None:
        """Return the job of an accepted request ID, if the hash of the request is the same or unknown."""
        return self._queue.replayed(request_id, request_hash, tenant)

    def check_room(self, tenant: str) -> None:
        """Check that a job would be accepted now."""
        self._quotas.check_room(tenant)

    def quota(self, tenant: str, model: str, *, is_temporary: bool) -> UploadQuota:
        """Return the quota of an upload, and check that its tenant may store more.

        Args:
            is_temporary: whether nothing of the upload stays; then the whole capacity is available to it.
        """
        most = self._quotas.room_for(tenant, model, previews=is_temporary)
        return UploadQuota(self._pending, tenant, most, partial(self._quotas.refusal, tenant, model))

    def submit(self, submission: Submission) -> Job:
        """Accept a job as `JobQueue.submit`, with the trace of the call."""
        return self._queue.submit(replace(submission, trace_context=self._tracing.context()))
