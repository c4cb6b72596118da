"""What each tenant stores: its versions, and the archives of examples that its jobs and versions need.

Versions have their size in their rows. Archives have theirs in a table of its own, written with the job;
those that an earlier release accepted are measured by the next sweep, as are those that were written anew.
What is of a moment only is not counted: uploads until they are accepted, activations, fits put aside.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, not_, select, update

from headstart_server.access.rights import Scope
from headstart_server.access.tenants import tenant_of
from headstart_server.database.scoped import within
from headstart_server.database.tables import archive_sizes, archive_uses, jobs, versions
from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.limits import TenantLimits
from headstart_server.jobs.needs import is_living
from headstart_server.jobs.rows import under_way

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What is stored.

    Attributes:
        version_count: number of versions.
        version_bytes: bytes of their files: heads, tails, manifests, lists, evaluations and evidence.
        example_bytes: bytes of archives of examples.
    """

    version_count: int = 0
    version_bytes: int = 0
    example_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """All bytes."""
        return self.version_bytes + self.example_bytes


def note_archive(connection: Connection, archive: str, tenant: str, nbytes: int) -> None:
    """Note the size of an archive, in the transaction that accepts its job."""
    connection.execute(insert(archive_sizes).values(archive=archive, tenant=tenant, nbytes=nbytes))


def stored(connection: Connection, tenant: str) -> Stored:
    """What a tenant stores; with an empty name whoever has no tenant."""
    count, nbytes = connection.execute(
        select(func.count(), func.sum(versions.c.size_bytes)).where(
            within(versions.c.model, Scope(tenant=tenant))
        )
    ).one()
    examples = select(func.sum(archive_sizes.c.nbytes)).where(archive_sizes.c.tenant == tenant, _is_needed())
    return Stored(
        version_count=int(count),
        version_bytes=int(nbytes or 0),
        example_bytes=int(connection.execute(examples).scalar() or 0),
    )


def by_tenant(connection: Connection) -> dict[str, Stored]:
    """What each tenant stores that stores something."""
    found: dict[str, list[int]] = {}
    for row in connection.execute(
        select(versions.c.model, func.count().label("count"), func.sum(versions.c.size_bytes).label("nbytes"))
        .group_by(versions.c.model)
        .order_by(versions.c.model)
    ):
        here = found.setdefault(tenant_of(row.model), [0, 0, 0])
        here[0] += int(row[1])
        here[1] += int(row.nbytes or 0)
    query = select(archive_sizes.c.tenant, func.sum(archive_sizes.c.nbytes)).where(_is_needed())
    for tenant, nbytes in connection.execute(query.group_by(archive_sizes.c.tenant)):
        found.setdefault(tenant, [0, 0, 0])[2] += int(nbytes or 0)
    return {
        tenant: Stored(version_count=count, version_bytes=nbytes, example_bytes=examples)
        for tenant, (count, nbytes, examples) in found.items()
    }


def check_room(
    connection: Connection, limits: TenantLimits, tenant: str, model: str, *, more_bytes: int = 0
) -> int | None:
    """Check that a tenant may have one more version, and so many more bytes.

    A job that waits or runs counts as the version that it would make.

    Args:
        connection: of the transaction that accepts the job, so that of two at once one is first.
        limits: the tenant's.
        tenant: the tenant.
        model: the model that the version would be of, which the refusal tells about.
        more_bytes: bytes of the new job's examples.

    Returns:
        The bytes that there is room for; None for any number.

    Raises:
        TenantQuotaExceeded: it may not.
    """
    if not limits.versions and not limits.stored_bytes:
        return None
    there = stored(connection, tenant)
    if limits.versions:
        query = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, under_way())
        to_come = int(connection.execute(query).scalar_one())
        if there.version_count + to_come >= limits.versions:
            raise TenantQuotaExceeded(
                f"Expected at most {limits.versions} versions of all models of a tenant. Received: one more, "
                f"with {there.version_count} there and {to_come} to come{_of_model(connection, model)}. "
                "Delete versions or models, or give them a time to live.",
                metadata={
                    "subject": "versions of the tenant",
                    "limit": str(limits.versions),
                    "versions": str(there.version_count),
                    "jobs": str(to_come),
                },
            )
    if not limits.stored_bytes:
        return None
    # Who has just as much as it may has no room for a version.
    if there.nbytes + max(more_bytes, 1) > limits.stored_bytes:
        raise over_bytes(connection, limits, there, model, more_bytes)
    return limits.stored_bytes - there.nbytes


