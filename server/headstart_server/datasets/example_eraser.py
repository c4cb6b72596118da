"""Erases examples: contents and features, with a record that excludes them from training."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection, bindparam, exists, func, insert, or_, select, update

from headstart_server.auth.permissions import Scope
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import forgotten
from headstart_server.database.locks import Lock
from headstart_server.datasets.dataset_removal import DatasetRemoval
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_follower import AGAIN_SECONDS, ErasureFollower
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, ErasureRequest
from headstart_server.datasets.example_finder import ExampleFinder, FoundExample
from headstart_server.errors import ArtifactDamaged, ExampleNotFound, InvalidField
from headstart_server.jobs.archive_retention import held_archives, remove_released
from headstart_server.jobs.erased_members import erased_members
from headstart_server.models import feedback_rows
from headstart_server.models.registry import Registry
from headstart_server.models.rows import next_revision
from headstart_server.storage.attempts import Attempts, Errors, raise_first

log = structlog.get_logger(__name__)

#: Maximum searches for an example, of which each follows a record of what the one before found.
MAX_SEARCHES = 10
#: Maximum times that datasets are read before the locks; the last time, one that changes meanwhile is read
#: again under them.
MAX_REMOVALS = 4
# Built once: building a statement takes longer than executing it.
# The first condition uses the index: nearly all rows are completed.
_PENDING = select(forgotten.c.archive, forgotten.c.digest).where(
    forgotten.c.removed < 2,
    or_(forgotten.c.removed == 0, func.coalesce(forgotten.c.rewritten, 0.0) < bindparam("long_ago")),
)
_IS_NEW = select(exists().where(forgotten.c.archive == bindparam("of_archive"), forgotten.c.removed == 0))
_REWRITTEN = (
    update(forgotten)
    .where(forgotten.c.archive == bindparam("of_archive"))
    .values(removed=1, rewritten=bindparam("now"))
)
_REMOVED = update(forgotten).where(forgotten.c.archive == bindparam("of_archive")).values(removed=2)
_LAST_NUMBER, _INSERT = select(func.max(forgotten.c.number)), insert(forgotten)


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """The result of erasing an example."""

    # model and number of the versions that were trained on it, which are not changed
    versions: Sequence[tuple[str, int]]
    unread: Sequence[tuple[str, int]]  # versions that may have used it; their lists are damaged
    job_ids: Sequence[str]  # unfinished jobs that had it; they skip it unless they have read it
    contents: int  # number of contents that were deleted
    datasets: Sequence[str] = ()  # full names of the named datasets that it was removed from


class ExampleEraser:
    """Deletes the data of examples. A cleaning completes interrupted erasures.

    Args:
        drop: removes this machine's copies of some contents, given their digests, and the jobs in whose
            archives they were stored.
        captures: erases captured inputs by prediction ID; None without capture.
        dropping: lock of `follower`; None for a lock between threads.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        datasets: DatasetStore,
        drop: Callable[[Collection[str], Collection[str]], object],
        captures: CaptureEraser | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        dropping: AbstractContextManager[object] | None = None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._datasets = datasets
        self._finder = ExampleFinder(database, registry, datasets)
        self._drop = drop
        self._captures = captures
        self._rewrites = Attempts()
        self.follower = ErasureFollower(database, drop, clock=clock, dropping=dropping)

    def erase(self, example_id: str, model: str = "", scope: Scope | None = None) -> Erasure:
        """Delete the data of all examples with an ID. Safe to repeat.

        Args:
            model: erase examples of this model only; empty for all models.
            scope: erase examples of models within it only; None for all models.

        Raises:
            StorageUnavailable: the bucket does not answer; a later cleaning deletes the found examples.
        """
        request = ErasureRequest(example_id=example_id, model=model, scope=scope)
        found = self._search(request)
        captured = self._erase_captured(request)
        found = self._exclude_found(request, found)
        self.carry_out(found)
        contents = captured + self._removed(found)
        self.follower.drop_here()
        log.info("example_erased", versions=len(found.versions), contents=contents)
        return Erasure(
            versions=found.versions,
            unread=found.unread,
            job_ids=found.job_ids,
            contents=contents,
            datasets=found.datasets,
        )

    def _captured_in(self, request: ErasureRequest) -> list[str]:
        """Return the models that captured the input of a prediction."""
        if self._captures is None:
            return []
        return [
            name
            for name in self._captures.models_with(request.example_id)
            if request.model in ("", name) and (request.scope is None or request.scope.covers(name))
        ]

    def _erase_captured(self, request: ErasureRequest) -> int:
        """Erase the captured input of a prediction; return the number of erased inputs."""
        if self._captures is None:
            return 0
        return sum(self._captures.erase(name, request.example_id) for name in self._captured_in(request))

    def begin(self, request: ErasureRequest, log: ErasureLog) -> tuple[FoundExample, str]:
        """Exclude an example and store its erasure; return its locations and the erasure's ID."""
        found, captured = self._search(request), len(self._captured_in(request))
        erasure_id = ""

        def store(connection: Connection, found: FoundExample) -> None:
            nonlocal erasure_id
            if erasure_id:
                log.note_found(connection, erasure_id, found.places, found.archives)
                return
            contents = len(found.stored) + captured
            erasure_id = log.begin(
                connection,
                request,
                found.versions,
                contents=contents,
                places=found.places,
                archives=found.archives,
            )

        return self._exclude_found(request, found, store), erasure_id

    def exclude(
        self, record: ErasureRecord, erasures: ErasureLog, before: FoundExample | None = None
    ) -> Sequence[tuple[str, int]]:
        """Exclude an example that was sent again, and return the versions that were trained on it.

        Archives that list it are rewritten, so that only the lists of these versions still name it. The
        result of an earlier search, `before`, makes this one faster. Raise StorageUnavailable if the bucket
        does not answer.
        """
        request, before = record.request, before or FoundExample()
        before.places |= record.places
        before.archives.update(record.archives)
        self._erase_captured(request)

        def store(connection: Connection, found: FoundExample) -> None:
            erasures.note_found(connection, record.erasure_id, found.places, found.archives)

        found = self._exclude_found(request, self._finder.find(request, before), store)
        # For all archives: feedback that was deleted when the erasure began no longer names its archive.
        self._remove_released()
        _, errors = self._rewrite_pending()
        raise_first(self._own(found, errors))
        for archive in sorted(found.archives):
            members = [member for name, member in found.places if name == archive]
            try:
                self._datasets.rewrite(archive, members, found.places)
            except ArtifactDamaged as error:
                log.warning("archive_rewrite_failed", job_id=archive, error=error.message)
        self._drop(set(found.places.values()), found.archives)
        self.follower.drop_here()
        return found.versions

    def _exclude_found(
        self,
        request: ErasureRequest,
        found: FoundExample,
        also: Callable[[Connection, FoundExample], None] | None = None,
    ) -> FoundExample:
        """Record the erasure, and return what a search finds afterwards.

        What was accepted or published before the record, and is not found by a search before it, is found
        by one after it: a version, a job that copied feedback, or feedback about a captured input.
        """
        for _ in range(MAX_SEARCHES):
            self._note(found, also)
            before, found = found, self._finder.find(request, found)
            if not found.feedback_ids and found.places.keys() <= before.places.keys():
                break
        return found

    def _search(self, request: ErasureRequest) -> FoundExample:
        if not request.example_id:
            raise InvalidField("The ID of the example is missing.", field="example_id")
        found = self._finder.find(request)
        if found.is_empty and not self._captured_in(request):
            if request.model:
                self._registry.reader.model(request.model)
            where = f"of model '{request.model}' " if request.model else ""
            raise ExampleNotFound(
                f"No version {where}and no unfinished job has an example with the ID "
                f"{request.example_id[:80]!r}. Check the ID and the model.",
                metadata={"id": request.example_id},
            )
        return found

    def _own(self, found: FoundExample, errors: Errors) -> Errors:
        """Return the errors of the archives of an example, and of archives that nothing needs any more."""
        with self._database.read() as connection:
            others = held_archives(connection, errors.keys())
        others -= found.archives.union(archive for archive, _ in found.places)
        return {archive: error for archive, error in errors.items() if archive not in others}

    def carry_out(self, found: FoundExample | None = None) -> int:
        """Remove erased contents from archives, or check that they were not restored.

        Args:
            found: the example; None for all. Its archives include those with an equal content that nothing
                needs: an interrupted call has deleted the feedback that names its archive.

        Returns:
            The number of removed contents.

        Raises:
            StorageUnavailable: the bucket does not answer. An archive that cannot be rewritten delays no
                other; the first error is raised at the end.
        """
        unremoved = self._remove_released()
        count, errors = self._rewrite_pending(found)
        raise_first(errors if found else {**errors, **unremoved})
        return count

    def _remove_released(self) -> Errors:
        """Remove the archives that nothing needs; one that cannot be removed is rewritten as the others.

        A job that failed may have left its archive, which no search for the example finds.
        """
        return Attempts().run({"released": self._datasets}, partial(remove_released, self._database))

    def _rewrite_pending(self, found: FoundExample | None = None) -> tuple[int, Errors]:
        """Rewrite archives as `carry_out`; return the number of removed contents, and errors by archive."""
        count = 0

        def rewrite(archive: str) -> None:
            nonlocal count
            try:
                count += self._rewrite(archive)
            except ArtifactDamaged as error:
                log.warning("archive_rewrite_failed", job_id=archive, error=error.message)

        with self._database.read() as connection:
            long_ago = self._database.now(connection) - AGAIN_SECONDS
            rows = connection.execute(_PENDING, {"long_ago": long_ago}).all()
            pending = {row.archive for row in rows}
            if found is not None:
                equal = {row.archive for row in rows if row.digest in found.places.values()}
                unneeded = equal - held_archives(connection, equal)
                pending &= unneeded.union(archive for archive, _ in found.places)
        errors = self._rewrites.run({archive: archive for archive in sorted(pending)}, rewrite)
        return count, errors

    def _removed(self, found: FoundExample) -> int:
        """Return the number of stored contents that are removed, by any replica."""
        with self._database.read() as connection:
            state = erased_members(connection, {archive for archive, _ in found.stored})
        return sum(state[place] > 0 for place in found.stored)

    def _note(
        self, found: FoundExample, also: Callable[[Connection, FoundExample], None] | None = None
    ) -> None:
        """Record the erased members, delete the feedback, and remove examples from named datasets."""
        if not found.places and not found.feedback_ids and also is None:
            return
        removal = DatasetRemoval(found.places)
        for others in reversed(range(MAX_REMOVALS)):
            removal.compute(self._database)
            with self._database.write("examples.erase") as connection:
                # Numbers follow the order of commits, so a reader that sees a number has seen all before it.
                self._database.lock(connection, Lock.QUEUE)
                if removal.lock(connection) or not others:
                    self._record(connection, found, removal)
                    if also is not None:
                        also(connection, found)
                    return

    def _record(self, connection: Connection, found: FoundExample, removal: DatasetRemoval) -> None:
        # A transaction that publishes a version either committed before this one, or sees these rows.
        next_revision(connection)
        archives = {archive for archive, _ in found.places}
        known = erased_members(connection, archives)
        number = connection.execute(_LAST_NUMBER).scalar() or 0
        now = self._database.now(connection)
        rows = [
            {
                "archive": archive,
                "member": member,
                "digest": digest,
                "number": number + place,
                "time": now,
                "removed": 0,
            }
            for place, ((archive, member), digest) in enumerate(sorted(found.places.items()), start=1)
            if (archive, member) not in known
        ]
        if rows:
            connection.execute(_INSERT, rows)
        held = held_archives(connection, archives).union(found.feedback_ids)
        found.stored.update(place for place in found.places if place[0] in held and not known.get(place))
        found.datasets = sorted({*found.datasets, *removal.remove(connection)})
        feedback_rows.erase(connection, found.feedback_ids)

    def _rewrite(self, archive: str) -> int:
        count = 0
        while True:
            with self._database.read() as connection:
                places = erased_members(connection, {archive}).keys()
            members = {member for _, member in places}
            found = self._datasets.rewrite(archive, members)
            count += found
            # Another replica may have rewritten the archive meanwhile, without the members that it knew of.
            with self._database.write("examples.record_rewrite") as connection:
                self._database.lock(connection, Lock.QUEUE)
                if erased_members(connection, {archive}).keys() == places:
                    _note_rewritten(connection, archive, found=found, now=self._database.now(connection))
                    return count


def _note_rewritten(connection: Connection, archive: str, *, found: int, now: float) -> None:
    """Record that an archive contains no erased members; as final, if a late check confirmed it."""
    here = {"of_archive": archive}
    if found or connection.execute(_IS_NEW, here).scalar():
        connection.execute(_REWRITTEN, {**here, "now": now})
    else:
        connection.execute(_REMOVED, here)
