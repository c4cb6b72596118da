"""Invariants of the rows and files that chaos leaves behind."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from sqlalchemy import select

from chaos import data_calls
from chaos.clients import FEEDBACK_MODEL
from headstart_server.database.database import Database
from headstart_server.database.tables import job_events, jobs, models, versions
from headstart_server.errors import ArtifactDamaged
from headstart_server.jobs.job import TRANSITIONS, JobState
from headstart_server.models.store import VersionStore
from headstart_server.models.version import Manifest
from histories import checkers, examples, feedback, stored_data
from histories.checkers import FinalJob
from histories.history import History, Outcome


class Leftovers:
    """Everything in the database after the last write.

    Args:
        database: of the servers.
        artifacts: folder of their files.
        history: the calls of all clients.
        deadly: the jobs that kill their server.
    """

    def __init__(
        self, database: Database, artifacts: Path, history: History, deadly: Collection[str] = ()
    ) -> None:
        self._history = history
        self._deadly = deadly
        self._store = VersionStore(artifacts / "versions")
        with database.snapshot() as connection:
            self.jobs = {row.job_id: row for row in connection.execute(select(jobs)).all()}
            self.versions = connection.execute(select(versions)).all()
            self.next_numbers = {
                row.name: row.next_number for row in connection.execute(select(models)).all()
            }
            self._events: dict[str, list[tuple[int, str]]] = defaultdict(list)
            for row in connection.execute(select(job_events).order_by(job_events.c.seq)).all():
                self._events[row.job_id].append((row.seq, row.data["state"]))
            replaced = [
                ((model, old), new)
                for model in (data_calls.MODEL, FEEDBACK_MODEL)
                for old, new in stored_data.replacements(connection, model)
            ]
        self._feedback, self._retrains = feedback.read(database, self._store)
        self._feedback_versions = feedback.versions_of_examples(database, self._store, FEEDBACK_MODEL)
        self._successors = {(model, new) for (model, _), new in replaced}
        self._data = stored_data.read(database, artifacts, data_calls.MODEL)
        #: Versions whose rows are gone, and why: clients deleted them, or an erasure replaced them.
        self._deleted = {
            (op.key, op.sent["version"])
            for op in history.of("DeleteVersion")
            if op.outcome is not Outcome.FAILED
        }
        self._deleted |= {old for old, _ in replaced}

    @property
    def take_overs(self) -> int:
        return sum(row.crashes for row in self.jobs.values())

    @property
    def states(self) -> Counter[str]:
        return Counter(row.state for row in self.jobs.values())

    def final(self) -> dict[str, FinalJob]:
        """Return the jobs, with the versions that they published, deleted ones included."""
        published = defaultdict(set)
        for row in self.versions:
            published[row.job_id].add(int(row.number))
        for job_id, row in self.jobs.items():
            if row.result and (row.model, row.result["version"]) in self._deleted:
                published[job_id].add(row.result["version"])
        return {
            job_id: FinalJob(state=row.state, versions=sorted(published[job_id]), events=self._events[job_id])
            for job_id, row in self.jobs.items()
        }

    def violations(self) -> Iterator[str]:
        """Yield every broken promise and every inconsistency."""
        yield from checkers.violations(self._history, self.final())
        yield from self._of_jobs()
        yield from self._of_events()
        yield from self._of_versions()
        yield from feedback.violations(self._history, self._feedback, self._retrains)
        yield from feedback.erased_violations(self._history, self._feedback_versions)
        yield from examples.violations(self._history, self._data)

    def _of_jobs(self) -> Iterator[str]:
        for job_id, row in self.jobs.items():
            if row.state == "failed" and row.error["reason"] != "CRASHED_REPEATEDLY":
                yield f"job {job_id} failed: {row.error}"
            elif row.state == "failed" and row.crashes < 3:
                yield f"job {job_id} failed after {row.crashes} crashes"
        for job_id in self._deadly:
            if job_id in self.jobs and self.jobs[job_id].state == "succeeded":
                yield f"deadly job {job_id} succeeded"

    def _of_events(self) -> Iterator[str]:
        for job_id, row in self.jobs.items():
            if len(self._events[job_id]) != row.seq:
                yield f"job {job_id} has {len(self._events[job_id])} events; the last one should be {row.seq}"
            states = [JobState(state) for _, state in self._events[job_id]]
            for one, other in itertools.pairwise(states):
                if other not in TRANSITIONS[one]:
                    yield f"job {job_id} went from {one} to {other}"

    def _of_versions(self) -> Iterator[str]:
        numbers: dict[str, set[int]] = defaultdict(set)
        digests: dict[str, set[str]] = defaultdict(set)
        for row in self.versions:
            is_successor = (row.model, int(row.number)) in self._successors
            if row.job_id not in self.jobs and not is_successor:
                yield f"version {row.number} of {row.model} belongs to an unknown job {row.job_id}"
            numbers[row.model].add(int(row.number))
            manifest = Manifest.from_json(row.manifest)
            # Weights and requested seeds are not part of the digest of a dataset.
            if row.model != data_calls.MODEL:
                digests[manifest.dataset_digest].add(manifest.head_digest)
            try:
                self._store.read(row.artifact, manifest)
            except ArtifactDamaged as error:
                yield f"version {row.number} of {row.model}: {error}"
        for model, found in numbers.items():
            lost = set(range(1, self.next_numbers[model])) - found
            lost -= {number for name, number in self._deleted if name == model}
            if lost:
                yield f"versions {sorted(lost)} of {model} are missing"
        for dataset, heads in digests.items():
            if len(heads) > 1:
                yield f"dataset {dataset[:8]} produced {len(heads)} different heads"
