"""Storage used by each tenant: its versions, and the archives of examples that its jobs and versions need.

The sums are kept by `models.usage`. The sizes of archives are recorded with the job. The hourly cleaning
measures archives that were rewritten without an erased example. Temporary data is not counted: uploads before
they are accepted, activations, staged fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select, update

from headstart_server.auth.tenants import tenant_of
from headstart_server.database.dataset_tables import archive_sizes, archive_uses
from headstart_server.database.locks import batched
from headstart_server.database.tables import jobs, tenant_usage, versions
from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs import dataset_usage
from headstart_server.jobs.rows import under_way
from headstart_server.models import usage


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """Limits over all replicas of a database; 0 means unlimited."""

    queued: int = 100  # maximum queued jobs
    queued_per_tenant: int = 0
    running: int = 0  # maximum running jobs, even if the replicas have more workers
    # maximum running jobs of one tenant; jobs of other tenants precede its further jobs
    running_per_tenant: int = 0
    versions_per_model: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLimits:
    """Storage limits of one tenant, over all replicas of a database; 0 means unlimited."""

    versions: int = 0  # maximum versions of all its models, including versions of unfinished jobs
    stored_bytes: int = 0  # maximum bytes of its versions, and of the examples stored for versions and jobs


_MIB = 1 << 20

# Built once: building a statement takes longer than executing it.
_NOTE_ARCHIVE = insert(archive_sizes)
_EXAMPLE_BYTES = select(func.sum(tenant_usage.c.example_bytes))
_SIZES = select(archive_sizes.c.archive, archive_sizes.c.nbytes).where(
    archive_sizes.c.archive.in_(bindparam("archives", expanding=True))
)
_SIZE = select(archive_sizes.c.tenant, archive_sizes.c.nbytes, usage.is_needed().label("is_needed")).where(
    archive_sizes.c.archive == bindparam("archive")
)
_HELD = and_(archive_uses.c.archive == bindparam("archive"), usage.is_held())
_TENANT_OF_JOB = (
    select(jobs.c.tenant).join(archive_uses, archive_uses.c.holder == jobs.c.job_id).where(_HELD).limit(1)
)
_MODEL_OF_VERSION = (
    select(versions.c.model)
    .join(archive_uses, archive_uses.c.holder == versions.c.job_id)
    .where(_HELD)
    .limit(1)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Storage used by a tenant."""

    version_count: int = 0
    version_bytes: int = 0  # bytes of their files: heads, tails, manifests, lists, evaluations and evidence
    example_bytes: int = 0  # bytes of archives of examples
    capture_bytes: int = 0  # bytes of captured inputs with their features

    @property
    def nbytes(self) -> int:
        """All bytes."""
        return self.version_bytes + self.example_bytes + self.capture_bytes


def note_archive(connection: Connection, archive: str, tenant: str, nbytes: int) -> None:
    """Record the size of a needed archive, in the transaction that accepts its job."""
    connection.execute(_NOTE_ARCHIVE, {"archive": archive, "tenant": tenant, "nbytes": nbytes})
    usage.add_examples(connection, {tenant: nbytes})


def stored(connection: Connection, tenant: str) -> Stored:
    """Return the storage of a tenant; an empty name stands for models without a tenant."""
    query = select(tenant_usage).where(tenant_usage.c.tenant == tenant)
    row = connection.execute(query).one_or_none()
    return Stored() if row is None else _stored(row)


def by_tenant(connection: Connection) -> dict[str, Stored]:
    """Return the storage of each tenant that stores data."""
    found = {row.tenant: _stored(row) for row in connection.execute(select(tenant_usage))}
    return {tenant: stored for tenant, stored in found.items() if stored != Stored()}


def example_bytes(connection: Connection) -> int:
    """Return the bytes of all archives that are needed."""
    return int(connection.execute(_EXAMPLE_BYTES).scalar() or 0)


def _stored(row: Row[Any]) -> Stored:
    return Stored(
        version_count=int(row.version_count),
        version_bytes=int(row.version_bytes),
        example_bytes=int(row.example_bytes),
        capture_bytes=int(row.capture_bytes),
    )


def check_room(
    connection: Connection, limits: TenantLimits, tenant: str, model: str, *, more_bytes: int = 0
) -> int | None:
    """Check that a tenant may have one more version, and `more_bytes` more bytes.

    A queued or running job counts as a version.

    Args:
        connection: a read, or the transaction that accepts the job, which holds `Lock.QUEUE` so that
            concurrent submissions count each other's jobs.
        more_bytes: bytes of the new job's examples.

    Returns:
        The bytes that the tenant may still store; None means unlimited.
    """
    if not limits.versions and not limits.stored_bytes:
        return None
    there = stored(connection, tenant)
    if limits.versions:
        query = select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, under_way())
        to_come = int(connection.execute(query).scalar_one())
        if there.version_count + to_come >= limits.versions:
            raise TenantQuotaExceeded(
                f"At most {limits.versions} versions of all models of a tenant are allowed. The tenant has "
                f"{there.version_count} versions and {to_come} unfinished jobs"
                f"{_of_model(connection, model)}. Delete versions or models, or set a time to live.",
                metadata={
                    "subject": "versions of the tenant",
                    "limit": str(limits.versions),
                    "versions": str(there.version_count),
                    "jobs": str(to_come),
                },
            )
    if not limits.stored_bytes:
        return None
    # A tenant exactly at its limit has no space for a version.
    if there.nbytes + max(more_bytes, 1) > limits.stored_bytes:
        raise over_bytes(connection, limits, there, model, more_bytes)
    return limits.stored_bytes - there.nbytes


