"""Queries of archive members that hold, or held, erased examples."""

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, select

from headstart_server.database.dataset_tables import forgotten
from headstart_server.database.locks import batched
from headstart_server.jobs.running import ExampleErasedError

#: Maximum archives that one statement searches for.
ARCHIVES_AT_ONCE = 500
# Built once: building a statement takes longer than executing it.
_ERASED = select(forgotten.c.archive, forgotten.c.member, forgotten.c.removed).where(
    forgotten.c.archive.in_(bindparam("archives", expanding=True))
)


def erased_members(connection: Connection, archives: Collection[str]) -> dict[tuple[str, int], int]:
    """Return the erased members of at most `ARCHIVES_AT_ONCE` archives; above 0, the content is removed."""
    found = connection.execute(_ERASED, {"archives": sorted(archives)})
    return {(row.archive, row.member): row.removed for row in found}


def check_not_erased(connection: Connection, members: Collection[tuple[str, int]]) -> None:
    """Raise ExampleErasedError if a member was erased."""
    for part in batched(sorted({archive for archive, _ in members}), ARCHIVES_AT_ONCE):
        if not erased_members(connection, part).keys().isdisjoint(members):
            raise ExampleErasedError
