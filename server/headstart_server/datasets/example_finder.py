"""Finds examples by ID in feedback, unfinished jobs, versions and named datasets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.feedback_tables import feedback
from headstart_server.database.scoped import within
from headstart_server.database.tables import jobs
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.dataset_store import ArchiveMember, DatasetStore
from headstart_server.datasets.erasure_log import ErasureRequest
from headstart_server.errors import ArtifactDamaged, VersionNotFound
from headstart_server.jobs.rows import under_way
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.models import feedback_rows
from headstart_server.models.registry import Registry

# Built once: building a statement takes longer than executing it.
_UNDER_WAY = select(jobs.c.job_id).where(under_way()).order_by(jobs.c.created)


@dataclass(kw_only=True, slots=True)
class FoundExample:
    """The locations of an example."""

    #: Its digest by archive member.
    places: dict[ArchiveMember, str] = field(default_factory=dict)
    #: Archives of the datasets that contain the example; the lists in them may name it.
    archives: set[str] = field(default_factory=set)
    versions: list[tuple[str, int]] = field(default_factory=list)
    unread: list[tuple[str, int]] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    feedback_ids: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    #: Members whose contents were still stored when the erasure was recorded.
    stored: set[ArchiveMember] = field(default_factory=set)
    #: Versions whose lists were read; they never change.
    read: set[tuple[str, int]] = field(default_factory=set)
    #: Unfinished jobs whose lists do not contain the example; they never get other lists.
    read_jobs: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether the example was not found."""
        return not self.places and not self.unread and not self.feedback_ids

    def add(self, examples: Iterable[StoredExample], example_id: str) -> bool:
        """Add the members of the example in a list; return whether the list contains the example."""
        examples = list(examples)
        here = {(one.archive, one.member): one.digest for one in examples if one.id == example_id}
        self.places |= here
        if here:
            self.archives.update(one.archive for one in examples)
        return bool(here)


class ExampleFinder:
    """Finds examples by their IDs."""

    def __init__(self, database: Database, registry: Registry, datasets: DatasetStore) -> None:
        self._database = database
        self._registry = registry
        self._datasets = datasets

    def find(self, request: ErasureRequest, before: FoundExample | None = None) -> FoundExample:
        """Search feedback, unfinished jobs, versions and named datasets.

        The lists that `before`, an earlier search, has read are not read again.
        """
        example_id, model, scope = request.example_id, request.model, request.scope
        # Feedback is searched before jobs, because a job may take it meanwhile.
        found = self.find_feedback(request)
        known = set[tuple[str, int]]()
        if before is not None:
            known.update(before.versions)
            # The feedback that had them may have been deleted since.
            found.places |= before.places
            found.archives |= before.archives
            found.datasets, found.stored = before.datasets, before.stored
            found.read, found.read_jobs = before.read, before.read_jobs
        # Jobs are searched before versions: a job that ends in between has its version then.
        self._search_jobs(request, found)
        self._search_versions(request, found, known)
        if not model:
            with self._database.snapshot() as connection:
                found.add(dataset_rows.examples_with_id(connection, example_id, scope), example_id)
        return found

    def _search_jobs(self, request: ErasureRequest, found: FoundExample) -> None:
        for job_id in self._under_way(request.model, request.scope):
            if job_id in found.read_jobs:
                continue
            try:
                if found.add(self._datasets.listed(job_id).examples, request.example_id):
                    found.job_ids.append(job_id)
                    found.archives.add(job_id)
                else:
                    found.read_jobs.add(job_id)
            except ArtifactDamaged:
                # The job ended meanwhile, or will fail because of the damage.
                continue

    def _search_versions(
        self, request: ErasureRequest, found: FoundExample, known: set[tuple[str, int]]
    ) -> None:
        """Search the versions; the lists of known ones are known to have the example."""
        for version in self._registry.reader.all_versions(request.model, request.scope):
            name = (version.model, version.number)
            if name in found.read:
                if name in known:
                    found.versions.append(name)
                continue
            try:
                listed = self._registry.files.examples_alone(version, having=request.example_id)
            except VersionNotFound:
                continue
            except ArtifactDamaged:
                found.unread.append(name)
                continue
            found.read.add(name)
            if listed is not None and found.add(listed.examples, request.example_id):
                found.versions.append(name)
                found.archives.add(version.manifest.job_id)

    def find_feedback(self, request: ErasureRequest) -> FoundExample:
        """Search feedback alone."""
        found = FoundExample()
        among = [feedback.c.model == request.model] if request.model else []
        if request.scope is not None:
            among.append(within(feedback.c.model, request.scope))
        with self._database.read() as connection:
            for row in feedback_rows.of_example(connection, request.example_id, *among):
                found.feedback_ids.append(row.feedback_id)
                if row.nbytes:
                    found.places[row.feedback_id, 0] = row.digest
        return found

    def _under_way(self, model: str, scope: Scope | None) -> Sequence[str]:
        query = _UNDER_WAY
        if model:
            query = query.where(jobs.c.model == model)
        if scope is not None:
            query = query.where(within(jobs.c.model, scope))
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())
