"""Features on disk, written by a background thread; failures never reach callers."""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import structlog

from headstart_server.embedding.feature_file import FeatureFile
from headstart_server.embedding.feature_rows import Key, Vectors
from headstart_server.embedding.sqlite_file import FAULTS, delete, described, is_damage

log = structlog.get_logger(__name__)

#: Maximum number of queued features, about 17 MB for the default backbone.
MAX_WAITING = 2048
#: Maximum number of queued marks of use; further marks are lost.
MAX_TOUCHED = 8192
#: Resets of the file after which the disk is considered faulty.
MAX_BEGINNINGS = 10
#: Features per write.
BATCH = 128


class FeatureStore:
    """Stores features in a file of limited size. Safe to use from many threads.

    It is a cache, so faults of the file make features missing, never wrong, and never raise. A damaged file
    is replaced. When the disk is full or fails, nothing is written until the next start.

    Args:
        path: the file, created if necessary.
        max_bytes: maximum bytes of the file, at least `feature_file.MIN_BYTES`.
        dropped: receives the number of features lost because too many waited or the disk failed.
        rest: seconds that a feature waits so that others can be written with it.
    """

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        dropped: Callable[[int], None] = lambda _: None,
        *,
        rest: float = 0.0,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._dropped = dropped
        self._rest = rest
        # Held while the file is written or replaced. The other lock, which `put` takes, is held only briefly.
        self._turn = threading.RLock()
        self._changed = threading.Condition()
        self._waiting: dict[Key, Vectors] = {}
        self._touched: set[Key] = set()
        self._closed = False
        self._beginnings = 0
        self._writable = True
        self._file: FeatureFile | None = None
        try:
            self._file = FeatureFile(path, max_bytes)
        except FAULTS as error:
            self._reset(error)
        self._thread = threading.Thread(target=self._write_repeatedly, name="feature-store", daemon=True)
        self._thread.start()

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        file = self._file
        return 0 if file is None else file.nbytes

    @property
    def waiting(self) -> int:
        """Number of features that wait to be written."""
        return len(self._waiting)

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the stored features of contents on a backbone, by digest."""
        with self._changed:
            keys = {digest: (backbone, digest) for digest in digests}
            found = {digest: self._waiting[key] for digest, key in keys.items() if key in self._waiting}
        # Read after the queue, because rows are in the file before they leave the queue.
        file = self._file
        if file is None:
            return found
        try:
            stored, damaged = file.get_many(backbone, [digest for digest in keys if digest not in found])
        except FAULTS as error:
            self._fail(file, error, reading=True)
            return found
        if damaged:
            log.warning("feature_rows_corrupted", path=str(self._path), rows=len(damaged))
            self.remove(damaged, backbone)
        self.touch(backbone, stored)
        return found | stored

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Queue read-only features to be written; they are dropped if too many wait."""
        key = (backbone, digest)
        with self._changed:
            taken = self._writable and (len(self._waiting) < MAX_WAITING or key in self._waiting)
            if taken:
                self._waiting[key] = vectors
                self._changed.notify()
        if not taken:
            self._dropped(1)

    def touch(self, backbone: str, digests: Collection[str]) -> None:
        """Mark features as used, in whichever tier they were found."""
        with self._changed:
            if len(self._touched) < MAX_TOUCHED:
                self._touched.update((backbone, digest) for digest in digests)

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the features of contents, of one backbone or of all; a restart does not restore them."""
        gone = set(digests)
        with self._turn:
            with self._changed:
                for key in [key for key in self._waiting if key[1] in gone and backbone in (None, key[0])]:
                    del self._waiting[key]
            file = self._file
            try:
                if file is None:
                    delete(self._path)
                else:
                    file.remove(gone, backbone)
            except FAULTS as error:
                # Losing all features is better than returning removed ones.
                self._reset(error)

    def close(self, timeout: float = 5.0) -> None:
        """Write queued features for at most some seconds, and close the file."""
        with self._changed:
            self._closed, self._writable = True, False
            self._changed.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            # The thread ends with the process, or after its current rows.
            self._drop_waiting("feature_store_flush_failed")
            return
        with self._turn:
            self._replace_file(None)

    # The writer

    def _write_repeatedly(self) -> None:
        # There is nothing to write yet, but a limit that was lowered since the last start must be applied.
        self._write_some()
        while self._await_work():
            self._write_some()

    def _await_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if len(self._waiting) < BATCH:
                # Writing competes with computing features for CPU time. Waiting avoids delaying a short job.
                self._changed.wait_for(self._is_urgent, self._rest)
            # Marks of use are written with the next rows, because nothing is evicted until then. Meanwhile
            # all waiting features may have been removed.
            return not self._closed or bool(self._waiting or self._touched)

    def _is_urgent(self) -> bool:
        return self._closed or len(self._waiting) >= MAX_WAITING // 4

    def _write_some(self) -> None:
        with self._turn:
            with self._changed:
                rows = dict(islice(self._waiting.items(), BATCH))
                touched, self._touched = self._touched, set()
            written = self._write(rows, touched)
            with self._changed:
                # The key may have another value by now.
                done = [key for key, vectors in rows.items() if self._waiting.get(key) is vectors]
                for key in done:
                    del self._waiting[key]
        if not written:
            self._dropped(len(done))

    def _write(self, rows: Mapping[Key, Vectors], touched: Collection[Key]) -> bool:
        file = self._file
        if file is None:
            return False
        try:
            file.touch(touched)
            file.put(rows)
        except Exception as error:  # noqa: BLE001 - this thread has no caller to raise to
            self._fail(file, error, reading=False)
            # Retried with the file that replaced a damaged one, if there is one.
            return self._file is not file and self._write(rows, touched)
        return True

    # Faults

    def _fail(self, file: FeatureFile, error: Exception, *, reading: bool) -> None:
        with self._turn:
            if file is not self._file:
                # Another thread has handled the fault.
                return
            if isinstance(error, FAULTS) and is_damage(error, reading=reading):
                self._reset(error)
            elif reading:
                self._switch_off(error)
            else:
                self._writable = False
                self._drop_waiting("feature_store_read_only", error)

    def _reset(self, error: Exception) -> None:
        self._replace_file(None)
        try:
            delete(self._path)
            if self._beginnings < MAX_BEGINNINGS:
                self._beginnings += 1
                self._replace_file(FeatureFile(self._path, self._max_bytes))
                log.warning("feature_store_reset", path=str(self._path), error=described(error))
                return
        except FAULTS as fault:
            error = fault
        self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self._writable = False
        self._drop_waiting("feature_store_disabled", error)
        self._replace_file(None)

    def _drop_waiting(self, event: str, error: Exception | None = None) -> None:
        with self._changed:
            count = len(self._waiting)
            self._waiting.clear()
        self._dropped(count)
        message = described(error) if error else ""
        log.warning(event, path=str(self._path), error=message, dropped=count)

    def _replace_file(self, file: FeatureFile | None) -> None:
        before, self._file = self._file, file
        if before is not None:
            # A damaged file, or a file on a failing disk, need not be closed cleanly.
            with suppress(*FAULTS):
                before.close()
