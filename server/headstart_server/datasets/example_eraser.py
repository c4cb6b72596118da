"""Erases examples: contents and features, with a record that excludes them from training."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, exists, func, insert, literal_column, or_, select, update

from headstart_server.auth.permissions import Scope
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import archive_uses, forgotten
from headstart_server.database.locks import Lock
from headstart_server.datasets import dataset_rows
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRequest
from headstart_server.datasets.example_finder import ExampleFinder, FoundExample
from headstart_server.errors import ArtifactDamaged, ExampleNotFound, InvalidField
from headstart_server.jobs.archive_retention import CHUNK
from headstart_server.jobs.erased_members import erased_members
from headstart_server.models import feedback_rows
from headstart_server.models.registry import Registry
from headstart_server.models.rows import next_revision
from headstart_server.models.usage import is_held

log = structlog.get_logger(__name__)

#: Seconds for which what was deleted is looked for again: a job that had read it may have put it back. After
#: so many seconds the archive is looked at once more: another replica that began to write it before, and was
#: killed when it had, put back what it did not know of.
AGAIN_SECONDS = 3600.0
_DIGESTS_AT_ONCE = 1000
# Built once: building a statement takes longer than executing it.
# The first condition is the index's: nearly all rows are done with.
_PENDING = select(forgotten.c.archive).where(
    forgotten.c.removed < 2,
    or_(forgotten.c.removed == 0, func.coalesce(forgotten.c.rewritten, 0.0) < bindparam("long_ago")),
)
_NEXT = (
    select(forgotten).where(forgotten.c.number > bindparam("seen")).order_by(forgotten.c.number).limit(CHUNK)
)
_IS_NEW = select(exists().where(forgotten.c.archive == bindparam("of_archive"), forgotten.c.removed == 0))
_REWRITTEN = (
    update(forgotten)
    .where(forgotten.c.archive == bindparam("of_archive"))
    .values(removed=1, rewritten=bindparam("now"))
)
_REMOVED = update(forgotten).where(forgotten.c.archive == bindparam("of_archive")).values(removed=2)
_HELD = select(archive_uses.c.archive).where(
    archive_uses.c.archive.in_(bindparam("archives", expanding=True)), is_held()
)
_LAST_NUMBER, _INSERT = select(func.max(forgotten.c.number)), insert(forgotten)


@dataclass(frozen=True, kw_only=True, slots=True)
class Erasure:
    """What became of an example."""

    # model and number of the versions that were trained on it. They are not changed
    versions: Sequence[tuple[str, int]]
    unread: Sequence[tuple[str, int]]  # the versions of which it is not known, because their list is damaged
    job_ids: Sequence[str]  # the jobs under way that had it. One that has not read it yet leaves it out
    contents: int  # number of contents that were deleted
    datasets: Sequence[str] = ()  # the full names of the named datasets that had it; they have it no longer


class ExampleEraser:
    """Deletes the data of examples. What it began, and could not end, a cleaning ends.

    Args:
        drop: removes what this machine has of some contents: called with their digests, and the jobs in whose
            archives they were.
        captures: erases captured inputs, by the IDs of their predictions; None without capture.
        dropping: lock of `drop_here`; None for a lock between threads.
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
        self._clock = clock
        self._seen = 0
        self._dropping = dropping or threading.RLock()
        #: When each erased content was dropped here, its digest and its archive.
        self._recent: list[tuple[float, str, str]] = []

    def erase(self, example_id: str, model: str = "", scope: Scope | None = None) -> Erasure:
        """Delete the data of an example, wherever it was sent with this id. Safe to repeat.

        Args:
            model: only the examples of this model; empty for all models.
            scope: only those of models within it; None for all.

        Raises:
            StorageUnavailable: the bucket does not answer; what was found is deleted by a later cleaning.
        """
        request = ErasureRequest(example_id=example_id, model=model, scope=scope)
        found = self._search(request)
        captured = self._erase_captured(request)
        found = self._exclude_found(request, self._with_late_feedback(request, found))
        self._carry_out({archive for archive, _ in found.places})
        contents = captured + self._removed(found)
        self.drop_here()
        log.info("example_erased", versions=len(found.versions), contents=contents)
        return _erasure(found, contents)

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
        """Exclude an example and store its erasure; return where it was, and the erasure's ID."""
        found, captured = self._search(request), len(self._captured_in(request))
        erasure_id = ""

        def store(connection: Connection) -> None:
            nonlocal erasure_id
            contents = len(found.stored) + captured
            erasure_id = log.begin(connection, request, found.versions, contents=contents)

        return self._exclude_found(request, found, store), erasure_id

    def exclude(
        self, request: ErasureRequest, before: FoundExample | None = None
    ) -> Sequence[tuple[str, int]]:
        """Exclude an example again where it came since, and return the versions that were trained on it.

        Archives that list it are rewritten, so that only the lists of these versions still name it. What an
        earlier search found shortens this one. Raise StorageUnavailable if the bucket does not answer.
        """
        self._erase_captured(request)
        found = self._finder.find(request, before)
        found = self._exclude_found(request, found)
        # All: feedback that was deleted when the erasure began no longer names its archive.
        self._carry_out(None)
        for archive in sorted(found.archives):
            members = [member for name, member in found.places if name == archive]
            try:
                self._datasets.rewrite(archive, members, found.places)
            except ArtifactDamaged as error:
                log.warning("archive_rewrite_failed", job_id=archive, error=error.message)
        self._drop(set(found.places.values()), found.archives)
        self.drop_here()
        return found.versions

    def _with_late_feedback(self, request: ErasureRequest, found: FoundExample) -> FoundExample:
        """Search again if feedback came between the search and the erasure of the captured input."""
        late = self._finder.find_feedback(request)
        return self._find_again(request, found) if set(late.feedback_ids) - set(found.feedback_ids) else found

    def _exclude_found(
        self,
        request: ErasureRequest,
        found: FoundExample,
        also: Callable[[Connection], None] | None = None,
    ) -> FoundExample:
        """Record what is erased, and return what was found; a retrain may have copied the feedback since."""
        taken = self._note(found, also)
        while taken - found.archives:
            found = self._find_again(request, found)
            taken = self._note(found)
        return found

    def _find_again(self, request: ErasureRequest, before: FoundExample) -> FoundExample:
        found = self._finder.find(request, before)
        found.datasets = before.datasets
        found.stored = before.stored
        return found

    def forget_digests(self) -> None:
        """Remove the digests of erased contents from the database, as far as no replica needs them.

        Other replicas need them to drop their features. A file of SQLite has no other replicas.
        """
        while self._forget_some_digests() == _DIGESTS_AT_ONCE:
            pass
        self._database.empty_log()

    def _forget_some_digests(self) -> int:
        with self._database.write("examples.forget_digests") as connection:
            # The condition of the index, so without a parameter.
            done = [forgotten.c.number <= self._seen, forgotten.c.digest != literal_column("''")]
            if self._database.is_shared:
                done.append(forgotten.c.time < self._database.now(connection) - AGAIN_SECONDS)
            some = select(forgotten.c.number).where(*done).order_by(forgotten.c.number)
            numbers = list(connection.execute(some.limit(_DIGESTS_AT_ONCE)).scalars())
            if numbers:
                within_some = forgotten.c.number.between(numbers[0], numbers[-1])
                connection.execute(update(forgotten).where(*done, within_some).values(digest=""))
        return len(numbers)

    def _search(self, request: ErasureRequest) -> FoundExample:
        if not request.example_id:
            raise InvalidField("The ID of the example is missing.", field="example_id")
        found = self._finder.find(request)
        if found.is_empty and not self._captured_in(request):
            if request.model:
                self._registry.reader.model(request.model)
            where = f"of model '{request.model}' " if request.model else ""
            raise ExampleNotFound(
                f"No version {where}and no job under way has an example with the ID "
                f"{request.example_id[:80]!r}. Check the ID and the model.",
                metadata={"id": request.example_id},
            )
        return found

    def carry_out(self) -> int:
        """Take what was deleted out of the archives, or look whether it is out of them still.

        Returns:
            The number of contents that were taken out.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        return self._carry_out(None)

    def _carry_out(self, among: Collection[str] | None) -> int:
        """Carry out what is pending in some archives, None for all: a call waits for its own only."""
        count = 0
        with self._database.read() as connection:
            long_ago = self._database.now(connection) - AGAIN_SECONDS
            pending = set(connection.execute(_PENDING, {"long_ago": long_ago}).scalars())
        for archive in sorted(pending if among is None else pending.intersection(among)):
            try:
                count += self._rewrite(archive)
            except ArtifactDamaged as error:
                log.warning("archive_rewrite_failed", job_id=archive, error=error.message)
        return count

    def _removed(self, found: FoundExample) -> int:
        """Return how many of the stored contents are removed, by whichever replica."""
        with self._database.read() as connection:
            state = erased_members(connection, {archive for archive, _ in found.stored})
        return sum(state[place] > 0 for place in found.stored)

    def drop_here(self) -> None:
        """Remove what this machine keeps of what was deleted anywhere: features, and copies of archives."""
        with self._dropping:
            since = self._clock() - AGAIN_SECONDS
            self._recent = [each for each in self._recent if each[0] > since]
            if self._recent:
                self._drop({digest for _, digest, _ in self._recent}, {name for _, _, name in self._recent})
            while found := self._next_erased():
                self._drop({row.digest for row in found if row.digest}, {row.archive for row in found})
                # A job that had read it may put its features back.
                self._recent += [(self._clock(), row.digest, row.archive) for row in found if row.digest]
                self._seen = int(found[-1].number)

    def _next_erased(self) -> Sequence[Row[Any]]:
        """Return the erased examples, in parts, that this process has not seen yet."""
        with self._database.read() as connection:
            return connection.execute(_NEXT, {"seen": self._seen}).all()

    def _note(self, found: FoundExample, also: Callable[[Connection], None] | None = None) -> set[str]:
        """Record what is erased, delete the feedback, and remove examples from named datasets.

        Returns the jobs that train on the feedback or have learned it.
        """
        if not found.places and not found.feedback_ids and also is None:
            return set()
        with self._database.write("examples.erase") as connection:
            # Numbers in the order of commits, so that no reader can see one and miss an earlier one.
            self._database.lock(connection, Lock.QUEUE)
            # A transaction that publishes a version either committed before this, or sees these rows.
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
            held = _held(connection, archives).union(found.feedback_ids)
            found.stored.update(place for place in found.places if place[0] in held and not known.get(place))
            if also is not None:
                also(connection)
            changed = dataset_rows.erase(connection, found.places.keys())
            found.datasets = sorted({*found.datasets, *changed})
            return feedback_rows.erase(connection, found.feedback_ids)

    def _rewrite(self, archive: str) -> int:
        count = 0
        while True:
            with self._database.read() as connection:
                places = erased_members(connection, {archive}).keys()
            members = {member for _, member in places}
            found = self._datasets.rewrite(archive, members)
            count += found
            # Another replica may have written it meanwhile, without what it knew of only.
            with self._database.write("examples.record_rewrite") as connection:
                self._database.lock(connection, Lock.QUEUE)
                if erased_members(connection, {archive}).keys() == places:
                    _note_rewritten(connection, archive, found=found, now=self._database.now(connection))
                    return count


def _erasure(found: FoundExample, contents: int) -> Erasure:
    return Erasure(
        versions=found.versions,
        unread=found.unread,
        job_ids=found.job_ids,
        contents=contents,
        datasets=found.datasets,
    )


def _note_rewritten(connection: Connection, archive: str, *, found: int, now: float) -> None:
    """Note that an archive is without what was deleted; for good, if it had been so for long already."""
    here = {"of_archive": archive}
    if found or connection.execute(_IS_NEW, here).scalar():
        connection.execute(_REWRITTEN, {**here, "now": now})
    else:
        connection.execute(_REMOVED, here)


def _held(connection: Connection, archives: Collection[str]) -> set[str]:
    return set(connection.execute(_HELD, {"archives": sorted(archives)}).scalars())
