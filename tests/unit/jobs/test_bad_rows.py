"""Rows that cannot be read: they fail, and the queue goes on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
import structlog
from sqlalchemy import Connection, insert, select, text

from fakes import JobDriver
from headstart_server.api.grpc.status import status_of
from headstart_server.database.database import Database
from headstart_server.database.tables import jobs
from headstart_server.errors import StorageFull, WrittenByNewerRelease
from headstart_server.jobs.job import JobState
from headstart_server.jobs.job_store import JobStore
from postgres import on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def failures() -> list[str]:
    return []


@pytest.fixture
def job_store(driver: JobDriver, failures: list[str]) -> JobStore:
    return driver.restarted(["fake"], on_claim_failed=lambda: failures.append("one"), trains_networks=False)


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as events:
        yield events


def insert_before(driver: JobDriver, payload: object, job_id: str = "bad") -> None:
    """Write a row that comes first in the queue, past all checks."""
    with driver.publisher.database.write() as connection:
        connection.execute(
            insert(jobs).values(
                job_id=job_id,
                kind="fine_tune",
                state="queued",
                model="pets",
                payload=payload,
                priority=10,
                seq=0,
                created=0.0,
            )
        )


def payload_of(driver: JobDriver) -> dict[str, object]:
    with driver.publisher.database.read() as connection:
        return dict(connection.execute(select(jobs.c.payload)).scalars().first() or {})


@pytest.mark.parametrize("character", ["\0", "\x1b", "\ud800"])
def test_a_control_character_in_a_text_of_a_spec_stops_no_claim(
    driver: JobDriver, job_store: JobStore, character: str, failures: list[str]
) -> None:
    driver.submit("good")
    payload = payload_of(driver)
    spec = payload["spec"]
    assert isinstance(spec, dict)
    insert_before(driver, {**payload, "spec": {**spec, "tags": {"team": f"a{character}b"}}})
    claimed = [job_store.queue.claim(), job_store.queue.claim()]
    assert [job and job.job_id for job in claimed] == ["bad", "good"]
    assert failures == []
    # What is read of it can be sent and written again.
    job = driver.job_store.reader.get("bad")
    assert json.dumps(dict(job.spec.tags)).encode()
    assert "\0" not in job.spec.tags["team"]


@pytest.mark.parametrize("payload", [{}, {"spec": 5}, {"spec": {"recipe": {"unheard-of": {}}}}, [], "text"])
def test_a_row_that_cannot_be_read_fails_and_the_next_job_runs(
    driver: JobDriver,
    job_store: JobStore,
    payload: object,
    failures: list[str],
    logs: list[dict[str, object]],
) -> None:
    driver.submit("good")
    insert_before(driver, payload)
    job = job_store.queue.claim()
    assert job is not None
    assert job.job_id == "good"
    with driver.publisher.database.read() as connection:
        row = connection.execute(select(jobs).where(jobs.c.job_id == "bad")).one()
    assert (row.state, row.error["reason"]) == (JobState.FAILED.value, "INTERNAL")
    assert "cannot be read" in row.error["message"]
    assert failures == ["one"]
    assert [event["job_id"] for event in logs if event["event"] == "job_failed"] == ["bad"]


def test_a_job_of_a_newer_release_is_named_to_its_caller(driver: JobDriver) -> None:
    driver.submit("good")
    payload = payload_of(driver)
    spec = payload["spec"]
    assert isinstance(spec, dict)
    insert_before(driver, {**payload, "spec": {**spec, "recipe": {"quantum": {"depth": 3}}}}, "newer")
    for read in (lambda: driver.job_store.reader.get("newer"), lambda: list_all(driver)):
        with pytest.raises(WrittenByNewerRelease, match=r"Job 'newer'.* Upgrade the server") as caught:
            read()
        assert status_of(caught.value).code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert driver.job_store.reader.get("good").job_id == "good"


def list_all(driver: JobDriver) -> object:
    return driver.job_store.reader.list(model="", states=(), before=None, limit=10)


def test_a_running_job_names_its_replica(driver: JobDriver) -> None:
    driver.submit("one")
    assert driver.job_store.reader.get("one").replica == ""
    running = driver.claim()
    assert running.replica == driver.job_store.reader.get("one").replica == driver.job_store.queue.owner
    driver.succeed(running)
    assert driver.job_store.reader.get("one").replica == ""


def test_a_row_that_the_database_refuses_to_claim_fails_and_the_next_job_runs(
    driver: JobDriver, job_store: JobStore, failures: list[str], logs: list[dict[str, object]]
) -> None:
    driver.submit("bad", priority=1)
    driver.submit("good")
    refuse(driver.publisher.database)
    try:
        job = job_store.queue.claim()
    finally:
        allow(driver.publisher.database)
    assert job is not None
    assert job.job_id == "good"
    assert driver.job_store.reader.get("bad").state is JobState.FAILED
    assert len(failures) == 2
    assert "job_claim_failed" in [event["event"] for event in logs]


def test_a_full_disk_fails_no_queued_job(
    driver: JobDriver,
    job_store: JobStore,
    failures: list[str],
    logs: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver.submit("good")
    write, commits = driver.publisher.database.write, iter([StorageFull(), StorageFull()])

    @contextmanager
    def full(name: str) -> Iterator[Connection]:
        with write(name) as connection:
            yield connection
            for error in commits:
                raise error

    monkeypatch.setattr(driver.publisher.database, "write", full)
    for _ in range(2):
        with pytest.raises(StorageFull):
            job_store.queue.claim()
    job = job_store.queue.claim()
    assert job is not None
    assert job.job_id == "good"
    assert (failures, logs) == ([], [])


def refuse(database: Database) -> None:
    """Let the database refuse each claim of one row."""
    with database.write() as connection:
        if database.is_shared:
            connection.execute(
                text(
                    "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN "
                    "RAISE EXCEPTION 'refused' USING ERRCODE = '22P05'; END $$ LANGUAGE plpgsql"
                )
            )
            connection.execute(
                text(
                    "CREATE TRIGGER refused BEFORE UPDATE ON jobs FOR EACH ROW "
                    "WHEN (NEW.job_id = 'bad' AND NEW.state = 'running') EXECUTE FUNCTION refuse()"
                )
            )
        else:
            connection.execute(
                text(
                    "CREATE TRIGGER refused BEFORE UPDATE ON jobs WHEN NEW.job_id = 'bad' AND "
                    "NEW.state = 'running' BEGIN SELECT RAISE(ABORT, 'refused'); END"
                )
            )


def allow(database: Database) -> None:
    with database.write() as connection:
        if database.is_shared:
            connection.execute(text("DROP TRIGGER refused ON jobs"))
            connection.execute(text("DROP FUNCTION refuse"))
        else:
            connection.execute(text("DROP TRIGGER refused"))
