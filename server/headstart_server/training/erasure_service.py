"""Erases examples, and replaces the versions that were trained on them."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import structlog

from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, ErasureRequest, RebuiltVersion
from headstart_server.datasets.example_eraser import Erasure, ExampleEraser
from headstart_server.datasets.example_finder import FoundExample
from headstart_server.errors import (
    CrashedRepeatedly,
    Draining,
    HeadstartError,
    ServiceUnavailable,
    StorageFull,
)
from headstart_server.jobs.recovery import MAX_CRASHES
from headstart_server.jobs.reservations import Reservations
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.jobs.workers import time_limit_error
from headstart_server.models.version import Version
from headstart_server.storage.attempts import Attempts
from headstart_server.training.successor_publisher import SuccessorPublisher
from headstart_server.training.version_rebuilder import RebuiltHead, VersionRebuilder

log = structlog.get_logger(__name__)

_DELETED = RebuiltVersion(
    head_digest="", dataset_digest="", skipped_reason="The version was deleted before it was replaced."
)
_REMEDY = "Delete the version, or fine-tune again without the example."
#: Maximum searches for versions that were published while others were replaced.
MAX_ROUNDS = 10
#: Seconds between two checks whether another process has fitted a version.
CLAIM_SECONDS = 0.5

_T = TypeVar("_T")


class _EndedError(Exception):
    """Another version of the erasure failed, so the fits in progress end. Only waiting threads raise it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitLimits:
    """Limits of the fits of a process."""

    threads: int  # maximum successors that are fitted concurrently
    reservations: Reservations = field(default_factory=Reservations)  # memory of the process
    seconds: float = float("inf")  # time after which a fit fails


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How erasures run and wait; a simulation has others."""

    # returns an executor with so many threads
    executor: Callable[[int], Executor] = lambda threads: ThreadPoolExecutor(threads, "erase")
    turn: AbstractContextManager[object] = field(
        default_factory=threading.Lock
    )  # lock of the running erasure
    # waits for the given seconds; None waits until `close`, at most as long
    wait: Callable[[float], object] | None = None
    clock: Callable[[], float] = time.monotonic


class ErasureService:
    """Erases examples. An erasure that was interrupted continues with the next call, or with `resume`.

    Args:
        claims: claims of versions for this process.
    """

    def __init__(
        self,
        eraser: ExampleEraser,
        erasures: ErasureLog,
        rebuilder: VersionRebuilder,
        publisher: SuccessorPublisher,
        claims: ErasureClaims,
        *,
        limits: FitLimits,
        execution: Execution | None = None,
    ) -> None:
        self._eraser = eraser
        self._erasures = erasures
        self._rebuilder = rebuilder
        self._publisher = publisher
        self._claims = claims
        self._limits = limits
        self._execution = execution or Execution()
        self._resumptions = Attempts()
        self._closed = threading.Event()
        self._wait = self._execution.wait or self._closed.wait
        self._running: str | None = None
        # Interrupted erasures whose claims may be left, because the database was unavailable.
        self._interrupted = set[str]()

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

        One that fails does not stop the others. At the end, raise ServiceUnavailable or StorageFull if a
        storage was unavailable or full.
        """
        unfinished = self._erasures.unfinished()
        self._resumptions.run_all(unfinished, self._resume)
        return len(unfinished)

    def _resume(self, erasure_id: str) -> None:
        try:
            self._complete(self._erasures.get(erasure_id))
        except Draining:
            return
        except (ServiceUnavailable, StorageFull):
            raise
        except Exception:
            log.exception("erasure_failed", erasure_id=erasure_id)

    def close(self) -> None:
        """Stop fitting; the next start continues the erasures."""
        self._closed.set()

    def release(self) -> None:
        """Release the claims of interrupted erasures, because this process has not crashed."""
        for erasure_id in (*self._interrupted, *([self._running] if self._running else [])):
            self._claims.release(erasure_id)
            self._interrupted.discard(erasure_id)

    def _complete(self, record: ErasureRecord, found: FoundExample | None = None) -> ErasureRecord:
        with self._execution.turn:
            # Otherwise two processes could wait for each other's claims.
            self.release()
            record = self._erasures.get(record.erasure_id)
            if record.finished is not None:
                return record
            self._running = record.erasure_id
            try:
                self._replace_pending(record.erasure_id, found)
                # Otherwise a certificate would be returned for heads that are still stored.
                self._publisher.remove_replaced(self._erasures.get(record.erasure_id))
            except Exception:
                self._interrupted.add(record.erasure_id)
                with suppress(ServiceUnavailable, StorageFull):
                    self.release()
                raise
            finally:
                self._running = None
                self._rebuilder.forget()
                self._publisher.finish()
            # Before the log of SQLite is emptied with the digests.
            self._erasures.forget_found(record.erasure_id)
            self._eraser.follower.forget_digests()
            record = self._erasures.finish(record.erasure_id)
        log.info("versions_rebuilt", versions=len(record.versions), contents=record.contents)
        return record

    def _replace_pending(self, erasure_id: str, found: FoundExample | None) -> None:
        record = self._erasures.get(erasure_id)
        for _ in range(MAX_ROUNDS):
            # A job that had read the example may have published a version before it was excluded.
            self._erasures.add_versions(erasure_id, self._eraser.exclude(record, self._erasures, found))
            found = None
            record = self._erasures.get(erasure_id)
            if not record.pending:
                break
            self._replace_all(record)

    def _replace_all(self, record: ErasureRecord) -> None:
        results = {key: result for key, result in record.versions.items() if result is not None}
        for key, rebuilt in self._rebuilt(record):
            results[key] = self._replaced(record, key, rebuilt, results)

    def _replaced(
        self,
        record: ErasureRecord,
        key: tuple[str, int],
        rebuilt: "_Successor | RebuiltVersion",
        results: Mapping[tuple[str, int], RebuiltVersion],
    ) -> RebuiltVersion:
        """Publish a successor, or store the reason for none."""
        while isinstance(rebuilt, _Successor):
            version = rebuilt.version
            parent = results.get((version.model, version.manifest.parent))
            publish = partial(self._publisher.publish, record.erasure_id, version, rebuilt.head, parent)
            try:
                published = self._attempt(key, version, publish)
            except ExampleErasedError:
                # Another erasure began while it was fitted.
                rebuilt = self._rebuild(record, key, self.check_open)
                continue
            if published is not None and published.number:
                return published
            rebuilt = published or _DELETED
        # Nothing changes if another process has stored a result.
        self._erasures.skip(record.erasure_id, *key, rebuilt)
        return rebuilt

    def _rebuilt(
        self, record: ErasureRecord
    ) -> Iterator[tuple[tuple[str, int], "_Successor | RebuiltVersion"]]:
        """Yield the pending versions in order with their successors; several threads fit a few ahead.

        After a crash each is fitted and published before the next one, so that only one is suspected.
        """
        ahead = 0 if record.suspected else 2 * self._limits.threads
        ended = threading.Event()

        def checkpoint() -> None:
            self.check_open()
            if ended.is_set():
                raise _EndedError

        with self._execution.executor(self._limits.threads) as pool:
            waiting: deque[tuple[tuple[str, int], Future[_Successor | RebuiltVersion]]] = deque()
            try:
                for key in record.pending:
                    waiting.append((key, pool.submit(self._rebuild, record, key, checkpoint)))
                    if len(waiting) > ahead:
                        done, future = waiting.popleft()
                        yield done, future.result()
                while waiting:
                    done, future = waiting.popleft()
                    yield done, future.result()
            finally:
                # Otherwise a thread could wait here for another process that waits for this one's claims.
                ended.set()
                for _, future in waiting:
                    future.cancel()

    def _rebuild(
        self, record: ErasureRecord, key: tuple[str, int], checkpoint: Callable[[], None]
    ) -> "_Successor | RebuiltVersion":
        """Return the successor of a version, or its result if it has or gets none from this process.

        Args:
            checkpoint: called while it waits and fits; may raise to stop.
        """
        version = self._attempt(key, None, partial(self._rebuilder.version, *key))
        if not isinstance(version, Version):
            return version or _DELETED
        fit = partial(self._fitted, record, version, checkpoint, is_suspected=key in record.suspected)
        while True:
            checkpoint()
            found = self._attempt(key, version, fit)
            if found is not None:
                return found
            self._wait(CLAIM_SECONDS)

    def _fitted(
        self,
        record: ErasureRecord,
        version: Version,
        checkpoint: Callable[[], None],
        *,
        is_suspected: bool,
    ) -> "_Successor | RebuiltVersion | None":
        """Fit a version once there is memory for it; return None while another process fits it."""
        place = (record.erasure_id, version.model, version.number)
        found = self._claims.preview(*place)
        if not found.is_mine:
            return found.result
        nbytes = self._rebuilder.estimated_bytes(version)
        # At least a byte, so that a suspected job does not start next to it.
        with self._limits.reservations.reserve(max(1, nbytes), checkpoint, alone=is_suspected):
            claim = self._claims.claim(*place)
            if not claim.is_mine:
                return claim.result
            if claim.crashes >= MAX_CRASHES:
                raise CrashedRepeatedly(
                    f"The server's process ended {claim.crashes} times while it fitted the version. {_REMEDY}"
                )
            limited = self._limited(checkpoint)
            while True:
                # Another erasure may erase an example meanwhile; the next fit excludes it.
                with suppress(ExampleErasedError):
                    return _Successor(version, self._rebuilder.rebuild(version, limited))

    def _attempt(
        self, key: tuple[str, int], version: Version | None, work: Callable[[], _T]
    ) -> _T | RebuiltVersion:
        """Do some work for a version; return its result, or the reason for which the version is skipped.

        Raises:
            HeadstartError: a storage is unavailable or full, or the server stops: a later call continues.
            ExampleErasedError: an example was erased meanwhile.
        """
        try:
            return work()
        except (ExampleErasedError, ServiceUnavailable, StorageFull, _EndedError):
            raise
        except HeadstartError as error:
            if error.retry_after is not None:
                raise
            return _skipped(version, error.message)
        except MemoryError:
            log.exception("rebuild_failed", model=key[0], version=key[1])
            return _skipped(version, f"Its fit ran out of memory. {_REMEDY}")
        except Exception:
            # Objects that it uses may be closed.
            self.check_open()
            fault = uuid.uuid4().hex
            log.exception("rebuild_failed", fault=fault, model=key[0], version=key[1])
            return _skipped(version, f"A fault of the server; its log has id {fault}. {_REMEDY}")

    def _limited(self, checkpoint: Callable[[], None]) -> Callable[[], None]:
        """Return a checkpoint that also raises JobTimeLimit when the time of a job is over."""
        late = self._execution.clock() + self._limits.seconds

        def limited() -> None:
            checkpoint()
            if self._execution.clock() >= late:
                raise time_limit_error("Its fit", self._limits.seconds)

        return limited

    def check_open(self) -> None:
        """Raise Draining if the server is stopping."""
        if self._closed.is_set():
            raise Draining(
                "The server is stopping. Repeat the call to continue the erasure.", retry_after=1.0
            )


@dataclass(frozen=True, slots=True)
class _Successor:
    """A version with its fitted successor."""

    version: Version
    head: RebuiltHead


def _skipped(version: Version | None, reason: str) -> RebuiltVersion:
    """Return the result of a version that is not replaced; None for a version that cannot be read."""
    return RebuiltVersion(
        head_digest="" if version is None else version.manifest.head_digest,
        dataset_digest="" if version is None else version.manifest.dataset_digest,
        skipped_reason=reason,
    )
