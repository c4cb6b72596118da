"""Processes that die of a job: the job fails in the end, and its neighbors do not."""

import os
import time
from pathlib import Path

import pytest

from fakes import JobDriver, Publisher
from forked import ForkedProgram
from headstart_server.jobs.job import JobState
from postgres import on_both_databases

pytestmark = [on_both_databases, pytest.mark.timeout(180)]


@pytest.mark.parametrize("how", ["abort", pytest.param("kill", marks=pytest.mark.thorough)])
def test_a_job_that_kills_its_process_fails_alone(tmp_path: Path, address: str | None, how: str) -> None:
    driver = JobDriver(Publisher(tmp_path, time.time, address=address))  # type: ignore[arg-type]
    for job_id in ("deadly", "neighbor", "other"):
        driver.submit(job_id)
    ids = ("deadly", "neighbor", "other")
    starts = 0
    while not all(driver.job_store.reader.get(job_id).state.is_terminal for job_id in ids):
        starts += 1
        assert starts < 10
        arguments = [str(tmp_path), address or "", how]
        process = ForkedProgram("unit.jobs.crashing_server", arguments, os.environ, tmp_path / "log")
        try:
            while process.poll() is None:
                if all(driver.job_store.reader.get(job_id).state.is_terminal for job_id in ids):
                    break
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()

    deadly = driver.job_store.reader.get("deadly")
    assert deadly.state is JobState.FAILED
    assert deadly.error is not None
    assert (deadly.error.reason, deadly.crashes) == ("CRASHED_REPEATEDLY", 3)
    for job_id in ("neighbor", "other"):
        job = driver.job_store.reader.get(job_id)
        assert (job.state, job.crashes) == (JobState.SUCCEEDED, 0)
    # Once with a neighbor, then three times alone; at the end a server that lives.
    assert starts == 5
    driver.publisher.close()
