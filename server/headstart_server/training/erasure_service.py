"""Erases examples, and replaces the versions that were trained on them."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager

import structlog

from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, ErasureRequest, RebuiltVersion
from headstart_server.datasets.example_eraser import Erasure, ExampleEraser
from headstart_server.datasets.example_finder import FoundExample
from headstart_server.errors import Draining, HeadstartError, ServiceUnavailable, StorageFull
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.models.version import Version
from headstart_server.training.successor_publisher import SuccessorPublisher
from headstart_server.training.version_rebuilder import RebuiltHead, VersionRebuilder

log = structlog.get_logger(__name__)

_DELETED = RebuiltVersion(
    head_digest="", dataset_digest="", skipped_reason="The version was deleted before it was replaced."
)
#: Maximum searches for versions that were published while others were replaced.
MAX_ROUNDS = 10


class ErasureService:
    """Erases examples. An erasure that was interrupted continues with the next call, or with `resume`.

    Args:
        threads: number of successors that are fitted concurrently.
        executor: returns an executor with so many threads.
        turn: lock of the running erasure; None for a lock between threads.
    """

    def __init__(
        self,
        eraser: ExampleEraser,
        erasures: ErasureLog,
        rebuilder: VersionRebuilder,
        publisher: SuccessorPublisher,
        *,
        threads: int,
        executor: Callable[[int], Executor] = lambda threads: ThreadPoolExecutor(threads, "erase"),
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._eraser = eraser
        self._erasures = erasures
        self._rebuilder = rebuilder
        self._publisher = publisher
        self._threads = threads
        self._executor = executor
        self._turn = turn or threading.Lock()
        self._closed = threading.Event()

    def erase(self, request: ErasureRequest, *, rebuild: bool) -> tuple[Erasure, ErasureRecord | None]:
        """Erase an example; with `rebuild` also replace the versions that were trained on it.

        Returns:
            The search result, or with `rebuild` the complete erasure.

        Raises:
            ServiceUnavailable: the database or the bucket is unavailable; a repeated call continues.
        """
        if not rebuild:
            return self._eraser.erase(request.example_id, request.model, request.scope), None
        record = self._erasures.find(request)
        found = None
        if record is None:
            found, erasure_id = self._eraser.begin(request, self._erasures)
            record = self._erasures.get(erasure_id)
        if record.finished is None:
            record = self._complete(record, found)
        erasure = Erasure(
            versions=sorted(record.versions),
            unread=found.unread if found else (),
            job_ids=found.job_ids if found else (),
            contents=record.contents,
        )
        return erasure, record

    def resume(self) -> int:
        """Complete the erasures that were interrupted, and return their number.

        One that fails unexpectedly does not stop the others. Raise ServiceUnavailable or StorageFull if a
        storage is unavailable or full.
        """
        unfinished = self._erasures.unfinished()
        for erasure_id in unfinished:
            try:
                self._complete(self._erasures.get(erasure_id))
            except Draining:
                continue
            except (ServiceUnavailable, StorageFull):
                raise
            except Exception:
                log.exception("erasure_failed", erasure_id=erasure_id)
        return len(unfinished)

    def close(self) -> None:
        """Stop fitting; the next start continues the erasures."""
        self._closed.set()

    def _complete(self, record: ErasureRecord, found: FoundExample | None = None) -> ErasureRecord:
        with self._turn:
            record = self._erasures.get(record.erasure_id)
            if record.finished is not None:
                return record
            try:
                self._replace_pending(record.erasure_id, found)
            finally:
                self._rebuilder.forget()
                self._publisher.finish()
            self._eraser.forget_digests()
            record = self._erasures.finish(record.erasure_id)
        log.info("versions_rebuilt", versions=len(record.versions), contents=record.contents)
        return record

    def _replace_pending(self, erasure_id: str, found: FoundExample | None) -> None:
        record = self._erasures.get(erasure_id)
        for _ in range(MAX_ROUNDS):
            # A job that had read the example may have published a version before it was excluded.
            self._erasures.add_versions(erasure_id, self._eraser.exclude(record.request, found))
            found = None
            record = self._erasures.get(erasure_id)
            if not record.pending:
                break
            self._replace_all(record)

    def _replace_all(self, record: ErasureRecord) -> None:
        results = {key: result for key, result in record.versions.items() if result is not None}
        for version, rebuilt in self._rebuilt(record.pending):
            parent = results.get((version.model, version.manifest.parent))
            result = self._replaced(record.erasure_id, version, rebuilt, parent)
            if result is not None:
                results[version.model, version.number] = result
        for key in record.pending:
            if key not in results and self._rebuilder.version(*key) is None:
                self._erasures.skip(record.erasure_id, *key, _DELETED)

    def _replaced(
        self,
        erasure_id: str,
        version: Version,
        rebuilt: RebuiltHead | HeadstartError,
        parent: RebuiltVersion | None,
    ) -> RebuiltVersion | None:
        """Publish a successor, or store the reason for none; return None if the version was deleted."""
        while not isinstance(rebuilt, HeadstartError):
            try:
                return self._publisher.publish(erasure_id, version, rebuilt, parent)
            except ExampleErasedError:
                # Another erasure began while it was fitted.
                rebuilt = self._rebuild(version)
        result = _skipped(version, rebuilt.message)
        self._erasures.skip(erasure_id, version.model, version.number, result)
        return result

    def _rebuilt(
        self, pending: Sequence[tuple[str, int]]
    ) -> Iterator[tuple[Version, RebuiltHead | HeadstartError]]:
        """Yield versions in order with their successors; several threads fit a few ahead."""
        with self._executor(self._threads) as pool:
            waiting: deque[tuple[Version, Future[RebuiltHead | HeadstartError]]] = deque()
            try:
                for model, number in pending:
                    version = self._rebuilder.version(model, number)
                    if version is None:
                        # It was deleted; `_replace_all` records that.
                        continue
                    waiting.append((version, pool.submit(self._rebuild, version)))
                    if len(waiting) > 2 * self._threads:
                        version, future = waiting.popleft()
                        yield version, future.result()
                while waiting:
                    version, future = waiting.popleft()
                    yield version, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _rebuild(self, version: Version) -> RebuiltHead | HeadstartError:
        while True:
            try:
                return self._rebuilder.rebuild(version, self._checkpoint)
            except ExampleErasedError:
                # Another erasure erased it; the next fit excludes it.
                continue
            except (ServiceUnavailable, StorageFull):
                raise
            except HeadstartError as error:
                if error.retry_after is not None:
                    raise
                return error

    def _checkpoint(self) -> None:
        if self._closed.is_set():
            raise Draining(
                "The server is stopping. Repeat the call to continue the erasure.", retry_after=1.0
            )


def _skipped(version: Version, reason: str) -> RebuiltVersion:
    return RebuiltVersion(
        head_digest=version.manifest.head_digest,
        dataset_digest=version.manifest.dataset_digest,
        skipped_reason=reason,
    )
