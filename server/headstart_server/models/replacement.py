"""Replacement of a version by a successor that was fitted without an erased example."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, insert, select

from headstart_server.database.dataset_tables import archive_uses
from headstart_server.database.tables import versions
from headstart_server.models import alias_history, alias_rows, feedback_rows, rows, usage
from headstart_server.models.alias_history import Cause, Mover
from headstart_server.models.registry import AliasMovedError
from headstart_server.models.version import Manifest, Version

# Built once: building a statement takes longer than executing it.
_VERSION = select(versions).where(
    versions.c.model == bindparam("model"), versions.c.number == bindparam("number")
)
_USE = insert(archive_uses)
_HELD = select(archive_uses.c.archive).where(archive_uses.c.holder == bindparam("holder"), usage.is_held())


@dataclass(frozen=True, kw_only=True, slots=True)
class Successor:
    """A stored version that is not published yet."""

    artifact: str  # name of its files in the store
    size_bytes: int
    manifest: Manifest  # its manifest; `job_id` is unique and names no job
    archives: Collection[str]  # jobs whose archives contain its examples
    members: Collection[tuple[str, int]]  # the archive of each example, and its index in the archive
    judged: bool  # whether it was compared with the version that it replaces


def replace_version(
    connection: Connection, old: Version, successor: Successor, *, now: float
) -> tuple[int, list[str]]:
    """Publish a successor of a version, move the aliases to it and delete the version.

    Returns:
        The number of the successor, and the aliases that moved to it.

    Raises:
        AliasMovedError: an alias names the version, and the successor was not compared with it.
    """
    model = old.model
    change = rows.last_revision(connection)
    row = connection.execute(_VERSION, {"model": model, "number": old.number}).one()
    number = rows.next_number(connection, model, now=now, change=change)
    manifest = successor.manifest
    kept = ("expires", "promotion", "display_name", "description", "tags")
    values = {name: row._mapping[name] for name in kept}
    rows.insert_version(
        connection,
        model=model,
        number=number,
        job_id=manifest.job_id,
        artifact=successor.artifact,
        size_bytes=successor.size_bytes,
        created=now,
        manifest=manifest.to_json(),
        place=old.number if row.place is None else row.place,
        **values,
    )
    # Before archives and sums, in the same order as where a retrain is accepted.
    feedback_rows.replace_version(connection, model, old.number, number)
    held = _held(connection, row.job_id)
    uses = sorted(held.intersection(successor.archives))
    if uses:
        usage.lock(connection, uses)
        connection.execute(_USE, [{"holder": manifest.job_id, "archive": archive} for archive in uses])
    usage.add_version(connection, model, successor.size_bytes)
    moved = _move_aliases(connection, old, number, judged=successor.judged, now=now)
    usage.remove_versions(connection, [rows.delete_version(connection, model, old.number, now)])
    return number, moved


def _held(connection: Connection, holder: str) -> set[str]:
    return set(connection.execute(_HELD, {"holder": holder}).scalars())


def _move_aliases(
    connection: Connection, old: Version, number: int, *, judged: bool, now: float
) -> list[str]:
    moved = []
    mover = Mover(cause=Cause.ERASED)
    with alias_history.recorded(connection, [old.model], mover, now):
        for alias in alias_rows.aliases_of(connection, old.model):
            names = {alias.number, *(each.number for each in alias.traffic)}
            if old.number not in names:
                continue
            if not judged:
                raise AliasMovedError(alias.name)
            shares = [
                replace(each, number=number) if each.number == old.number else each for each in alias.traffic
            ]
            named = number if alias.number == old.number else alias.number
            alias_rows.move_alias(connection, old.model, alias.name, named, now=now, shares=shares)
            moved.append(alias.name)
    return moved
