"""Tracks which jobs and versions need archives of examples, and removes all other archives.

A job's dataset is stored in its own archive and in the archives of its parent versions. The transactions that
accept a job, end it or delete a version record which archives are needed. A crash therefore leaves at most
unused files, which the next start removes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
)

from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import archive_sizes, archive_uses
from headstart_server.database.locks import Lock, batched
from headstart_server.database.tables import aliases, jobs, versions
from headstart_server.errors import ExamplesNotKept
from headstart_server.jobs import dataset_usage, stored
from headstart_server.jobs.rows import under_way
from headstart_server.models import feedback_rows, usage
from headstart_server.models.alias_rows import has_traffic
from headstart_server.storage.attempts import Attempts, Errors, raise_first

#: Maximum rows that one transaction of a sweep reads, because submissions wait for it.
CHUNK = 500
_ARCHIVES: BindParameter[str] = bindparam("archives", expanding=True)
_HOLDERS: BindParameter[str] = bindparam("holders", expanding=True)
# Built once: building a statement takes longer than executing it.
_HOLD = insert(archive_uses)
_HELD = select(archive_uses.c.archive).where(archive_uses.c.archive.in_(_ARCHIVES), usage.is_held())
_NAMED = select(archive_uses.c.archive).where(archive_uses.c.archive.in_(_ARCHIVES)).distinct()
_HOLDERS_AFTER = (
    select(archive_uses.c.holder)
    .where(usage.is_held(), archive_uses.c.holder > bindparam("after"))
    .distinct()
    .order_by(archive_uses.c.holder)
    .limit(CHUNK)
)
_UNFINISHED = select(jobs.c.job_id).where(jobs.c.job_id.in_(_HOLDERS), under_way())
_PUBLISHED = select(versions.c.job_id).where(versions.c.job_id.in_(_HOLDERS))
_RELEASED = select(archive_uses.c.holder).where(usage.is_released()).limit(CHUNK)
_FORGET_USES = (
    delete(archive_uses)
    .where(archive_uses.c.holder.in_(_HOLDERS), usage.is_released())
    .returning(archive_uses.c.archive)
)
_FORGET_SIZES = delete(archive_sizes).where(archive_sizes.c.archive.in_(_ARCHIVES))
_UNFINISHED_BYTES = (
    select(func.sum(archive_sizes.c.nbytes))
    .select_from(jobs)
    .join(archive_sizes, archive_sizes.c.archive == jobs.c.job_id)
    .where(under_way())
)


class ArchiveFileStore(Protocol):
    """Stores archive files by the job whose examples they hold."""

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of each complete archive."""

    def remove(self, job_id: str) -> None:
        """Remove an archive if it exists."""

    def remove_all_but(
        self, needed: Callable[[Collection[str]], Collection[str]], *, older_than: float = 0.0
    ) -> int:
        """Remove old files that are not needed archives.

        Args:
            needed: returns the jobs, among the given ones, whose archives are needed.
            older_than: minimum age of a file in seconds.

        Returns:
            The number of files removed.
        """


def held_archives(connection: Connection, archives: Collection[str]) -> set[str]:
    """Return the archives, of some, that a job or a version holds."""
    return _among(connection, _HELD, archives)


def hold(connection: Connection, holder: str, archives: Collection[str]) -> None:
    """Record the archives of a job when it is accepted; raise ExamplesNotKept if one may be gone."""
    others = sorted(set(archives) - {holder})
    usage.lock(connection, others)
    if set(others) - held_archives(connection, others):
        raise ExamplesNotKept(
            "The parent version or the dataset of the fine-tune was deleted, or its examples were, while the "
            "call was handled. Send all examples again without it."
        )
    connection.execute(_HOLD, [{"holder": holder, "archive": archive} for archive in {*others, holder}])


def remove_released(database: Database, files: ArchiveFileStore) -> int:
    """Remove the archives that nothing needs; return their number.

    Raise the first error at the end; `recover` then removes the rest.
    """
    count, errors = 0, Errors()
    removals = Attempts()
    while not errors and (released := _forget_some(database)) is not None:
        # Removed after the commit, when jobs can no longer find the archive.
        errors = removals.run({archive: archive for archive in sorted(released)}, files.remove)
        count += len(released)
    raise_first(errors)
    return count


def _forget_some(database: Database) -> set[str] | None:
    """Delete some released rows; return the archives without a remaining row, or None at the end."""
    with database.write("archives.sweep") as connection:
        # Submissions take the same lock, so that no accepted job needs an archive that is being removed.
        database.lock(connection, Lock.QUEUE)
        holders = list(connection.execute(_RELEASED).scalars())
        if not holders:
            return None
        dropped = set(connection.execute(_FORGET_USES, {"holders": holders}).scalars())
        dropped -= _among(connection, _NAMED, dropped)
        for part in batched(sorted(dropped), CHUNK):
            connection.execute(_FORGET_SIZES, {"archives": part})
        return dropped


