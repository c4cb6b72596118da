"""What must hold of the rows and files that chaos leaves behind."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from chaos.clients import Told
from headstart_server.database.database import Database
from headstart_server.database.tables import job_events, jobs, models, versions
from headstart_server.errors import ArtifactDamaged
from headstart_server.jobs.job import TRANSITIONS, JobState
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Manifest


class Leftovers:
    """Everything in the database, once nobody writes any more.

    Args:
        database: of the servers.
        artifacts: folder of their files.
        told: what callers were told.
    """

    def __init__(self, database: Database, artifacts: Path, told: Told) -> None:
        self._told = told
        self._store = VersionStore(artifacts / "versions")
        with database.snapshot() as connection:
            self.jobs = {row.job_id: row for row in connection.execute(select(jobs)).all()}
            self.versions = connection.execute(select(versions)).all()
            self.next_numbers = {
                row.name: row.next_number for row in connection.execute(select(models)).all()
            }
            self.events: dict[str, list[tuple[int, str]]] = defaultdict(list)
            for row in connection.execute(select(job_events).order_by(job_events.c.seq)).all():
                self.events[row.job_id].append((row.seq, row.data["state"]))

    @property
    def take_overs(self) -> int:
        return sum(row.crashes for row in self.jobs.values())

    @property
    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.jobs.values())

    def violations(self) -> Iterator[str]:
        """Everything that is not as it must be."""
        yield from self._of_jobs()
        yield from self._of_events()
        yield from self._of_versions()

    def _of_jobs(self) -> Iterator[str]:
        for job_id in self._told.accepted:
            row = self.jobs.get(job_id)
            if row is None:
                yield f"accepted job {job_id} is lost"
            elif not JobState(row.state).is_terminal:
                yield f"job {job_id} is {row.state} for ever (attempt {row.attempt}, owner {row.owner})"
            elif row.state == "failed" and row.error["reason"] != "CRASHED_REPEATEDLY":
                yield f"job {job_id} failed: {row.error}"
            elif row.state == "failed" and row.crashes < 3:
                yield f"job {job_id} failed after {row.crashes} crashes"
        for job_id in self._told.cancelled:
            if job_id in self.jobs and self.jobs[job_id].state != "cancelled":
                yield f"job {job_id} was cancelled and is {self.jobs[job_id].state}"
        for job_id in self._told.deadly:
            if job_id in self.jobs and self.jobs[job_id].state == "succeeded":
                yield f"deadly job {job_id} succeeded"

    def _of_events(self) -> Iterator[str]:
        for job_id, row in self.jobs.items():
            events = self.events[job_id]
            if [number for number, _ in events] != list(range(1, row.seq + 1)):
                yield f"events of job {job_id} have gaps: {events}, last is {row.seq}"
            states = [JobState(state) for _, state in events]
            for one, other in itertools.pairwise(states):
                if other not in TRANSITIONS[one]:
                    yield f"job {job_id} went from {one} to {other}"
            if states and states[-1].value != row.state:
                yield f"job {job_id} is {row.state}, and its last event says {states[-1]}"
        for job_id, seen in self._told.watched.items():
            if [number for number, _ in seen] != list(range(1, len(seen) + 1)):
                yield f"a watch of job {job_id} saw {seen}"

    def _of_versions(self) -> Iterator[str]:
        by_job = Counter(row.job_id for row in self.versions)
        for job_id, row in self.jobs.items():
            if by_job[job_id] != (row.state == "succeeded"):
                yield f"job {job_id} is {row.state} and has {by_job[job_id]} versions"
        for job_id in by_job.keys() - self.jobs.keys():
            yield f"a version is of an unknown job {job_id}"
        numbers = defaultdict(list)
        digests = defaultdict(set)
        for row in self.versions:
            numbers[row.model].append(int(row.number))
            manifest = Manifest.from_json(row.manifest)
            digests[manifest.dataset_digest].add(manifest.head_digest)
            try:
                self._store.read(row.artifact, manifest)
            except ArtifactDamaged as error:
                yield f"version {row.number} of {row.model}: {error}"
        for model, found in numbers.items():
            if sorted(found) != list(range(1, self.next_numbers[model])):
                yield f"versions of {model} have numbers {sorted(found)}"
        for dataset, heads in digests.items():
            if len(heads) > 1:
                yield f"dataset {dataset[:8]} came to {len(heads)} different heads"
