"""The backbones of a server and their queues; each is loaded on first use."""

import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import NoReturn, Protocol, TypeVar

import structlog

from headstart_server.backbones.contract.backbone import Backbone, BackboneInfo, Content, Modality
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.modality import default_backbone_for, default_for_kind
from headstart_server.embedding.queue import Lane
from headstart_server.embedding.waiters import Waiters
from headstart_server.errors import (
    NOT_STARTED,
    BackboneNotFound,
    BackboneUnavailable,
    Draining,
    HeadstartError,
    Loading,
)

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Minimum and maximum seconds after which a caller may retry while a backbone is being loaded.
LOADING_RETRY_SECONDS = 2.0
MAX_LOADING_RETRY_SECONDS = 15.0
#: Seconds during which calls fail with the error of a failed loading, before it is repeated.
FAILED_RETRY_SECONDS = 30.0
#: Seconds between two checks whether a caller that loads a backbone must stop.
CHECK_SECONDS = 0.1
#: Maximum number of loaded backbones that are not listed, because each keeps its threads.
MAX_UNLISTED = 64
#: Seconds without use after which one of them may be replaced, so that one caller cannot occupy all.
IDLE_SECONDS = 60.0


class BackboneSource(Protocol):
    """Source of backbones."""

    def list(self) -> Sequence[BackboneInfo]:
        """Return the metadata of every listed backbone, as far as known."""

    def info(self, name: str) -> BackboneInfo:
        """Return the metadata of one backbone, as far as known; it need not be listed."""

    def prepare(self, name: str) -> BackboneInfo:
        """Determine all metadata of a backbone; may take minutes the first time."""

    def load(self, name: str) -> Backbone:
        """Load a backbone and warm it up; takes seconds."""

    def remaining(self, name: str) -> float | None:
        """Estimate the seconds until a backbone is prepared; None if it is not being prepared."""

    def close(self) -> None:
        """Cancel preparations with `Draining`; loaded backbones stay."""


