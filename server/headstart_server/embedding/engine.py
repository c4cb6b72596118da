"""The loaded backbones of this server, each with its queue, loaded when first asked for."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from headstart_server.backbones.backbone import Backbone, BackboneInfo, Content
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.modality import usual_backbone
from headstart_server.errors import BackboneNotFound, Loading

log = structlog.get_logger(__name__)

#: Seconds after which a caller may ask again for a backbone that is being loaded.
LOADING_RETRY_SECONDS = 2.0
#: Backbones that are loaded without being listed: each keeps threads of its own.
MAX_UNLISTED = 64


class BackboneSource(Protocol):
    """Where backbones come from."""

    def list(self) -> Sequence[BackboneInfo]:
        """The facts of every backbone there is."""

    def info(self, name: str) -> BackboneInfo:
        """The facts of one; there are families whose members are not listed.

        Raises:
            BackboneNotFound: there is none of this name.
        """

    def load(self, name: str) -> Backbone:
        """Load one, ready and warm; takes seconds."""


class Engine:
    """Hands out an `Embedder` for each backbone.

    Args:
        source: where backbones come from.
        make_embedder: gives a loaded backbone its queue and threads.
        default: name of the backbone that is meant where none is named.

    Raises:
        BackboneNotFound: there is no backbone of the default's name.
    """

    def __init__(
        self,
        source: BackboneSource,
        make_embedder: Callable[[Backbone], Embedder],
        default: str,
    ) -> None:
        self._source = source
        self._make_embedder = make_embedder
        self._infos = {info.name: info for info in source.list()}
        self._lock = threading.Lock()
        self._loaded: dict[str, Embedder] = {}
        self._loading: dict[str, threading.Lock] = {}
        self.default = default
        self.info(default)

    def infos(self) -> list[BackboneInfo]:
        """The facts of every backbone, by name."""
        return sorted(self._infos.values(), key=lambda info: info.name)

    def info(self, name: str) -> BackboneInfo:
        """The facts of a backbone; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
        """
        name = name or self.default
        return self._infos.get(name) or self._source.info(name)

    def usual(self, content: Content) -> BackboneInfo:
        """The facts of the backbone that is meant for such content where none is named.

        Raises:
            BackboneNotFound: there is none that takes it.
        """
        return self.info(usual_backbone(self.info(self.default), self._infos.values(), content))

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
        """
        name = self.info(name).name
        embedder = self._loaded.get(name)
        if embedder is not None:
            return embedder
        if not self._loading_lock(name).locked():
            threading.Thread(
                target=self._load_quietly, args=(name,), name=f"load-{name}", daemon=True
            ).start()
        raise Loading(
            f"Backbone '{name}' is being loaded. Try again in {LOADING_RETRY_SECONDS:.0f} seconds.",
            metadata={"backbone": name},
            retry_after=LOADING_RETRY_SECONDS,
        )

    def load(self, name: str) -> Embedder:
        """The embedder of a backbone, loading it first if need be; an empty name means the default.

        Raises:
            BackboneNotFound: there is none of this name.
            Exception: whatever its source raises.
        """
        name = self.info(name).name
        with self._loading_lock(name):
            if name not in self._loaded:
                self._loaded[name] = self._make_embedder(self._source.load(name))
            return self._loaded[name]

    def close(self) -> None:
        """Stop every embedder."""
        for embedder in self.all_loaded():
            embedder.close()

    def _loading_lock(self, name: str) -> threading.Lock:
        with self._lock:
            unlisted = self._loading.keys() - self._infos.keys()
            if name not in self._infos and name not in unlisted and len(unlisted) >= MAX_UNLISTED:
                raise BackboneNotFound(
                    f"Expected one of the {MAX_UNLISTED} backbones of this kind that are in use, such as "
                    f"{', '.join(sorted(unlisted)[:5])}. Received: '{name}', which would be one more.",
                    metadata={"backbone": name},
                )
            return self._loading.setdefault(name, threading.Lock())

    def _load_quietly(self, name: str) -> None:
        try:
            self.load(name)
        except Exception:
            # A background thread has no caller to raise to; the next call tries again.
            log.exception("backbone_load_failed", backbone=name)
