"""The durable ledger of jobs: what was accepted, who runs it, and how it ended.

Every write of a run is fenced by the attempt of its claim and by the absence of a cancel, so that a run that
lost its job, or whose job was cancelled, can change nothing.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, tuple_, update

from headstart_server.database.database import Database
from headstart_server.database.tables import job_events, jobs
from headstart_server.errors import JobQueueFull, RequestIdReused
from headstart_server.jobs import archives, rows
from headstart_server.jobs.changes import Changes
from headstart_server.jobs.job import Findings, Job, JobError, JobEvent, JobState, Progress
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.dataset import DatasetSummary
from headstart_server.learning.promotion import Promotion
from headstart_server.models.registry import Registry
from headstart_server.models.version import Manifest

#: The only kind of job there is; servers claim only kinds they know.
FINE_TUNE = "fine_tune"
#: A job whose process died this often has failed.
MAX_CRASHES = 3
#: Ids of examples left out that are told with a job; there may be megabytes of them.
MAX_TOLD_IDS = 100
#: Seconds after which a caller may try again when the queue is full.
QUEUE_RETRY_SECONDS = 5.0


class JobLostError(Exception):
    """The job belongs to another attempt by now: nothing of this run counts."""


class JobCancelledError(Exception):
    """The job was asked to cancel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A fine-tune to accept.

    Attributes:
        job_id: the name it shall have; its dataset is stored under it already.
        spec: what to do.
        summary: what is known of its dataset.
        request_id: the caller's id of the request; None for none.
        request_hash: digest of all that the caller sent.
        archives: the jobs in whose archives its examples lie beside its own.
    """

    job_id: str
    spec: FineTuneSpec
    summary: DatasetSummary
    request_id: str | None
    request_hash: str
    archives: Collection[str] = ()


class Ledger:
    """Keeps jobs and their events.

    Args:
        database: holds the rows.
        registry: takes the version in the transaction that ends its job.
        changes: is told of each job that changed, after the commit.
        owner: host name and a uuid of this process.
        max_queued: most jobs to hold queued.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        changes: Changes,
        *,
        owner: str,
        max_queued: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._registry = registry
        self._changes = changes
        self._owner = owner
        self._max_queued = max_queued
        self._clock = clock

    # Accepting

    def submit(self, submission: Submission) -> Job:
        """Accept a job. Once this returns it is on disk and will run to one end.

        Returns:
            The job; another one than the submission's if its request id was accepted before.

        Raises:
            RequestIdReused: the request id was accepted before with other content.
            JobQueueFull: too many jobs are queued.
            ExamplesNotKept: an archive that it needs may be gone.
        """
        with self._database.write() as connection:
            earlier = self._replayed(connection, submission.request_id, submission.request_hash)
            if earlier is not None:
                return earlier
            self._check_room(connection)
            now = self._clock()
            summary = submission.summary
            connection.execute(
                insert(jobs).values(
                    job_id=submission.job_id,
                    kind=FINE_TUNE,
                    state=JobState.QUEUED.value,
                    model=submission.spec.model,
                    payload={
                        "spec": _shortened(submission.spec).to_json(),
                        "example_count": summary.example_count,
                        "class_count": len(summary.class_counts),
                        "dataset_digest": summary.digest,
                        "task": summary.task,
                        "added_count": summary.added_count,
                        "removed_count": summary.removed_count,
                    },
                    request_id=submission.request_id,
                    request_hash=submission.request_hash,
                    seq=1,
                    created=now,
                )
            )
            archives.hold(connection, submission.job_id, submission.archives)
            rows.add_event(
                connection, submission.job_id, 1, now=now, attempt=0, state=JobState.QUEUED, progress=None
            )
            job = rows.get(connection, submission.job_id)
        self._changes.publish(job.job_id)
        return job

    def replayed(self, request_id: str, request_hash: str | None = None) -> Job | None:
        """The job of a request id that was accepted before; None if it was not.

        Args:
            request_id: the caller's id.
            request_hash: digest of all that the caller sent; None if that is not known yet.

        Raises:
            RequestIdReused: it was accepted with other content.
        """
        with self._database.snapshot() as connection:
            return self._replayed(connection, request_id, request_hash)

    def _replayed(
        self, connection: Connection, request_id: str | None, request_hash: str | None
    ) -> Job | None:
        if request_id is None:
            return None
        row = connection.execute(
            select(jobs.c.job_id, jobs.c.request_hash).where(
                jobs.c.tenant == "", jobs.c.request_id == request_id
            )
        ).one_or_none()
        if row is None:
            return None
        if request_hash is not None and row.request_hash != request_hash:
            raise RequestIdReused(
                f"Request id {request_id!r} was used before for job {row.job_id} with another "
                "spec or other examples. Use a new request id for a new fine-tune.",
                field="spec.request_id",
                metadata={"job_id": row.job_id},
            )
        return rows.get(connection, row.job_id)

    def check_room(self) -> None:
        """Check that a job would be accepted now.

        Raises:
            JobQueueFull: too many jobs are queued.
        """
        with self._database.read() as connection:
            self._check_room(connection)

    def _check_room(self, connection: Connection) -> None:
        queued = rows.count(connection, JobState.QUEUED)
        if queued >= self._max_queued:
            raise JobQueueFull(
                f"{queued} jobs are queued and the server takes {self._max_queued} at most. "
                f"Try again in {QUEUE_RETRY_SECONDS:.0f} seconds.",
                metadata={"limit": str(self._max_queued), "queued": str(queued)},
                retry_after=QUEUE_RETRY_SECONDS,
            )

    # Running

    def claim(self) -> Job | None:
        """Take the next job to run, or None if none waits.

        Jobs that were asked to cancel while they waited do not come: `cancel` has ended them.
        """
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs.c.job_id)
                .where(jobs.c.state == JobState.QUEUED.value, jobs.c.kind == FINE_TUNE)
                .order_by(jobs.c.priority.desc(), jobs.c.created, jobs.c.job_id)
                .limit(1)
            ).one_or_none()
            if row is None:
                return None
            now = self._clock()
            claimed = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == row.job_id)
                .values(
                    state=JobState.RUNNING.value,
                    owner=self._owner,
                    attempt=jobs.c.attempt + 1,
                    started=func.coalesce(jobs.c.started, now),
                    seq=jobs.c.seq + 1,
                )
                .returning(jobs.c.seq, jobs.c.attempt)
            ).one()
            rows.add_event(
                connection,
                row.job_id,
                claimed.seq,
                now=now,
                attempt=claimed.attempt,
                state=JobState.RUNNING,
                progress=None,
            )
            job = rows.get(connection, row.job_id)
        self._changes.publish(job.job_id)
        return job

    def report(self, job: Job, progress: Progress, findings: Findings) -> None:
        """Write down how far a running job is, as its newest event.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
        """
        with self._database.write() as connection:
            self._fenced(
                connection, job, JobState.RUNNING, progress, checkpoint=rows.checkpoint(progress, findings)
            )
        self._changes.publish(job.job_id)

    def succeed(
        self,
        job: Job,
        progress: Progress,
        findings: Findings,
        *,
        artifact: str,
        size_bytes: int,
        manifest: Manifest,
        promotion: Promotion | None = None,
    ) -> int:
        """End a job and publish its version, in one transaction.

        Args:
            job: the job.
            progress: where it stands at its end.
            findings: what it found.
            artifact: where the version's files lie.
            size_bytes: their size.
            manifest: where the version came from.
            promotion: what was decided about the spec's alias; None moves it anyway.

        Returns:
            The version's number.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
            AliasMovedError: the alias names another version than the one that was judged; nothing was
                published.
        """
        spec = job.spec
        expires = None if spec.time_to_live is None else self._clock() + spec.time_to_live
        with self._database.write() as connection:
            # The fence comes first: a run that lost its job must hear so, not that its job has a version.
            self._fenced(
                connection,
                job,
                JobState.SUCCEEDED,
                progress,
                checkpoint=rows.checkpoint(progress, findings),
                finished=self._clock(),
            )
            number = self._registry.insert(
                connection,
                artifact=artifact,
                size_bytes=size_bytes,
                manifest=manifest,
                expires=expires,
                alias=spec.alias,
                promotion=promotion,
            )
            result = {"version": number, "promotion": None if promotion is None else promotion.to_json()}
            connection.execute(update(jobs).where(jobs.c.job_id == job.job_id).values(result=result))
            if spec.discard_examples:
                archives.let_go(connection, job.job_id)
        self._registry.refresh(manifest.model)
        self._changes.publish(job.job_id)
        return number

    def fail(self, job: Job, error: JobError, findings: Findings) -> None:
        """End a running job that cannot succeed.

        Raises:
            JobCancelledError: it was asked to cancel.
            JobLostError: it belongs to another attempt.
        """
        with self._database.write() as connection:
            progress = rows.get(connection, job.job_id).progress
            self._fenced(
                connection,
                job,
                JobState.FAILED,
                progress,
                checkpoint=rows.checkpoint(progress, findings),
                error=asdict(error),
                finished=self._clock(),
            )
        self._changes.publish(job.job_id)

    def end_cancelled(self, job: Job) -> None:
        """End a running job that was asked to cancel; nothing happens if it is lost."""
        self._hand_over(job, JobState.CANCELLED)

    def give_back(self, job: Job) -> None:
        """Put a running job back into the queue, for a server that stops; nothing happens if it is lost.

        A job that was asked to cancel ends instead: it must not be run again.
        """
        self._hand_over(job, JobState.QUEUED)

    def _hand_over(self, job: Job, state: JobState) -> None:
        with self._database.write() as connection:
            now = rows.get(connection, job.job_id)
            if now.cancel:
                state = JobState.CANCELLED
            ended = state.is_terminal
            values = {"finished": self._clock()} if ended else {"owner": None}
            try:
                self._fenced(
                    connection,
                    job,
                    state,
                    now.progress if ended else None,
                    unless_cancelled=False,
                    **values,
                )
            except JobLostError:
                return
        self._changes.publish(job.job_id)

    def recover(self) -> list[Job]:
        """Take up what another process of this database left behind. Only while no other one runs.

        Running jobs go back to the queue; those whose process died too often fail.

        Returns:
            The jobs that were running.
        """
        with self._database.write() as connection:
            running = connection.execute(select(jobs).where(jobs.c.state == JobState.RUNNING.value)).all()
            for row in running:
                self._recover_one(connection, row)
            recovered = [rows.get(connection, row.job_id) for row in running]
        for job in recovered:
            self._changes.publish(job.job_id)
        return recovered

    def _recover_one(self, connection: Connection, row: Row[Any]) -> None:
        now, crashes = self._clock(), row.crashes + 1
        values: dict[str, Any] = {"owner": None, "crashes": crashes, "seq": row.seq + 1}
        if row.cancel:
            state = JobState.CANCELLED
        elif crashes >= MAX_CRASHES:
            state = JobState.FAILED
            values["error"] = asdict(
                JobError(
                    reason="CRASHED_REPEATEDLY",
                    message=f"The server's process ended {crashes} times while it ran this job.",
                    metadata={"crashes": str(crashes)},
                )
            )
        else:
            state = JobState.QUEUED
        if state.is_terminal:
            values["finished"] = now
        connection.execute(
            update(jobs).where(jobs.c.job_id == row.job_id).values(state=state.value, **values)
        )
        rows.add_event(
            connection, row.job_id, row.seq + 1, now=now, attempt=row.attempt, state=state, progress=None
        )

    def _fenced(
        self,
        connection: Connection,
        job: Job,
        state: JobState,
        progress: Progress | None,
        *,
        unless_cancelled: bool = True,
        **values: Any,
    ) -> None:
        mine = and_(
            jobs.c.job_id == job.job_id,
            jobs.c.attempt == job.attempt,
            jobs.c.state == JobState.RUNNING.value,
        )
        allowed = and_(mine, jobs.c.cancel == 0) if unless_cancelled else mine
        row = connection.execute(
            update(jobs)
            .where(allowed)
            .values(state=state.value, seq=jobs.c.seq + 1, **values)
            .returning(jobs.c.seq)
        ).one_or_none()
        if row is None:
            still_mine = connection.execute(select(jobs.c.cancel).where(mine)).scalar()
            raise JobCancelledError(job.job_id) if still_mine else JobLostError(job.job_id)
        rows.add_event(
            connection,
            job.job_id,
            row.seq,
            now=self._clock(),
            attempt=job.attempt,
            state=state,
            progress=progress,
        )

    # Asking

    def cancel(self, job_id: str) -> Job:
        """Ask a job to cancel: a queued one ends at once, a running one at its next look, an ended one stays.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.write() as connection:
            job = rows.get(connection, job_id)
            if job.state is JobState.QUEUED:
                now = self._clock()
                connection.execute(
                    update(jobs)
                    .where(jobs.c.job_id == job_id)
                    .values(state=JobState.CANCELLED.value, cancel=1, finished=now, seq=jobs.c.seq + 1)
                )
                number = job.last_event + 1
                rows.add_event(
                    connection,
                    job_id,
                    number,
                    now=now,
                    attempt=job.attempt,
                    state=JobState.CANCELLED,
                    progress=None,
                )
            elif job.state is JobState.RUNNING:
                connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(cancel=1))
            job = rows.get(connection, job_id)
        self._changes.publish(job_id)
        return job

    def get(self, job_id: str) -> Job:
        """A job.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.snapshot() as connection:
            return rows.get(connection, job_id)

    def list(
        self,
        *,
        model: str,
        states: Sequence[JobState],
        before: tuple[float, str] | None,
        limit: int,
    ) -> Sequence[Job]:
        """Jobs, the newest first.

        Args:
            model: only those of this model; empty for all.
            states: only those in one of these; empty for all.
            before: only those after this (created, job_id) in the list.
            limit: most jobs to return.
        """
        query = select(jobs)
        if model:
            query = query.where(jobs.c.model == model)
        if states:
            query = query.where(jobs.c.state.in_([state.value for state in states]))
        if before is not None:
            query = query.where(tuple_(jobs.c.created, jobs.c.job_id) < before)
        query = query.order_by(jobs.c.created.desc(), jobs.c.job_id.desc()).limit(limit)
        with self._database.snapshot() as connection:
            return [rows.job(connection, row) for row in connection.execute(query).all()]

    def events(self, job_id: str, after: int) -> Sequence[JobEvent]:
        """The events of a job with a number above `after`, in order.

        Raises:
            JobNotFound: there is no such job.
        """
        with self._database.snapshot() as connection:
            found = connection.execute(
                select(job_events)
                .where(job_events.c.job_id == job_id, job_events.c.seq > after)
                .order_by(job_events.c.seq)
            ).all()
            if not found:
                rows.get(connection, job_id)
        return [
            JobEvent(
                job_id=job_id,
                number=row.seq,
                time=row.time,
                state=JobState(row.data["state"]),
                progress=rows.progress_of(row.data.get("progress")),
            )
            for row in found
        ]

    def count(self) -> Mapping[JobState, int]:
        """Number of jobs in each state."""
        with self._database.read() as connection:
            found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        counted = {str(state): int(number) for state, number in found}
        return {state: counted.get(state.value, 0) for state in JobState}

    def is_under_way(self, model: str) -> bool:
        """Whether a job for this model is queued or running."""
        with self._database.read() as connection:
            query = select(jobs.c.job_id).where(jobs.c.model == model, rows.under_way()).limit(1)
            return connection.execute(query).one_or_none() is not None

    def unfinished(self) -> set[str]:
        """The ids of all jobs that are queued or running."""
        with self._database.read() as connection:
            return set(connection.execute(select(jobs.c.job_id).where(rows.under_way())).scalars())

    def forget(self, before: float) -> int:
        """Remove the jobs that ended before a time, with their events.

        Returns:
            The number of jobs removed.
        """
        with self._database.write() as connection:
            return connection.execute(delete(jobs).where(jobs.c.finished < before)).rowcount


def _shortened(spec: FineTuneSpec) -> FineTuneSpec:
    """The spec as it is told with the job: the dataset's list has what was left out."""
    return replace(spec, removed_example_ids=spec.removed_example_ids[:MAX_TOLD_IDS])
