"""Handles requests to cancel and delete jobs."""

from collections.abc import Callable

from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_queue import JobQueue


class JobControl:
    """Cancels and deletes jobs.

    Args:
        stop_running: called with the ID of a canceled job that runs, to stop it before its next check.
        on_ended: called after a cancel of a job that does not run.
    """

    def __init__(
        self, queue: JobQueue, stop_running: Callable[[str], None], on_ended: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._stop_running = stop_running
        self._on_ended = on_ended

    def cancel(self, job_id: str) -> Job:
        """Cancel a job in any state.

        Raise JobNotFound if the job does not exist.
        """
        job = self._queue.cancel(job_id)
        if job.state is JobState.RUNNING:
            self._stop_running(job_id)
        else:
            self._on_ended()
        return job

    def delete(self, job_id: str) -> None:
        """Delete a job; see `JobQueue.delete`."""
        self._queue.delete(job_id)
