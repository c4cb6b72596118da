"""An ended job can be deleted; its version stays."""

import pytest

from fakes import JobDriver
from headstart_server.errors import JobNotFinished, JobNotFound
from headstart_server.jobs import webhook_rows
from headstart_server.jobs.job import Findings, JobError
from headstart_server.jobs.running import JobLostError
from postgres import on_both_databases

pytestmark = on_both_databases


def test_an_ended_job_is_deleted_with_its_events_and_its_version_stays(driver: JobDriver) -> None:
    job = driver.running("a", request_id="r")
    number = driver.succeed(job)
    driver.job_store.queue.delete("a")
    for look in (lambda: driver.job_store.reader.get("a"), lambda: driver.job_store.reader.events("a", 0)):
        with pytest.raises(JobNotFound):
            look()
    assert driver.publisher.registry.reader.version("pets", number).manifest.job_id == "a"
    assert driver.publisher.registry.reader.version("pets", number).has_examples
    with pytest.raises(JobNotFound):
        driver.job_store.queue.delete("a")
    # Its request ID is free again.
    assert driver.submit("b", request_id="r", request_hash="other").job_id == "b"


def test_a_job_that_has_not_ended_is_not_deleted(driver: JobDriver) -> None:
    driver.submit("a")
    with pytest.raises(JobNotFinished, match="is queued"):
        driver.job_store.queue.delete("a")
    job = driver.claim()
    with pytest.raises(JobNotFinished, match="is running"):
        driver.job_store.queue.delete("a")
    driver.succeed(job)
    driver.job_store.queue.delete("a")


def test_a_run_whose_job_was_deleted_has_lost_it(driver: JobDriver) -> None:
    job = driver.running("a")
    driver.crash()
    driver.succeed(driver.claim())
    driver.job_store.queue.delete("a")
    driver.job_store.runs.release(job)
    driver.job_store.runs.postpone(job, 1)
    driver.job_store.runs.finish_cancelled(job)
    with pytest.raises(JobLostError):
        driver.job_store.runs.fail(job, JobError(reason="INTERNAL", message=""), Findings())
    with pytest.raises(JobNotFound):
        driver.job_store.reader.get("a")


def test_a_job_whose_webhook_is_not_delivered_is_not_deleted(driver: JobDriver) -> None:
    driver.submit("a", webhook="https://hooks.example.com/in")
    driver.job_store.queue.cancel("a")
    with pytest.raises(JobNotFinished, match="webhook"):
        driver.job_store.queue.delete("a")
    database = driver.publisher.database
    with database.write("test") as connection:
        claimed = webhook_rows.claim(connection, driver.clock())
        assert claimed is not None
        webhook_rows.deliver(connection, claimed, driver.clock())
    driver.job_store.queue.delete("a")
    with pytest.raises(JobNotFound):
        driver.job_store.reader.get("a")