def check_published(connection: Connection, limits: TenantLimits, tenant: str, model: str) -> None:
    """Check that what a tenant stores is within its limit, in the transaction that publishes a version.

    Raises:
        TenantQuotaExceeded: it is not; nothing may be published.
    """
    if not limits.stored_bytes:
        return
    there = stored(connection, tenant)
    if there.nbytes > limits.stored_bytes:
        raise over_bytes(connection, limits, there, model, 0)


def over_bytes(
    connection: Connection, limits: TenantLimits, there: Stored, model: str, more_bytes: int
) -> TenantQuotaExceeded:
    """The refusal to store more."""
    more = f"{_mib(more_bytes)} more, with {_mib(there.nbytes)} there" if more_bytes else _mib(there.nbytes)
    return TenantQuotaExceeded(
        f"Expected at most {_mib(limits.stored_bytes)} stored by a tenant. Received: {more}: "
        f"{_mib(there.version_bytes)} of {there.version_count} versions and {_mib(there.example_bytes)} of "
        f"examples{_of_model(connection, model)}. Delete versions or models, fine-tune with "
        "discard_examples, or send fewer examples.",
        metadata={
            "subject": "stored bytes of the tenant",
            "limit": str(limits.stored_bytes),
            "stored": str(there.nbytes),
            "version_bytes": str(there.version_bytes),
            "example_bytes": str(there.example_bytes),
            "more": str(more_bytes),
        },
    )


def unmeasured(connection: Connection, sizes: Mapping[str, int]) -> dict[str, int]:
    """The archives whose size is not written down, or is another one by now.

    Asked before any lock is held, for it reads a row of each archive.

    Args:
        connection: for reading.
        sizes: bytes of each archive by its job.
    """
    if not sizes:
        return {}
    known = {row.archive: int(row.nbytes) for row in connection.execute(select(archive_sizes))}
    return {archive: nbytes for archive, nbytes in sizes.items() if known.get(archive) != nbytes}


def measure(connection: Connection, found: Mapping[str, int]) -> None:
    """Write sizes of archives down, and forget those of archives that nobody needs.

    Args:
        connection: of a transaction under the queue's lock.
        found: what `unmeasured` found. Archives that nobody needs by now are left out.
    """
    connection.execute(delete(archive_sizes).where(not_(_is_needed())))
    for archive, nbytes in found.items():
        here = update(archive_sizes).where(archive_sizes.c.archive == archive).values(nbytes=nbytes)
        if connection.execute(here).rowcount:
            continue
        tenant = _tenant_of(connection, archive)
        if tenant is not None:
            note_archive(connection, archive, tenant, nbytes)


def _tenant_of(connection: Connection, archive: str) -> str | None:
    """The tenant of those who need an archive: that of the job that brought it; None if nobody does."""
    held = archive_uses.c.archive == archive
    job = select(jobs.c.tenant).join(archive_uses, archive_uses.c.holder == jobs.c.job_id)
    version = select(versions.c.model).join(archive_uses, archive_uses.c.holder == versions.c.job_id)
    tenant: str | None = connection.execute(job.where(held, is_living()).limit(1)).scalar()
    if tenant is not None:
        return tenant
    model: str | None = connection.execute(version.where(held, is_living()).limit(1)).scalar()
    return None if model is None else tenant_of(model)


def _of_model(connection: Connection, model: str) -> str:
    """What of it is the model's: of others the caller may know nothing."""
    query = select(func.count(), func.sum(versions.c.size_bytes)).where(versions.c.model == model)
    count, nbytes = connection.execute(query).one()
    return f"; {_mib(int(nbytes or 0))} of {count} versions are of model '{model}'" if count else ""


def _mib(nbytes: int) -> str:
    return f"{nbytes / _MIB:.2f} MiB"


def _is_needed() -> ColumnElement[bool]:
    """The condition that somebody needs an archive: one that is only about to be removed counts no more."""
    return exists().where(archive_uses.c.archive == archive_sizes.c.archive, is_living())
