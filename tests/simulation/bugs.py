"""Bugs that the simulation must find, planted into the server for the time of a block."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from sqlalchemy import Connection, and_, select, update

from headstart_server.database.tables import jobs
from headstart_server.jobs import job_runs, rows, running, webhook_rows
from headstart_server.jobs.job import Findings, Job, JobState, Progress
from headstart_server.jobs.job_runs import JobRuns
from headstart_server.jobs.webhook_rows import ClaimedPost
from headstart_server.models import rows as model_rows
from headstart_server.models.model_index import ModelIndex
from headstart_server.models.version import Manifest
from headstart_server.webhooks.message import headers_of, read_secrets
from headstart_server.webhooks.sender import WebhookPostError, WebhookSender
from simulation.data_bugs import DATA_BUGS

_write, _number_of = running.write, model_rows.number_of


@contextmanager
def _missing_fence() -> Iterator[None]:
    """A run writes even if its job belongs to another attempt."""

    def write(connection: Connection, job: Job, *values: Any, **fields: Any) -> None:
        attempt = connection.execute(select(jobs.c.attempt).where(jobs.c.job_id == job.job_id)).scalar_one()
        _write(connection, replace(job, attempt=attempt), *values, **fields)

    with mock.patch.object(running, "write", write):
        yield


@contextmanager
def _double_publication() -> Iterator[None]:
    """A version is published in one transaction, and its job ends in another."""

    def succeed(
        self: JobRuns,
        job: Job,
        progress: Progress,
        findings: Findings,
        *,
        artifact: str,
        size_bytes: int,
        manifest: Manifest,
    ) -> int:
        database = self._database
        with database.write("jobs.publish") as connection:
            number = self._registry.insert(
                connection,
                artifact=artifact,
                size_bytes=size_bytes,
                manifest=manifest,
                expires=None,
                alias=job.spec.alias,
            )
        with database.write("jobs.succeed") as connection:
            now = database.now(connection)
            _write(connection, job, JobState.SUCCEEDED, progress, now=now, result={"version": number})
        self._registry.index.refresh(manifest.model)
        self._notifier.publish(job.job_id)
        return number

    with mock.patch.object(JobRuns, "succeed", succeed):
        yield


def _allow_several_versions(connection: sqlite3.Connection) -> None:
    """Take away the constraint that would refuse a second version of a job."""
    ((sql,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'versions'").fetchall()
    ((trigger,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'publication'").fetchall()
    assert "UNIQUE (job_id)" in sql
    connection.execute("DROP TABLE versions")
    connection.execute(sql.replace("UNIQUE (job_id)", "CHECK (job_id != '')"))
    connection.execute(trigger)


@contextmanager
def _stale_alias() -> Iterator[None]:
    """The number of the last change that is known is read after the routes: a change in between is missed."""

    def sync(self: ModelIndex) -> None:
        with self._database.read() as connection:
            self._now.set(connection)
            if self._state(connection) == self._seen:
                return
        with self._refreshing, self._database.snapshot() as connection:
            since = -1 if self._seen is None else self._seen[1]
            self._read_entries(connection, model_rows.changed_models(connection, since))
        with self._database.read() as connection:
            self._seen = self._state(connection)

    with mock.patch.object(ModelIndex, "sync", sync):
        yield


@contextmanager
def _event_gap() -> Iterator[None]:
    """An event's number is counted in one transaction, and the event is written in another."""

    def report(self: JobRuns, job: Job, progress: Progress, findings: Findings, **more: Any) -> None:
        database = self._database
        mine = and_(jobs.c.job_id == job.job_id, jobs.c.attempt == job.attempt, jobs.c.cancel == 0)
        counted = update(jobs).where(mine, jobs.c.state == JobState.RUNNING.value).values(seq=jobs.c.seq + 1)
        with database.write("jobs.report") as connection:
            number = connection.execute(counted.returning(jobs.c.seq)).scalar()
        with database.write("jobs.report_event") as connection:
            now = database.now(connection)
            if number is None:
                _write(connection, job, JobState.RUNNING, progress, now=now)
            else:
                values = {"attempt": job.attempt, "state": JobState.RUNNING, "progress": progress}
                rows.add_event(connection, job.job_id, number, now=now, **values)
        self._notifier.publish(job.job_id)

    with mock.patch.object(JobRuns, "report", report):
        yield


@contextmanager
def _lost_webhook() -> Iterator[None]:
    """A webhook counts as delivered before it is sent."""

    def send(self: WebhookSender, claimed: ClaimedPost) -> None:
        with self._database.write("webhooks.deliver") as connection:
            job, now = rows.get(connection, claimed.job_id), self._database.now(connection)
            webhook_rows.deliver(connection, claimed, now)
        body = self._body(job)
        headers = headers_of(job.job_id, int(now), body, read_secrets(self._secrets).of(""))
        try:
            self._post(self._policy.target(claimed.uri, ""), headers, body)
        except WebhookPostError as error:
            self._failed(claimed, error)

    with mock.patch.object(WebhookSender, "send", send):
        yield


@contextmanager
def _lost_cancel() -> Iterator[None]:
    """A run that ends does not look whether its job was cancelled."""

    def write(connection: Connection, job: Job, state: JobState, *values: Any, **fields: Any) -> None:
        if state is JobState.SUCCEEDED:
            fields["unless_cancelled"] = False
        _write(connection, job, state, *values, **fields)

    with mock.patch.object(running, "write", write):
        yield


@contextmanager
def _deleted_job_is_lost() -> Iterator[None]:
    """A run whose commit had no answer looks for its job, not for its version."""

    def number_of(connection: Connection, artifact: str) -> int | None:
        job_id = artifact.partition(".")[0]
        is_there = connection.execute(select(jobs.c.job_id).where(jobs.c.job_id == job_id)).first()
        return _number_of(connection, artifact) if is_there else None

    with mock.patch.object(job_runs, "number_of", number_of):
        yield


#: Each bug as a block in which the server has it.
BUGS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "missing-fence": _missing_fence,
    "double-publication": _double_publication,
    "stale-alias": _stale_alias,
    "event-gap": _event_gap,
    "lost-webhook": _lost_webhook,
    "lost-cancel": _lost_cancel,
    "deleted-job-is-lost": _deleted_job_is_lost,
    **DATA_BUGS,
}
#: What a bug takes away from the tables.
CHANGES: Mapping[str, Callable[[sqlite3.Connection], None]] = {"double-publication": _allow_several_versions}
