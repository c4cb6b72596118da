"""The loaded backbones of this server, each with its queue, loaded when first asked for."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from headstart_server.backbones.backbone import Backbone, BackboneInfo
from headstart_server.embedding.embedder import Embedder
from headstart_server.errors import BackboneNotFound, Loading

log = structlog.get_logger(__name__)

#: Seconds after which a caller may ask again for a backbone that is being loaded.
LOADING_RETRY_SECONDS = 2.0


class BackboneSource(Protocol):
    """Where backbones come from."""

    def list(self) -> Sequence[BackboneInfo]:
        """The facts of every backbone there is."""

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
        self._loaded: dict[str, Embedder] = {}
        self._loading: dict[str, threading.Lock] = {name: threading.Lock() for name in self._infos}
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
        try:
            return self._infos[name or self.default]
        except KeyError:
            raise BackboneNotFound(
                f"There is no backbone '{name}'. Expected one of: {', '.join(sorted(self._infos))}.",
                metadata={"backbone": name},
            ) from None

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
        if not self._loading[name].locked():
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
        with self._loading[name]:
            if name not in self._loaded:
                self._loaded[name] = self._make_embedder(self._source.load(name))
            return self._loaded[name]

    def close(self) -> None:
        """Stop every embedder."""
        for embedder in self.all_loaded():
            embedder.close()

    def _load_quietly(self, name: str) -> None:
        try:
            self.load(name)
        except Exception:
            # A background thread has no caller to raise to; the next call tries again.
            log.exception("backbone_load_failed", backbone=name)
