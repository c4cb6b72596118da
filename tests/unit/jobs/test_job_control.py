"""A cancel stops a job that runs, and cleans up after one that waited."""

import pytest

from fakes import JobDriver
from headstart_server.errors import JobNotFound
from headstart_server.jobs.job import JobState
from headstart_server.jobs.job_control import JobControl


def test_only_a_running_job_is_stopped_and_an_ended_one_can_be_deleted(driver: JobDriver) -> None:
    queue = driver.job_store.queue
    running, waiting = (queue.submit(driver.submission()).job_id for _ in range(2))
    claimed = queue.claim()
    assert claimed is not None
    assert claimed.job_id == running
    seen: list[str] = []
    control = JobControl(queue, seen.append, lambda: seen.append("cleaned up"))

    assert control.cancel(running).state is JobState.RUNNING
    assert seen == [running]
    assert control.cancel(waiting).state is JobState.CANCELLED
    assert seen == [running, "cleaned up"]

    control.delete(waiting)
    with pytest.raises(JobNotFound):
        control.cancel(waiting)
    assert len(seen) == 2