class BackbonePool:
    """The backbones of a server, with one `Embedder` for each loaded backbone.

    Args:
        source: lists, prepares and loads backbones.
        make_embedder: creates the queue and threads of a loaded backbone.
        default: name of the default backbone.
        waiters: calls that wait for a backbone.
        clock: monotonic seconds.

    Raises:
        BackboneNotFound: the default backbone does not exist.
    """

    def __init__(
        self,
        source: BackboneSource,
        make_embedder: Callable[[Backbone], Embedder],
        default: str,
        *,
        waiters: Waiters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._make_embedder = make_embedder
        self._loaded: dict[str, Embedder] = {}
        self._loading: dict[str, threading.Lock] = {}
        #: Loadings that callers with a checkpoint wait for.
        self._background: dict[str, concurrent.futures.Future[Embedder]] = {}
        self._waiters = waiters or Waiters()
        self._stopped = False
        #: Time of the last use of each backbone.
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()
        #: Error and time of the last failed loading of each backbone.
        self._failed: dict[str, tuple[Exception, float]] = {}
        self._clock = clock
        self.default = default
        source.info(default)

    def all_metadata(self) -> list[BackboneInfo]:
        """Return the metadata of all listed backbones, as far as known, sorted by name."""
        return sorted(self._source.list(), key=lambda info: info.name)

    def metadata(self, name: str) -> BackboneInfo:
        """Return the metadata of a backbone, as far as known; an empty name means the default."""
        return self._source.info(name or self.default)

    def request(self, name: str) -> BackboneInfo:
        """Return the metadata of a backbone, as far as known, and start to load it if it is not prepared.

        Raises:
            BackboneNotFound: the backbone does not exist.
            BackboneUnavailable: its preparation failed a moment ago.
            Loading: its preparation failed some time ago and is repeated.
            Draining: the server is stopping.
        """
        info = self.metadata(name)
        if not info.is_prepared:
            with nullcontext() if info.name in self._failed else suppress(Loading):
                self._start_loading(info.name)
        return info

    def prepared_metadata(self, name: str) -> BackboneInfo:
        """Return the complete metadata of a backbone; an empty name means the default.

        Raises:
            BackboneNotFound: the backbone does not exist.
            Loading: it is not prepared yet; its loading has started.
            BackboneUnavailable: its preparation failed.
        """
        info = self.metadata(name)
        if not info.is_prepared:
            self._start_loading(info.name)
        return info

    def prepared_default_for(self, content: Content) -> BackboneInfo:
        """Return the complete metadata of the default backbone for a content; see `prepared_metadata`."""
        return self.prepared_metadata(
            default_backbone_for(self.prepared_metadata(self.default), self._source.list(), content)
        )

    def default_for(self, content: Content) -> BackboneInfo:
        """Return the metadata of the default backbone for a content, as far as known."""
        return self.metadata(default_backbone_for(self.metadata(self.default), self._source.list(), content))

    def default_for_kind(self, kind: str) -> BackboneInfo:
        """Return the metadata of the default backbone for a kind of content: image, text or tensor."""
        return default_for_kind(self.metadata(self.default), self._source.list(), kind)

    def defaults(self) -> dict[Modality, str]:
        """Return the name of the default backbone of each modality."""
        default = self.metadata(self.default)
        found: dict[Modality, str] = {}
        for info in (default, *self._source.list()):
            found.setdefault(info.modality, info.name)
        return {modality: found[modality] for modality in Modality if modality in found}

    def problem(self, name: str) -> str:
        """Return the error of the last preparation or loading of a backbone; empty if it succeeded."""
        failed = self._failed.get(name)
        return _words(failed[0]) if failed else ""

    def loaded(self, name: str) -> Embedder | None:
        """Return the embedder of a backbone if it is loaded and warm."""
        return self._loaded.get(name or self.default)

    def all_loaded(self) -> list[Embedder]:
        """Return the embedders of all loaded backbones."""
        return list(self._loaded.values())

    def get(self, name: str) -> Embedder:
        """Return the embedder of a backbone without waiting; an empty name means the default.

        Raises:
            BackboneNotFound: the backbone does not exist.
            Loading: it is not loaded yet; its loading has started.
            BackboneUnavailable: its loading failed.
        """
        name = name or self.default
        embedder = self._loaded.get(name)
        if embedder is None:
            self._start_loading(self.metadata(name).name)
        self._used[name] = self._clock()
        return embedder

    async def ready(self, look: Callable[[], T], nbytes: Callable[[], int] | None) -> T:
        """Return the result of a look-up, waiting while a backbone that it needs is prepared or loaded.

        Args:
            look: a look-up such as `get` or `prepared_metadata`; repeated after it raised `Loading`.
            nbytes: returns the bytes that the call holds while it waits; None for the server's own look-ups,
                which may always wait.

        Raises:
            Loading: too many calls wait already.
            Draining: the server is stopping.
            BackboneUnavailable: a backbone cannot be prepared or loaded.
        """
        try:
            return look()
        except Loading as loading:
            first = loading

        async def work() -> T:
            return look()

        return await self._wait_until_ready(first, work, nbytes)

    async def when_ready(self, work: Callable[[], Awaitable[T]], nbytes: Callable[[], int] | None) -> T:
        """Like `ready`, for an awaitable look-up, which must change nothing before it raises `Loading`."""
        try:
            return await work()
        except Loading as loading:
            first = loading
        return await self._wait_until_ready(first, work, nbytes)

    async def _wait_until_ready(
        self, first: Loading, work: Callable[[], Awaitable[T]], nbytes: Callable[[], int] | None
    ) -> T:
        name = first.metadata["backbone"]
        with nullcontext() if nbytes is None else self._waiters.place(nbytes(), first):
            while True:
                # Registered before the look-up, so that a loading that ends in between is not missed.
                with self._waiters.end_of_loading(name) as ended:
                    try:
                        return await work()
                    except Loading as loading:
                        if loading.metadata["backbone"] == name:
                            await ended
                        name = loading.metadata["backbone"]

    def load(self, name: str, checkpoint: Callable[[], None] | None = None) -> Embedder:
        """Return the embedder of a backbone, loading it if necessary; an empty name means the default.

        Args:
            checkpoint: called while the backbone is being loaded; if it raises, the loading continues
                without the caller.
        """
        name = self.metadata(name).name
        if checkpoint is None or name in self._loaded:
            return self._load(name)
        loading = self._load_in_background(name)
        while not concurrent.futures.wait([loading], CHECK_SECONDS).done:
            checkpoint()
        return loading.result()

    def _load_in_background(self, name: str) -> "concurrent.futures.Future[Embedder]":
        """Load a backbone in one thread, which all callers share."""
        with self._lock:
            known = self._background.get(name)
            if known is not None:
                return known
            loading = self._background[name] = concurrent.futures.Future()

        def load() -> None:
            try:
                embedder = self._load(name)
            except BaseException as error:  # noqa: BLE001 - raised by the callers
                fail(error)
            else:
                self._background.pop(name, None)
                loading.set_result(embedder)

        def fail(error: BaseException) -> None:
            self._background.pop(name, None)
            loading.set_exception(error)

        try:
            threading.Thread(target=load, name=f"load-{name}", daemon=True).start()
        except RuntimeError as error:
            # The process cannot start another thread.
            fail(error)
        return loading

    def _load(self, name: str) -> Embedder:
        with self._waking(name), self._loading_lock(name), self._remembering(name):
            if name not in self._loaded:
                self._loaded[name] = self._make_embedder(self._source.load(name))
            self._used[name] = self._clock()
            return self._loaded[name]

    def prepare_all(self) -> None:
        """Prepare every backbone that is not prepared; failures are reported where backbones are listed."""
        for info in self.all_metadata():
            if not info.is_prepared:
                with suppress(Exception):
                    self.prepare(info.name)

    def prepare(self, name: str) -> BackboneInfo:
        """Prepare a backbone and return all its metadata; may take minutes the first time."""
        with self._waking(name), self._loading_lock(name), self._remembering(name):
            return self._source.prepare(name)

    def stop_loading(self) -> None:
        """Cancel preparations and waits, and load nothing more; loaded backbones stay."""
        self._stopped = True
        self._source.close()
        self._waiters.wake_all()

    def close(self) -> None:
        """Cancel preparations and close every embedder."""
        self.stop_loading()
        for embedder in self.all_loaded():
            embedder.close()

    def _start_loading(self, name: str) -> NoReturn:
        """Load a backbone in a thread and raise `Loading`, or raise the error of a recent failure."""
        failed = self._failed.get(name)
        if failed and self._clock() - failed[1] < FAILED_RETRY_SECONDS:
            raise BackboneUnavailable(_words(failed[0]), metadata={"backbone": name}) from failed[0]
        if self._stopped:
            raise Draining(
                "The server is stopping and loads no backbones. Try again at another replica.",
                metadata=dict([NOT_STARTED]),
            )
        if not self._loading_lock(name).locked():
            threading.Thread(
                target=self._load_quietly, args=(name,), name=f"load-{name}", daemon=True
            ).start()
        raise self._loading_error(name)

    def _loading_error(self, name: str) -> Loading:
        left = self._source.remaining(name)
        state = "loaded" if left is None else f"prepared, for about {left:.0f} more seconds"
        retry = min(max(left or 0.0, LOADING_RETRY_SECONDS), MAX_LOADING_RETRY_SECONDS)
        return Loading(
            f"Backbone '{name}' is being {state}. Try again in {retry:.0f} seconds.",
            metadata={"backbone": name},
            retry_after=retry,
        )

    @contextmanager
    def _waking(self, name: str) -> Iterator[None]:
        """Wake the calls that wait for a backbone after its lock is released."""
        try:
            yield
        finally:
            self._waiters.wake(name)

    def _loading_lock(self, name: str) -> threading.Lock:
        listed = {info.name for info in self._source.list()}
        left = None
        with self._lock:
            unlisted = self._loading.keys() - listed
            if name not in listed and name not in unlisted and len(unlisted) >= MAX_UNLISTED:
                idle = self._longest_idle(unlisted)
                if idle is None:
                    # Their names are not disclosed: other tenants use them.
                    raise BackboneNotFound(
                        f"The server already uses {MAX_UNLISTED} unlisted backbones, so it cannot load "
                        f"'{name}'. Use a listed backbone, or try again when one of them was not used for "
                        f"{IDLE_SECONDS:.0f} seconds.",
                        metadata={"backbone": name},
                        retry_after=IDLE_SECONDS,
                    )
                del self._loading[idle]
                self._used.pop(idle, None)
                left = self._loaded.pop(idle, None)
            lock = self._loading.setdefault(name, threading.Lock())
        if left is not None:
            # Its threads end after their current items. A job that used it continues later.
            threading.Thread(target=left.close, name=f"close-{name}", daemon=True).start()
        return lock

    def _longest_idle(self, names: Iterable[str]) -> str | None:
        """Return the backbone that was idle for longest; None if none was for `IDLE_SECONDS`."""
        now = self._clock()
        idle = [
            (self._used.get(name, 0.0), name)
            for name in names
            if now - self._used.get(name, float("-inf")) >= IDLE_SECONDS
            and not self._loading[name].locked()
            and ((embedder := self._loaded.get(name)) is None or _is_idle(embedder))
        ]
        return min(idle)[1] if idle else None

    def _load_quietly(self, name: str) -> None:
        # It has no caller to raise to; the next call raises the error.
        with suppress(Exception):
            self.load(name)

    @contextmanager
    def _remembering(self, name: str) -> Iterator[None]:
        try:
            yield
        except (Draining, Loading):
            # The backbone is not at fault.
            raise
        except Exception as error:
            self._failed[name] = error, self._clock()
            log.error("backbone_load_failed", backbone=name, error=_words(error))
            log.debug("backbone_load_failed", backbone=name, exc_info=True)
            raise
        self._failed.pop(name, None)


def _is_idle(embedder: Embedder) -> bool:
    return not embedder.pending and not any(map(embedder.waiting, Lane))


def _words(error: Exception) -> str:
    return error.message if isinstance(error, HeadstartError) else f"{type(error).__name__}: {error}"
