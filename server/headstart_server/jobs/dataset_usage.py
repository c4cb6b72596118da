"""Storage used by named datasets, for jobs and quotas. The package `datasets` changes the rows."""

from collections.abc import Collection

from sqlalchemy import BindParameter, Connection, bindparam, func, select, update

from headstart_server.database.dataset_tables import dataset_batches, datasets

_HOLDERS: BindParameter[str] = bindparam("holders", expanding=True)
# Built once: building a statement takes longer than executing it.
_USAGE = select(func.count(), func.sum(datasets.c.nbytes)).where(datasets.c.tenant == bindparam("tenant"))
_BYTES = select(func.sum(datasets.c.nbytes))
_EXISTING = select(datasets.c.dataset_id).where(datasets.c.dataset_id.in_(_HOLDERS))
_DATASET_OF = (
    select(datasets.c.dataset_id, datasets.c.tenant)
    .join(dataset_batches, dataset_batches.c.dataset_id == datasets.c.dataset_id)
    .where(dataset_batches.c.archive == bindparam("archive"))
    .with_for_update(of=datasets)
)
_RESIZE = (
    update(datasets)
    .where(datasets.c.dataset_id == bindparam("which"))
    .values(nbytes=datasets.c.nbytes + bindparam("change"))
)


def usage_of(connection: Connection, tenant: str) -> tuple[int, int]:
    """Return the number of a tenant's datasets, and the bytes of their archives."""
    count, nbytes = connection.execute(_USAGE, {"tenant": tenant}).one()
    return int(count), int(nbytes or 0)


def dataset_bytes(connection: Connection) -> int:
    """Return the bytes of the archives of all datasets."""
    return int(connection.execute(_BYTES).scalar() or 0)


def existing(connection: Connection, holders: Collection[str]) -> set[str]:
    """Return the holders of archives that are datasets."""
    return set(connection.execute(_EXISTING, {"holders": holders}).scalars())


def lock_dataset_of(connection: Connection, archive: str) -> tuple[str, str] | None:
    """Lock the dataset that an archive belongs to; return its ID and tenant, or None without a dataset.

    Call it before locking rows of `archive_sizes`, as transactions that change datasets do.
    """
    row = connection.execute(_DATASET_OF, {"archive": archive}).one_or_none()
    return None if row is None else (row.dataset_id, row.tenant)


def resize(connection: Connection, dataset_id: str, change: int) -> None:
    """Change the bytes of a locked dataset."""
    connection.execute(_RESIZE, {"which": dataset_id, "change": change})
