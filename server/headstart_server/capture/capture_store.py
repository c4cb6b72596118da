"""Writes captured inputs: rows in the database, contents and features in storage.

The row of an object is inserted before the object is written and deleted after it is removed, so that a
cleaning finds what a killed process left. Transactions lock the row of the model first, then batches, then
the sums of the tenant.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import insert

from headstart_server.auth.tenants import tenant_of
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_rows import (
    GAP,
    Gaps,
    NewCapture,
    begin,
    evict,
    give_up,
    policy_of,
    publish,
    rows_of,
)
from headstart_server.database.capture_tables import captured_inputs
from headstart_server.database.database import Database
from headstart_server.jobs import stored
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models import usage


class CaptureStore:
    """Writes captured inputs. Models have their full names.

    Args:
        limits: returns the storage limits of a tenant.
    """

    def __init__(self, database: Database, files: BatchFiles, limits: Callable[[str], TenantLimits]) -> None:
        self._database = database
        self._files = files
        self._limits = limits

    def write(self, model: str, inputs: Sequence[NewCapture], features: BatchFeatures) -> None:
        """Store inputs of one model and one backbone, and delete the oldest beyond the bounds of its policy.

        Raise ModelGoneError if the model was deleted, or no longer has a policy.
        """
        tenant = tenant_of(model)
        limits = self._limits(tenant)
        with self._database.read() as connection:
            # Checked before anything is written, because a quota may stay full for days.
            nbytes = sum(len(each.content) for each in inputs)
            stored.check_bytes(connection, limits, tenant, model, nbytes)
        batch = begin(self._database, model)
        try:
            nbytes, facts = self._files.write(batch, [each.content for each in inputs], features)
            with self._database.write("captures.write") as connection:
                policy = policy_of(connection, model)
                now = self._database.now(connection)
                connection.execute(insert(captured_inputs), rows_of(inputs, batch, now, policy.ttl))
                created = now - max(each.age for each in inputs)
                publish(
                    connection,
                    batch,
                    entries=len(inputs),
                    nbytes=nbytes,
                    facts=facts,
                    created=created,
                    ttl=policy.ttl,
                )
                evict(connection, model, policy)
                usage.add_captures(connection, tenant, nbytes)
                stored.check_added(connection, limits, tenant, model)
        except BaseException:
            give_up(self._database, batch)
            raise

    def note_gaps(self, model: str, gaps: Gaps) -> None:
        """Count inputs that could not be captured; raise StorageFull or DatabaseUnavailable if that fails."""
        with self._database.write("captures.note_gaps") as connection:
            now = self._database.now(connection)
            connection.execute(
                GAP,
                {
                    "model": model,
                    "queue_full": gaps.queue_full,
                    "storage_failed": gaps.storage_failed,
                    "quota_full": gaps.quota_full,
                    "last": now,
                },
            )
