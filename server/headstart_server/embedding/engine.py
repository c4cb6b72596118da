"""The loaded backbones of this server, each with its queue, loaded when first asked for."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import NoReturn, Protocol, TypeVar

import structlog

from headstart_server.backbones.backbone import Backbone, BackboneInfo, Content, Modality
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

#: Seconds after which a caller may try again for a backbone that is being loaded: at least and at most.
LOADING_RETRY_SECONDS = 2.0
MAX_LOADING_RETRY_SECONDS = 15.0
#: Seconds for which callers are told why a backbone could not be loaded before that is tried again.
FAILED_RETRY_SECONDS = 30.0
#: Backbones that are loaded without being listed: each keeps threads of its own.
MAX_UNLISTED = 64
#: Seconds without use after which one of them makes room for another: or one caller could have them all.
IDLE_SECONDS = 60.0


class BackboneSource(Protocol):
    """Where backbones come from."""

    def list(self) -> Sequence[BackboneInfo]:
        """The facts of every backbone there is, as far as they are known."""

    def info(self, name: str) -> BackboneInfo:
        """The facts of one, as far as they are known; there are families whose members are not listed.

        Raises:
            BackboneNotFound: there is none of this name.
        """

    def prepare(self, name: str) -> BackboneInfo:
        """Learn all facts of one; may take minutes the first time."""

    def load(self, name: str) -> Backbone:
        """Load one, ready and warm; takes seconds."""

    def remaining(self, name: str) -> float | None:
        """Estimate the seconds until one is prepared; None if it is not being prepared."""

    def close(self) -> None:
        """End what is being prepared at once, with `Draining`; what is loaded stays."""


class BackbonePool:
    """Hands out an `Embedder` for each backbone.

    Args:
        source: where backbones come from.
        make_embedder: gives a loaded backbone its queue and threads.
        default: name of the backbone that is meant where none is named.
        waiters: the calls that wait for a backbone.
        clock: seconds that only go up.

    Raises:
        BackboneNotFound: there is no backbone of the default's name.
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
        self._waiters = waiters or Waiters()
        self._stopped = False
        #: When each was last asked for.
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()
        #: Why the last loading of a backbone failed, and when.
        self._failed: dict[str, tuple[Exception, float]] = {}
        self._clock = clock
        self.default = default
        source.info(default)

    def all_metadata(self) -> list[BackboneInfo]:
        """The facts of every backbone, as far as they are known, by name."""
        return sorted(self._source.list(), key=lambda info: info.name)

    def metadata(self, name: str) -> BackboneInfo:
        """The facts of a backbone as far as they are known; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
        """
        return self._source.info(name or self.default)

    def request(self, name: str) -> BackboneInfo:
        """Return the facts of a backbone as far as they are known, and start to load it if they are not.

        Args:
            name: its name; empty for the default.

        Raises:
            BackboneNotFound: there is none of this name.
            BackboneUnavailable: it could not be prepared a moment ago.
            Loading: it could not be prepared some time ago, and is prepared again.
            Draining: the server stops.
        """
        info = self.metadata(name)
        if not info.is_prepared:
            with nullcontext() if info.name in self._failed else suppress(Loading):
                self._start_loading(info.name)
        return info

    def prepared_metadata(self, name: str) -> BackboneInfo:
        """The facts of a backbone; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
            Loading: they are not known yet; asking starts its loading.
            BackboneUnavailable: they could not be learnt.
        """
        info = self.metadata(name)
        if not info.is_prepared:
            self._start_loading(info.name)
        return info

    def prepared_default_for(self, content: Content) -> BackboneInfo:
        """The facts of the backbone that is meant for such content where none is named.

        Raises:
            BackboneNotFound: there is none that takes it.
            Loading: they are not known yet; asking starts its loading.
            BackboneUnavailable: they could not be learnt.
        """
        return self.prepared_metadata(
            default_backbone_for(self.prepared_metadata(self.default), self._source.list(), content)
        )

    def default_for(self, content: Content) -> BackboneInfo:
        """Return the facts of the default backbone for such content, as far as they are known.

        Raises:
            BackboneNotFound: there is none that takes it.
        """
        return self.metadata(default_backbone_for(self.metadata(self.default), self._source.list(), content))

    def default_for_kind(self, kind: str) -> BackboneInfo:
        """The facts, as far as they are known, of the default, or else the first backbone that takes a kind.

        Args:
            kind: image, text or tensor.
        """
        return default_for_kind(self.metadata(self.default), self._source.list(), kind)

    def defaults(self) -> dict[Modality, str]:
        """Return the name of the backbone of each modality that is used where none is named."""
        default = self.metadata(self.default)
        found: dict[Modality, str] = {}
        for info in (default, *self._source.list()):
            found.setdefault(info.modality, info.name)
        return {modality: found[modality] for modality in Modality if modality in found}

    def problem(self, name: str) -> str:
        """Why the last try to prepare or load a backbone failed; empty if none did."""
        failed = self._failed.get(name)
        return _words(failed[0]) if failed else ""

    def loaded(self, name: str) -> Embedder | None:
        """The embedder of a backbone if it is loaded and warm."""
        return self._loaded.get(name or self.default)

    def all_loaded(self) -> list[Embedder]:
        """The embedders of all backbones that are loaded."""
        return list(self._loaded.values())

    def get(self, name: str) -> Embedder:
        """The embedder of a backbone, without waiting; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
            Loading: it is not loaded yet; asking starts the loading.
            BackboneUnavailable: it could not be loaded.
        """
        name = name or self.default
        embedder = self._loaded.get(name)
        if embedder is None:
            self._start_loading(self.metadata(name).name)
        self._used[name] = self._clock()
        return embedder

    async def ready(self, look: Callable[[], T], nbytes: Callable[[], int] | None) -> T:
        """Return what a look-up gives, waiting while a backbone that it needs is prepared or loaded.

        Args:
            look: as `get` or `info`; raises `Loading`, and is repeated when the loading ends.
            nbytes: gives the bytes that the call holds while it waits; None for the server itself, which no
                bound keeps from waiting.

        Raises:
            Loading: as many calls wait as may.
            Draining: the server stops.
            BackboneUnavailable: a backbone cannot be prepared or loaded.
        """

        async def work() -> T:
            return look()

        return await self.when_ready(work, nbytes)

    async def when_ready(self, work: Callable[[], Awaitable[T]], nbytes: Callable[[], int] | None) -> T:
        """As `ready`, for a look-up that is awaited. Until it raises `Loading` it must change nothing."""
        try:
            return await work()
        except Loading as loading:
            first = loading
        name = first.metadata["backbone"]
        with nullcontext() if nbytes is None else self._waiters.place(nbytes(), first):
            while True:
                # Before the look: a loading that ends in between is not missed.
                with self._waiters.end_of_loading(name) as ended:
                    try:
                        return await work()
                    except Loading as loading:
                        if loading.metadata["backbone"] == name:
                            await ended
                        name = loading.metadata["backbone"]

    def load(self, name: str) -> Embedder:
        """The embedder of a backbone, loading it first if need be; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
            Exception: whatever its source raises.
        """
        name = self.metadata(name).name
        with self._waking(name), self._loading_lock(name), self._remembering(name):
            if name not in self._loaded:
                self._loaded[name] = self._make_embedder(self._source.load(name))
            self._used[name] = self._clock()
            return self._loaded[name]

    def prepare_all(self) -> None:
        """Learn what is not known yet of every backbone; one that fails says so where it is listed."""
        for info in self.all_metadata():
            if not info.is_prepared:
                self._prepare(info.name)

    def stop_loading(self) -> None:
        """End what is being prepared and the waits for it, and load nothing more; what is loaded stays."""
        self._stopped = True
        self._source.close()
        self._waiters.wake_all()

    def close(self) -> None:
        """Stop what is being prepared, and every embedder."""
        self.stop_loading()
        for embedder in self.all_loaded():
            embedder.close()

    def _start_loading(self, name: str) -> NoReturn:
        """Load a backbone in a thread, and raise `Loading`; or the reason why it failed a moment ago."""
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

    def _prepare(self, name: str) -> None:
        with suppress(Exception), self._waking(name), self._loading_lock(name), self._remembering(name):
            self._source.prepare(name)

    @contextmanager
    def _waking(self, name: str) -> Iterator[None]:
        """Wake the calls that wait for a backbone, once its lock is free again."""
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
                    # Not which they are: that is for those who use them to know.
                    raise BackboneNotFound(
                        f"Expected one of the {MAX_UNLISTED} backbones of this kind that are in use. "
                        f"Received: '{name}', which would be one more. Try again when one of them was not "
                        f"used for {IDLE_SECONDS:.0f} seconds.",
                        metadata={"backbone": name},
                        retry_after=IDLE_SECONDS,
                    )
                del self._loading[idle]
                self._used.pop(idle, None)
                left = self._loaded.pop(idle, None)
            lock = self._loading.setdefault(name, threading.Lock())
        if left is not None:
            # Its threads end when they have done what they have in hand. A job that had it goes on later.
            threading.Thread(target=left.close, name=f"close-{name}", daemon=True).start()
        return lock

    def _longest_idle(self, names: Iterable[str]) -> str | None:
        """The one of some backbones that was not used for longest, if that is long and it is idle."""
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
        # It has no caller to raise to; the next call is told.
        with suppress(Exception):
            self.load(name)

    @contextmanager
    def _remembering(self, name: str) -> Iterator[None]:
        try:
            yield
        except Draining:
            # No fault of the backbone.
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
