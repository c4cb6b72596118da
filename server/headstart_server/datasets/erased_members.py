"""Which members of archives were erased."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import forgotten
from headstart_server.database.locks import batched
from headstart_server.datasets.dataset_store import ArchiveMember
from headstart_server.jobs.archive_retention import CHUNK


class ErasedMembers:
    """Knows which places of archives hold, or held, examples whose data was deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def among(self, archives: Collection[str]) -> set[ArchiveMember]:
        """Return those in some archives."""
        found = set[ArchiveMember]()
        with self._database.read() as connection:
            for part in batched(sorted(archives), CHUNK):
                found |= erased_members(connection, part)
        return found


def erased_members(connection: Connection, archives: Collection[str]) -> set[ArchiveMember]:
    """Return the erased members of archives, of at most `CHUNK` archives."""
    query = select(forgotten.c.archive, forgotten.c.member).where(forgotten.c.archive.in_(sorted(archives)))
    return {(row.archive, row.member) for row in connection.execute(query)}
