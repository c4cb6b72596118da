"""The engine's feature cache, as a serving process uses it."""

from collections.abc import Collection

from headstart_server.embedding.feature_rows import Vectors
from headstart_server.errors import Loading
from headstart_server.processes.engine_client import EngineClient


class RemoteFeatureStore:
    """Features in the engine's cache. Without an engine, features are missing.

    Args:
        engine: the engine.
    """

    #: The engine's metrics count its bytes.
    nbytes = 0

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def get_many(self, backbone: str, digests: Collection[str]) -> dict[str, Vectors]:
        """Return the cached features of contents on a backbone, by digest."""
        try:
            found: dict[str, Vectors] = self._engine.current().call("cached", backbone, list(digests))
        except Loading:
            return {}
        return found

    def put(self, backbone: str, digest: str, vectors: Vectors) -> None:
        """Add features to the cache."""
        self._engine.note("keep", backbone, digest, vectors)

    def touch(self, backbone: str, digests: Collection[str]) -> None:
        """Do nothing: the engine notes each use."""

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the features of contents on all backbones."""
        del backbone
        self._engine.note("drop", list(digests))

    def close(self) -> None:
        """Do nothing: the engine closes its cache."""
