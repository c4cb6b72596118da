"""The versions in memory, up to a number of bytes."""

import threading
from dataclasses import dataclass

from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.tails import VersionTail
from headstart_server.errors import BackboneMismatch, BackboneNotFound, BackboneUnavailable
from headstart_server.learning.analysis.neighbors import NeighborIndex
from headstart_server.learning.analysis.typicality import TypicalityModel
from headstart_server.learning.heads.head import Head
from headstart_server.lru import LruCache


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """The files that explain predictions of a version, as far as calls needed them."""

    files: frozenset[str] = frozenset()  # names of the files that were read or found missing
    # typicality of inputs; None if it is not stored, or not needed
    typicality_model: TypicalityModel | None = None
    neighbors: NeighborIndex | None = None  # its training examples; None if not stored or not needed

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory."""
        return sum(part.nbytes for part in (self.typicality_model, self.neighbors) if part is not None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResidentVersion:
    """A version ready to predict."""

    model: str
    number: int
    artifact: str  # name of its files in the store
    backbone: str
    backbone_digest: str
    head: Head
    tail: VersionTail | None = None  # the version's own tail; None if its head takes the backbone's last view
    evidence: Evidence = Evidence()  # the files that explain its predictions, as far as calls needed them

    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory."""
        return self.head.nbytes + self.evidence.nbytes + (self.tail.nbytes if self.tail else 0)


def check_backbone(version: ResidentVersion, digest: str) -> None:
    """Check that a version was fitted on the backbone of this digest."""
    if digest != version.backbone_digest:
        raise BackboneMismatch(
            f"Version {version.number} of model '{version.model}' was fitted on digest "
            f"{version.backbone_digest[:12]} of backbone '{version.backbone}'; this server has "
            f"{digest[:12]}. Fine-tune it again, or run the server it was made with.",
            metadata={"model": version.model, "version": str(version.number)},
        )


def embedder_of(version: ResidentVersion, pool: BackbonePool) -> Embedder:
    """Return the embedder of a version's backbone; raise Loading, and load it, if it is not loaded."""
    try:
        embedder = pool.get(version.backbone)
    except (BackboneNotFound, BackboneUnavailable) as error:
        is_missing = isinstance(error, BackboneNotFound)
        help_ = (
            f"Declare '{version.backbone}' again with its previous definition"
            if is_missing
            else "Correct this"
        )
        which = f"Version {version.number} of model '{version.model}'"
        raise type(error)(
            f"{which} needs its backbone: {error.message} {help_}, or rebase the version on "
            "another backbone.",
            metadata={**error.metadata, "model": version.model, "version": str(version.number)},
        ) from error
    check_backbone(version, embedder.digest)
    return embedder


class ResidentVersions:
    """The most recently used versions. Thread-safe.

    Args:
        max_bytes: maximum bytes of versions to keep; the most recently used one stays even if it is larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: LruCache[tuple[str, int], ResidentVersion] = LruCache(
            max_bytes, lambda version: version.nbytes
        )

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all versions in memory."""
        return self._entries.size

    def numbers(self, model: str) -> set[int]:
        """Return the numbers of a model's versions in memory; this does not count as a use."""
        with self._lock:
            return {number for name, number in self._entries if name == model}

    def artifacts(self) -> dict[tuple[str, int], str]:
        """Return the artifacts of the versions in memory by model and number."""
        with self._lock:
            return {key: entry.artifact for key in self._entries if (entry := self._entries.peek(key))}

    def get(self, model: str, number: int) -> ResidentVersion | None:
        """Return a version; None if it is not in memory."""
        with self._lock:
            return self._entries.get((model, number))

    def put(self, version: ResidentVersion) -> None:
        """Keep a version, and drop the least recently used ones while the bytes exceed the maximum."""
        key = (version.model, version.number)
        with self._lock:
            if key not in self._entries:
                self._entries.add(key, version)

    def replace(self, version: ResidentVersion) -> None:
        """Replace a version in memory; do nothing if it is not in memory."""
        key = (version.model, version.number)
        with self._lock:
            if key in self._entries:
                self._entries.add(key, version)

    def drop(self, model: str, number: int) -> None:
        """Remove a deleted version."""
        with self._lock:
            self._entries.pop((model, number))
