"""Which archives of examples are still needed, by whom, and the removal of the others.

A job's dataset lies in its own archive and in those of the versions it goes on from. Who needs which is
written down in the transactions that accept a job, end it and delete a version, so a crash at any instant
leaves at most files that are needed no more, and the next start removes them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection, delete, exists, insert, not_, or_, select, update

from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.database.tables import aliases, archive_uses, versions
from headstart_server.errors import ExamplesNotKept
from headstart_server.jobs import stored
from headstart_server.jobs.needs import is_living
from headstart_server.models.alias_rows import has_share

#: Archives that one query asks about: SQLite bounds the values of a statement.
CHUNK = 1000


class ArchiveFiles(Protocol):
    """The files of archives, by the jobs whose examples they hold."""

    def sizes(self) -> Mapping[str, int]:
        """Bytes of each archive that is whole."""

    def remove(self, job_id: str) -> None:
        """Remove an archive; nothing happens if there is none."""

    def remove_all_but(self, job_ids: Collection[str], *, older_than: float = 0.0) -> int:
        """Remove every file that is no archive of these and older than some seconds; returns their number."""


def hold(connection: Connection, holder: str, archives: Collection[str]) -> None:
    """Note which archives a job's dataset lies in, in the transaction that accepts the job.

    Raises:
        ExamplesNotKept: one that is not its own is needed by nobody any more, and so may be gone: the version
            that it goes on from was deleted meanwhile.
    """
    others = set(archives) - {holder}
    query = select(archive_uses.c.archive).where(archive_uses.c.archive.in_(others), is_living())
    if others - set(connection.execute(query).scalars()):
        raise ExamplesNotKept(
            "The version that the fine-tune goes on from was deleted, or its examples were, while new ones "
            "came. Send all examples again without a parent."
        )
    connection.execute(
        insert(archive_uses), [{"holder": holder, "archive": archive} for archive in {*others, holder}]
    )


def let_go(connection: Connection, holder: str) -> None:
    """Note that a job, and the version it made, need no examples any more."""
    # The row stays until the sweep, which would not know of the archive without it.
    connection.execute(update(archive_uses).where(archive_uses.c.holder == holder).values(let_go=1))


class Archives:
    """Removes the archives that are needed no more.

    Args:
        database: holds who needs which.
        files: holds the archives.
        max_bytes: most bytes of archives to keep for versions; 0 keeps none. Beyond it the version published
            longest ago loses its examples first, those that an alias names after all others.
    """

    def __init__(self, database: Database, files: ArchiveFiles, *, max_bytes: int) -> None:
        self._database = database
        self._files = files
        self._max_bytes = max_bytes

    def are_kept(self, job_id: str) -> bool:
        """Whether the examples of the version that a job made are kept."""
        with self._database.read() as connection:
            query = (
                select(archive_uses.c.archive).where(archive_uses.c.holder == job_id, is_living()).limit(1)
            )
            return connection.execute(query).one_or_none() is not None

    def sweep(self) -> int:
        """Remove what was needed until a while ago, and what is beyond the bound.

        Archives that nobody has needed yet, those of fine-tunes that are just coming in, stay.

        Returns:
            The number of archives removed.

        Raises:
            StorageAway: the bucket does not answer; what is left then goes with `recover`.
        """
        sizes, found = self._sizes()
        with self._database.write("archives.sweep") as connection:
            # Shared with whoever accepts a job: it must not come to need what is just released.
            self._database.lock(connection, Lock.QUEUE)
            released = self._release(connection, sizes, found)
        # After the commit: an archive without a row that counts can be found by nobody any more.
        for archive in released:
            self._files.remove(archive)
        return len(released)

    def recover(self, *, older_than: float = 0.0) -> int:
        """Remove everything that is not needed, what is left of broken-off uploads too.

        Args:
            older_than: leave files that were written to in so many seconds: fine-tunes that are coming in.

        Returns:
            The number of files removed.
        """
        sizes, found = self._sizes()
        with self._database.write("archives.recover") as connection:
            self._database.lock(connection, Lock.QUEUE)
            self._release(connection, sizes, found)
            needed = set(connection.execute(select(archive_uses.c.archive)).scalars())
        return self._files.remove_all_but(needed, older_than=older_than)

    def _sizes(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Bytes of each archive, and of those whose size is not written down.

        Asked for before any transaction: a bucket may be slow, or away.
        """
        sizes = self._files.sizes() if self._max_bytes else {}
        with self._database.read() as connection:
            return sizes, stored.unmeasured(connection, sizes)

    def _release(
        self, connection: Connection, sizes: Mapping[str, int], found: Mapping[str, int]
    ) -> set[str]:
        """Delete the rows that count no more or are beyond the bound; returns what none names now."""
        dead = delete(archive_uses).where(not_(is_living())).returning(archive_uses.c.archive)
        dropped = set(connection.execute(dead).scalars())
        for holder in self._beyond_bound(connection, sizes):
            query = delete(archive_uses).where(archive_uses.c.holder == holder)
            dropped.update(connection.execute(query.returning(archive_uses.c.archive)).scalars())
        stored.measure(connection, found)
        return dropped - _named(connection, sorted(dropped))

    def _beyond_bound(self, connection: Connection, sizes: Mapping[str, int]) -> Iterable[str]:
        """The jobs whose versions lose their examples, so that the others' are within the bound."""
        if self._max_bytes and sum(sizes.values()) <= self._max_bytes:
            return []
        named = exists().where(aliases.c.model == versions.c.model, aliases.c.number == versions.c.number)
        aliased = or_(named, has_share())
        rows = connection.execute(
            select(versions.c.job_id, archive_uses.c.archive)
            .join(archive_uses, archive_uses.c.holder == versions.c.job_id)
            .order_by(aliased, versions.c.created, versions.c.job_id)
        ).all()
        held: dict[str, set[str]] = {}
        for row in rows:
            held.setdefault(row.job_id, set()).add(row.archive)
        return _first_to_go(held, sizes, self._max_bytes)


def _named(connection: Connection, archives: Sequence[str]) -> set[str]:
    """Those of some archives that a row names."""
    found: set[str] = set()
    for start in range(0, len(archives), CHUNK):
        part = archives[start : start + CHUNK]
        query = select(archive_uses.c.archive).where(archive_uses.c.archive.in_(part)).distinct()
        found.update(connection.execute(query).scalars())
    return found


def _first_to_go(held: Mapping[str, set[str]], sizes: Mapping[str, int], max_bytes: int) -> list[str]:
    holders: dict[str, int] = {}
    for archives in held.values():
        for archive in archives:
            holders[archive] = holders.get(archive, 0) + 1
    total = sum(sizes.get(archive, 0) for archive in holders)
    gone = []
    for holder, archives in held.items():
        if total <= max_bytes and max_bytes:
            break
        gone.append(holder)
        for archive in archives:
            holders[archive] -= 1
            total -= 0 if holders[archive] else sizes.get(archive, 0)
    return gone
