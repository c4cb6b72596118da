"""Periodic cleaning, and recovery from a server that crashed."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from headstart_server.api.grpc.certificate_dates import CertificateDates
from headstart_server.api.grpc.tls import TlsFiles
from headstart_server.app.build import Objects
from headstart_server.app.data_folder import note_erasures
from headstart_server.errors import (
    DatabaseUnavailable,
    LocalStorageUnavailable,
    StorageFull,
    StorageUnavailable,
)
from headstart_server.jobs.cleaning import run_steps
from headstart_server.storage.attempts import Attempts, raise_first
from headstart_server.storage.disk import probe

log = structlog.get_logger(__name__)

#: Seconds between two writes of the traffic counts.
TRAFFIC_SECONDS = 10.0
#: Seconds between two searches for interrupted erasures.
ERASURE_SECONDS = 60.0
#: Seconds between two checks of the certificate's dates.
CERTIFICATE_SECONDS = 60.0
#: Seconds between two rounds of cleaning.
CLEAN_SECONDS = 30.0
#: Seconds between two searches for orphaned files, and the age at which they are removed.
LEFTOVER_SECONDS = 3600.0


class Maintenance:
    """Clean up the data of this process, and, in turns with other replicas, the data that they share."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def take_over(self) -> None:
        """Take over the work that a crashed server left in an SQLite file, which no other server uses.

        In a shared database, leases distinguish the work of running replicas from the work of crashed ones.
        """
        objects = self._objects
        with suppress(DatabaseUnavailable):
            objects.usage.refresh()
            objects.data_counts.refresh()
        if not objects.is_alone:
            return
        left = objects.job_store.queue.expire_leases()
        if left:
            log.warning("interrupted_jobs_found", jobs=left)
        if objects.part.place.is_restart:
            # The serving processes have continued.
            return
        objects.job_store.quotas.recount_usage()
        objects.capture_eraser.give_up_unfinished()
        try:
            self._remove_leftovers(older_than=0.0)
        except (LocalStorageUnavailable, StorageUnavailable) as error:
            log.warning("cleanup_postponed", error=error.detail)
        except StorageFull as error:
            log.warning("cleanup_postponed", error=error.message)

    async def clean_repeatedly(self) -> None:
        """Clean up until cancelled."""
        while True:
            await asyncio.sleep(CLEAN_SECONDS)
            await asyncio.to_thread(self.clean)

    async def write_traffic_repeatedly(self) -> None:
        """Write the traffic counts until cancelled; the next write includes the counts of a failed one."""
        while True:
            await asyncio.sleep(TRAFFIC_SECONDS)
            await asyncio.to_thread(run_steps, {"traffic": self._write_traffic})

    async def resume_erasures_repeatedly(self) -> None:
        """Complete interrupted erasures until cancelled, in turns with other replicas."""
        while True:
            await asyncio.to_thread(run_steps, {"erasures": self._resume_erasures})
            await asyncio.sleep(ERASURE_SECONDS)

    async def check_certificate_repeatedly(self, files: TlsFiles) -> None:
        """Log a certificate that is invalid or expires soon, until cancelled."""
        dates = CertificateDates(files)
        while True:
            await asyncio.to_thread(run_steps, {"certificate": dates.check})
            await asyncio.sleep(CERTIFICATE_SECONDS)

    def _write_traffic(self) -> None:
        with suppress(DatabaseUnavailable, StorageFull):
            self._objects.traffic.write()

    def _resume_erasures(self) -> int:
        is_mine = self._objects.job_store.cleaner.take_cleaning_turn("erasures", ERASURE_SECONDS)
        return self._objects.erasures.resume() if is_mine else 0

    def clean(self) -> None:
        """Clean up once; a failing step does not skip the others."""
        objects = self._objects
        steps: dict[str, Callable[[], object] | None] = {
            "energy": objects.energy.update,
            "disks": self._probe_disks,
            "bucket": objects.roots.notice_recovery,
            "audit_log": objects.audit.flush_omitted if objects.audit is not None else None,
            "erased_examples": self._drop_erased,
            "captured_thumbnails": objects.captures.thumbnails.remove_gone,
            "captured_features": objects.captures.ranking.remove_gone,
            "exports": objects.exporter.sweep,
            "usage": objects.usage.refresh,
        }
        if objects.part.runs_jobs:
            steps |= {
                "jobs": objects.job_counts.refresh,
                "data": objects.data_counts.refresh,
                "rows": self._clean_rows,
                "files": self._clean_files,
            }
        run_steps(steps)

    def _drop_erased(self) -> None:
        self._objects.eraser.follower.drop_here()
        if self._objects.part.runs_jobs:
            note_erasures(self._objects.settings.storage.data_dir)

    def _clean_rows(self) -> None:
        objects = self._objects
        if not objects.job_store.cleaner.take_cleaning_turn("rows", CLEAN_SECONDS):
            return
        run_steps(
            {
                "expired_versions": objects.registry.delete_expired,
                # First, because it writes a new archive without the example. The later steps free space.
                "erased_examples": objects.eraser.carry_out,
                "abandoned_datasets": self._delete_abandoned_datasets,
                "erased_digests": objects.eraser.follower.forget_digests,
                "archives": objects.archives.sweep,
                "traffic": objects.traffic.clean,
                "captured_inputs": objects.capture_eraser.clean,
                "old_jobs": partial(objects.job_store.cleaner.forget, objects.settings.jobs.job_retention),
            }
        )

    def _delete_abandoned_datasets(self) -> int:
        retention = self._objects.settings.jobs.open_dataset_retention
        return 0 if retention is None else self._objects.catalog.delete_abandoned(retention)

    def _clean_files(self) -> None:
        if not self._objects.job_store.cleaner.take_cleaning_turn("files", LEFTOVER_SECONDS):
            return
        run_steps(
            {
                "usage": self._objects.job_store.quotas.recount_usage,
                "leftovers": partial(self._remove_leftovers, older_than=LEFTOVER_SECONDS),
                "captured_inputs": self._remove_captured_leftovers,
            }
        )

    def _remove_captured_leftovers(self) -> int:
        self._objects.roots.claim(self._objects.database)
        return self._objects.capture_eraser.remove_orphans()

    def _probe_disks(self) -> None:
        for folder in {self._objects.settings.storage.data_dir, *self._objects.roots.folders}:
            probe(folder)

    def _remove_leftovers(self, *, older_than: float) -> None:
        objects = self._objects
        # Again, because the bucket may have been unavailable at the start.
        objects.roots.claim(objects.database)
        removals: dict[str, Callable[..., int]] = {
            "datasets": objects.archives.recover,
            "versions": partial(objects.registry.remove_leftovers, objects.job_store.reader.unfinished),
        }
        removed = dict.fromkeys(removals, 0)

        def remove(kind: str) -> None:
            removed[kind] = removals[kind](older_than=older_than)

        errors = Attempts().run({kind: kind for kind in removed}, remove)
        if any(removed.values()):
            log.info("orphaned_files_removed", datasets=removed["datasets"], versions=removed["versions"])
        raise_first(errors)