def check_bytes(
    connection: Connection, limits: TenantLimits, tenant: str, model: str, more_bytes: int = 0
) -> None:
    """Check that a tenant may store so many more bytes, before they are written.

    Another transaction may add bytes meanwhile, so the transaction that adds them calls `check_added`.
    """
    if not limits.stored_bytes:
        return
    there = stored(connection, tenant)
    if there.nbytes + more_bytes > limits.stored_bytes:
        raise over_bytes(connection, limits, there, model, more_bytes)


def check_added(
    connection: Connection, limits: TenantLimits, tenant: str, model: str, example_bytes: int = 0
) -> None:
    """Check the storage limit of a tenant after this transaction has added bytes to its sums.

    The addition locks the row of sums. Concurrent transactions that add bytes therefore wait for each other,
    on any replica, and the later one sees the bytes of the earlier one.

    Args:
        example_bytes: the bytes of examples that this transaction has added, for the message.
    """
    if not limits.stored_bytes:
        return
    there = stored(connection, tenant)
    if there.nbytes > limits.stored_bytes:
        before = replace(there, example_bytes=there.example_bytes - example_bytes)
        raise over_bytes(connection, limits, before, model, example_bytes)


def over_bytes(
    connection: Connection, limits: TenantLimits, there: Stored, model: str, more_bytes: int
) -> TenantQuotaExceeded:
    """Return the error of an exceeded storage limit."""
    more = f" The request adds {_mib(more_bytes)}." if more_bytes else ""
    return TenantQuotaExceeded(
        f"The tenant may store at most {_mib(limits.stored_bytes)}. It stores {_mib(there.nbytes)}: "
        f"{_mib(there.version_bytes)} of {there.version_count} versions, {_mib(there.example_bytes)} of "
        f"examples and {_mib(there.capture_bytes)} of captured inputs{_of_model(connection, model)}.{more} "
        "Delete versions or models, fine-tune with discard_examples, send fewer examples or capture fewer "
        "inputs.",
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
    """Return the archives whose size, in bytes by job, is not recorded or has changed."""
    known: dict[str, int] = {}
    for part in batched(sizes, usage.AT_ONCE):
        found = connection.execute(_SIZES, {"archives": part})
        known.update((row.archive, int(row.nbytes)) for row in found)
    return {archive: nbytes for archive, nbytes in sizes.items() if known.get(archive) != nbytes}


def measure(connection: Connection, archive: str, nbytes: int) -> None:
    """Record the size of an archive that `unmeasured` returned, if the archive is needed."""
    dataset = dataset_usage.lock_dataset_of(connection, archive)
    usage.lock(connection, [archive])
    row = connection.execute(_SIZE, {"archive": archive}).one_or_none()
    if row is None:
        tenant = dataset[1] if dataset is not None else _tenant_of(connection, archive)
        if tenant is not None:
            note_archive(connection, archive, tenant, nbytes)
        return
    connection.execute(update(archive_sizes).where(archive_sizes.c.archive == archive).values(nbytes=nbytes))
    if row.is_needed:
        usage.add_examples(connection, {row.tenant: nbytes - int(row.nbytes)})
    if dataset is not None:
        dataset_usage.resize(connection, dataset[0], nbytes - int(row.nbytes))


def _tenant_of(connection: Connection, archive: str) -> str | None:
    """Return the tenant that needs an archive; None if it is not needed."""
    tenant: str | None = connection.execute(_TENANT_OF_JOB, {"archive": archive}).scalar()
    if tenant is not None:
        return tenant
    model: str | None = connection.execute(_MODEL_OF_VERSION, {"archive": archive}).scalar()
    return None if model is None else tenant_of(model)


def _of_model(connection: Connection, model: str) -> str:
    """Return the usage of a model for messages, because a caller may not see other models."""
    query = select(func.count(), func.sum(versions.c.size_bytes)).where(versions.c.model == model)
    count, nbytes = connection.execute(query).one()
    return f"; {_mib(int(nbytes or 0))} of {count} versions are of model '{model}'" if count else ""


def _mib(nbytes: int) -> str:
    return f"{nbytes / _MIB:.2f} MiB"
