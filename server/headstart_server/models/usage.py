"""Sums of each tenant's stored bytes and versions, and the jobs and versions that need each archive.

A job needs its archives until it ends without a version, and a version until it is deleted. The transaction
that ends the job or deletes the version releases the archives and changes the sums. So nothing has to
search jobs and versions.

Transactions lock rows in this order, so that two never wait for each other: the counter of the registry,
rows of `archive_sizes` by archive, rows of `tenant_usage` by tenant.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    text,
    update,
)

from headstart_server.auth.tenants import tenant_of
from headstart_server.database.capture_tables import READY, capture_batches
from headstart_server.database.dataset_tables import archive_sizes, archive_uses
from headstart_server.database.locks import batched
from headstart_server.database.tables import tenant_usage, versions

#: Maximum rows that one statement changes.
AT_ONCE = 500
_SUMS = ("version_count", "version_bytes", "example_bytes", "capture_bytes")

_ADD = text(
    "INSERT INTO tenant_usage (tenant, version_count, version_bytes, example_bytes, capture_bytes) "
    "VALUES (:tenant, :version_count, :version_bytes, :example_bytes, :capture_bytes) "
    "ON CONFLICT (tenant) DO UPDATE SET "
    "version_count = tenant_usage.version_count + excluded.version_count, "
    "version_bytes = tenant_usage.version_bytes + excluded.version_bytes, "
    "example_bytes = tenant_usage.example_bytes + excluded.example_bytes, "
    "capture_bytes = tenant_usage.capture_bytes + excluded.capture_bytes"
)

_ARCHIVES: BindParameter[str] = bindparam("archives", expanding=True)


def is_held() -> ColumnElement[bool]:
    """Return the condition that a row of `archive_uses` counts: its holder needs the archive.

    The number is part of the statement instead of a parameter: a partial index depends on it. With a
    parameter SQLite prepares the statement again at each execution, and PostgreSQL does not use the index.
    """
    return archive_uses.c.released == literal_column("0")


def is_released() -> ColumnElement[bool]:
    """Return the condition that the holder of a row of `archive_uses` needs the archive no longer."""
    return archive_uses.c.released == literal_column("1")


def is_needed() -> ColumnElement[bool]:
    """Return the condition that a job or version needs an archive of `archive_sizes`."""
    return exists().where(archive_uses.c.archive == archive_sizes.c.archive, is_held())


# Built once: building a statement takes longer than executing it.
_RELEASE = (
    update(archive_uses)
    .where(archive_uses.c.holder.in_(bindparam("holders", expanding=True)), is_held())
    .values(released=1)
    .returning(archive_uses.c.archive)
)
_NEEDLESS = select(archive_sizes.c.tenant, archive_sizes.c.nbytes).where(
    archive_sizes.c.archive.in_(_ARCHIVES), ~is_needed()
)
_LOCK = (
    select(archive_sizes.c.archive)
    .where(archive_sizes.c.archive.in_(_ARCHIVES))
    .order_by(archive_sizes.c.archive)
    .with_for_update()
)
_VERSIONS = select(
    versions.c.model, func.count().label("number"), func.sum(versions.c.size_bytes).label("nbytes")
).group_by(versions.c.model)
_EXAMPLES = (
    select(archive_sizes.c.tenant, func.sum(archive_sizes.c.nbytes).label("nbytes"))
    .where(is_needed())
    .group_by(archive_sizes.c.tenant)
)
_CAPTURES = (
    select(capture_batches.c.model, func.sum(capture_batches.c.nbytes).label("nbytes"))
    .where(capture_batches.c.state == READY)
    .group_by(capture_batches.c.model)
)
_RECORDED = select(tenant_usage)


def add_examples(connection: Connection, nbytes: Mapping[str, int]) -> None:
    """Add bytes of archives, by tenant; fewer are negative."""
    # Sorted, so that two transactions never wait for each other.
    for tenant in sorted(nbytes):
        _add(connection, tenant, example_bytes=nbytes[tenant])


def add_captures(connection: Connection, tenant: str, nbytes: int) -> None:
    """Add bytes of captured inputs; fewer are negative."""
    _add(connection, tenant, capture_bytes=nbytes)


def add_version(connection: Connection, model: str, nbytes: int) -> None:
    """Count a version that was published."""
    _add(connection, tenant_of(model), version_count=1, version_bytes=nbytes)


def remove_versions(connection: Connection, removed: Iterable[Row[Any]]) -> None:
    """Count deleted rows with `model`, `job_id` and `size_bytes` out, and release their archives."""
    by_tenant: dict[str, list[Row[Any]]] = {}
    for row in removed:
        by_tenant.setdefault(tenant_of(row.model), []).append(row)
    release(connection, [row.job_id for rows in by_tenant.values() for row in rows])
    for tenant, rows in sorted(by_tenant.items()):
        nbytes = sum(int(row.size_bytes) for row in rows)
        _add(connection, tenant, version_count=-len(rows), version_bytes=-nbytes)


def release(connection: Connection, holders: Iterable[str]) -> None:
    """Record that jobs, and the versions they made, no longer need their archives.

    The rows stay until a sweep removes the archives that no row names.
    """
    archives: set[str] = set()
    for part in batched(holders, AT_ONCE):
        archives.update(connection.execute(_RELEASE, {"holders": part}).scalars())
    # Two transactions may release the last two uses of an archive: the second must see the first's change.
    lock(connection, archives)
    nbytes: dict[str, int] = {}
    for part in batched(sorted(archives), AT_ONCE):
        for row in connection.execute(_NEEDLESS, {"archives": part}):
            nbytes[row.tenant] = nbytes.get(row.tenant, 0) - int(row.nbytes)
    add_examples(connection, nbytes)


def lock(connection: Connection, archives: Collection[str]) -> None:
    """Lock archives, so that no other transaction decides whether they are needed before this one ends."""
    for part in batched(sorted(archives), AT_ONCE):
        connection.execute(_LOCK, {"archives": part}).all()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """The sums of a tenant."""

    tenant: str  # the tenant; empty for models that have none
    # recorded number of versions, their bytes, bytes of archives and of captured inputs
    recorded: tuple[int, ...]
    counted: tuple[int, ...]


def wrong_sums(connection: Connection) -> list[Sums]:
    """Count stored versions and bytes, and return the sums that are wrong."""
    counted: dict[str, list[int]] = {}
    for row in connection.execute(_VERSIONS):
        here = counted.setdefault(tenant_of(row.model), [0] * len(_SUMS))
        here[0] += int(row.number)
        here[1] += int(row.nbytes)
    for row in connection.execute(_EXAMPLES):
        counted.setdefault(row.tenant, [0] * len(_SUMS))[2] = int(row.nbytes)
    for row in connection.execute(_CAPTURES):
        counted.setdefault(tenant_of(row.model), [0] * len(_SUMS))[3] += int(row.nbytes)
    recorded = {
        row.tenant: tuple(int(getattr(row, name)) for name in _SUMS) for row in connection.execute(_RECORDED)
    }
    nothing = (0,) * len(_SUMS)
    found = []
    for tenant in sorted(counted.keys() | recorded.keys()):
        sums = Sums(
            tenant=tenant,
            recorded=recorded.get(tenant, nothing),
            counted=tuple(counted.get(tenant, nothing)),
        )
        if sums.recorded != sums.counted:
            found.append(sums)
    return found


def correct(connection: Connection, wrong: Iterable[Sums]) -> None:
    """Correct sums that have not changed since they were found to be wrong."""
    for sums in wrong:
        _add(connection, sums.tenant)
        unchanged = [tenant_usage.c[name] == n for name, n in zip(_SUMS, sums.recorded, strict=True)]
        connection.execute(
            update(tenant_usage)
            .where(tenant_usage.c.tenant == sums.tenant, *unchanged)
            .values(dict(zip(_SUMS, sums.counted, strict=True)))
        )


def _add(
    connection: Connection,
    tenant: str,
    *,
    version_count: int = 0,
    version_bytes: int = 0,
    example_bytes: int = 0,
    capture_bytes: int = 0,
) -> None:
    connection.execute(
        _ADD,
        {
            "tenant": tenant,
            "version_count": version_count,
            "version_bytes": version_bytes,
            "example_bytes": example_bytes,
            "capture_bytes": capture_bytes,
        },
    )
