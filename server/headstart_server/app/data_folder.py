"""The data folder and the database of a server: how they are opened, locked and checked at the start."""

import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import structlog

from headstart_server.database.address import sqlite_file
from headstart_server.database.database import Database
from headstart_server.datasets.erasure_follower import AGAIN_SECONDS
from headstart_server.embedding.feature_store import FeatureStore
from headstart_server.embedding.sqlite_file import delete
from headstart_server.errors import DatabaseUnavailable, StorageUnavailable
from headstart_server.observability.telemetry import Telemetry
from headstart_server.settings.groups import StorageGroup
from headstart_server.storage.ownership import ForeignArtifactsError
from headstart_server.storage.storage_roots import StorageRoots, open_storage_roots

log = structlog.get_logger(__name__)

#: Seconds that the start waits for a database that does not answer yet, and for one that is busy: another
#: server may be changing large tables.
DATABASE_WAIT_SECONDS, BUSY_WAIT_SECONDS = 30.0, 3600.0
#: The file whose modification time records when erased examples were last dropped.
ERASURES_FILE = "erasures"
#: Seconds that features wait before they are written to disk; a killed server loses them.
FEATURE_STORE_REST = 1.0


def open_roots(storage: StorageGroup, local: Path, copies_bytes: int) -> StorageRoots:
    """Open the storage of artifacts.

    Args:
        storage: the settings.
        local: the folder of this process's own copies and uploads.
        copies_bytes: byte limit for local copies of a bucket's archives.
    """
    return open_storage_roots(
        storage.artifacts,
        storage.data_dir,
        copies_bytes=copies_bytes,
        local=local,
        own_database=storage.database is None,
    )


def open_database(
    storage: StorageGroup, roots: StorageRoots, closing: ExitStack, *, is_shared: bool
) -> Database:
    """Open the database, and check that the artifacts belong to it.

    An unavailable bucket is logged and checked later, because it may be available again soon.

    Args:
        storage: the settings.
        roots: the storage of the artifacts.
        closing: closes the database.
        is_shared: whether several processes of this server use the database, even if it is an SQLite file.
    """
    file = sqlite_file(storage.database_target)
    if file is not None and _is_new(file):
        _check_new(file, roots)
    database = _responding(storage, is_shared=is_shared)
    closing.callback(database.close)
    try:
        roots.check(database)
    except StorageUnavailable as error:
        log.warning("storage_check_failed", error=error.detail)
    return database


def _check_new(file: Path, roots: StorageRoots) -> None:
    """Check that there are no artifacts: their database was lost then, or is another one.

    SQLite would remove the log of the lost file when it creates the new one.
    """
    try:
        with suppress(StorageUnavailable):
            roots.check_unowned(str(file))
    except ForeignArtifactsError:
        # Another process of this server may have created it, and then the marker.
        if _is_new(file):
            raise


def _is_new(file: Path) -> bool:
    """Return whether an SQLite file is missing or empty."""
    try:
        return not file.stat().st_size
    except FileNotFoundError:
        return True


def _responding(storage: StorageGroup, *, is_shared: bool) -> Database:
    """Open the database; wait if it does not respond yet."""
    target = storage.database_target
    start, cause = time.monotonic(), ""
    while True:
        try:
            return Database(target, is_shared=is_shared)
        except DatabaseUnavailable as error:
            # The database and the server may be started together, in any order.
            most = BUSY_WAIT_SECONDS if error.is_busy else DATABASE_WAIT_SECONDS
            remedy = "Start the database, or correct --database."
            if error.is_busy:
                remedy = "Another server may be changing its tables: wait until it is ready."
            waited = time.monotonic() - start
            if waited > most:
                state = "is busy" if error.is_busy else "does not answer"
                raise OSError(
                    f"The database {state}: {error.detail.rstrip('.')}. Waited {most:.0f} seconds. {remedy}"
                ) from error
            if error.detail != cause:
                cause = error.detail
                log.warning(
                    "waiting_for_database", error=cause, remedy=remedy, wait_seconds=round(most - waited)
                )
            time.sleep(1.0)


def emptied(folder: Path) -> Path:
    """Create a folder, and remove the content that an earlier start left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_feature_store(
    storage: StorageGroup, telemetry: Telemetry, *, is_shared: bool
) -> FeatureStore | None:
    """Open the file of features; if the settings have none, remove the file of an earlier start.

    A replica that was stopped for long has missed erasures, so it begins with an empty file.
    """
    path = storage.data_dir / "features.sqlite3"
    if is_shared and _missed_erasures(storage.data_dir):
        delete(path)
    if storage.feature_cache_disk:
        return FeatureStore(
            path, storage.feature_cache_disk, telemetry.cache_writes_dropped, rest=FEATURE_STORE_REST
        )
    delete(path)
    return None


def note_erasures(data_dir: Path) -> None:
    """Record that this replica has dropped the features of all examples erased until now."""
    (data_dir / ERASURES_FILE).touch()


def _missed_erasures(data_dir: Path) -> bool:
    """Return whether the database may have deleted digests of erasures that this replica has not applied."""
    file = data_dir / ERASURES_FILE
    return not file.exists() or time.time() - file.stat().st_mtime > AGAIN_SECONDS / 2