class ArchiveRetention:
    """Removes archives that are no longer needed.

    Args:
        max_bytes: maximum bytes of archives stored for versions; 0 stores none. Above it the oldest versions
            lose their examples first, and versions that an alias names after all others.
    """

    def __init__(self, database: Database, files: ArchiveFileStore, *, max_bytes: int) -> None:
        self._database = database
        self._files = files
        self._max_bytes = max_bytes

    def sweep(self) -> int:
        """Remove archives that are not needed or exceed the limit; return their number.

        Archives of unfinished uploads stay. Raise StorageUnavailable if the bucket does not answer; `recover`
        then removes the rest.
        """
        self._release_beyond_bound()
        return remove_released(self._database, self._files)

    def recover(self, *, older_than: float = 0.0) -> int:
        """Remove all files that are not needed, including leftovers of interrupted uploads.

        Args:
            older_than: keep files written within this many seconds, because they may be current uploads.

        Returns:
            The number of archives and files removed.
        """
        self._measure()
        self._release_orphans()
        return self.sweep() + self._files.remove_all_but(self._needed, older_than=older_than)

    def _measure(self) -> None:
        """Record the current sizes of archives."""
        # Read outside of transactions, because a bucket may be slow or unavailable.
        sizes = self._files.sizes()
        with self._database.read() as connection:
            found = stored.unmeasured(connection, sizes)
        for part in batched(sorted(found.items()), CHUNK):
            with self._database.write("archives.measure") as connection:
                self._database.lock(connection, Lock.QUEUE)
                for archive, nbytes in part:
                    stored.measure(connection, archive, nbytes)

    def _release_orphans(self) -> None:
        """Release the archives of jobs that ended without a version, and of unknown holders."""
        after = ""
        while True:
            with self._database.write("archives.release") as connection:
                page = list(connection.execute(_HOLDERS_AFTER, {"after": after}).scalars())
                if not page:
                    return
                # Jobs are read before versions: a job that ends in between has its version then.
                living = set(connection.execute(_UNFINISHED, {"holders": page}).scalars())
                living.update(connection.execute(_PUBLISHED, {"holders": page}).scalars())
                living.update(feedback_rows.holders_among(connection, page))
                living |= dataset_usage.existing(connection, page)
                usage.release(connection, sorted(set(page) - living))
                after = page[-1]

    def _release_beyond_bound(self) -> None:
        """Release the examples of versions until the rest is within the limit."""
        if not self._max_bytes:
            while self._release_some(None, aliased=None) is not None:
                pass
            return
        for aliased in (False, True):
            after: _Cursor | None = (0.0, "")
            while after is not None:
                # Read outside of the lock: a release does not change the sum over other holders.
                with self._database.read() as connection:
                    others = _other_bytes(connection)
                    if stored.example_bytes(connection) - others <= self._max_bytes:
                        return
                after = self._release_some(after, aliased=aliased, others=others)

    def _release_some(
        self, after: "_Cursor | None", *, aliased: bool | None, others: int = 0
    ) -> "_Cursor | None":
        """Release the examples of the next versions while the limit is exceeded.

        Args:
            after: key of the last version that was considered; None to release all.
            aliased: whether to release only versions that an alias names, or only other versions.
            others: bytes of archives that no version needs.

        Returns:
            The key of the last version; None at the end.
        """
        with self._database.write("archives.release") as connection:
            self._database.lock(connection, Lock.QUEUE)
            if after is None:
                page = _oldest_kept(connection)
                usage.release(connection, [job_id for _, job_id in page])
                return page[-1] if page else None
            page = _kept(connection, after)
            named = _aliased(connection, page)
            for job_id in [job_id for _, job_id in page if (job_id in named) == bool(aliased)]:
                if stored.example_bytes(connection) - others <= self._max_bytes:
                    break
                usage.release(connection, [job_id])
        return page[-1] if page else None

    def _needed(self, archives: Collection[str]) -> set[str]:
        with self._database.read() as connection:
            return _among(connection, _NAMED, archives)


#: Key of a version in the order of release: when it was published, and the job that created it.
_Cursor = tuple[float, str]


def _other_bytes(connection: Connection) -> int:
    """Return the bytes of archives of unfinished jobs, feedback and datasets, which never count as kept."""
    unfinished = int(connection.execute(_UNFINISHED_BYTES).scalar() or 0)
    return unfinished + feedback_rows.stored_bytes(connection) + dataset_usage.dataset_bytes(connection)


def _kept(connection: Connection, after: _Cursor) -> Sequence[_Cursor]:
    """Return the next versions that have examples, the oldest first."""
    query = (
        select(versions.c.created, versions.c.job_id)
        .where(
            tuple_(versions.c.created, versions.c.job_id) > after,
            exists().where(archive_uses.c.holder == versions.c.job_id, usage.is_held()),
        )
        .order_by(versions.c.created, versions.c.job_id)
    )
    return [(row.created, row.job_id) for row in connection.execute(query.limit(CHUNK))]


def _aliased(connection: Connection, page: Sequence[_Cursor]) -> set[str]:
    """Return the jobs of the versions that an alias names or sends traffic to."""
    named = exists().where(aliases.c.model == versions.c.model, aliases.c.number == versions.c.number)
    query = select(versions.c.job_id).where(
        versions.c.job_id.in_([job_id for _, job_id in page]), or_(named, has_traffic())
    )
    return set(connection.execute(query).scalars())


def _oldest_kept(connection: Connection) -> Sequence[_Cursor]:
    """Return some versions that have examples, for a limit of 0."""
    query = (
        select(versions.c.created, versions.c.job_id)
        .join(archive_uses, archive_uses.c.holder == versions.c.job_id)
        .where(usage.is_held())
    )
    return [(row.created, row.job_id) for row in connection.execute(query.limit(CHUNK))]


def _among(connection: Connection, query: Select[str], archives: Collection[str]) -> set[str]:
    found: set[str] = set()
    for part in batched(sorted(archives), CHUNK):
        found.update(connection.execute(query, {"archives": part}).scalars())
    return found
