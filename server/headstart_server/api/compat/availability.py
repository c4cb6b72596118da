"""Whether a version can answer now, for those who ask before they call."""

from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import BackboneMismatch, HeadstartError
from headstart_server.models.version import Version


def hindrance(pool: BackbonePool, version: Version) -> HeadstartError | None:
    """Why a version cannot answer now; None if it can. Asking starts the loading of its backbone."""
    try:
        digest = pool.get(version.manifest.backbone).digest
    except HeadstartError as error:
        return error
    return _mismatch(version, digest)


def reason_unready(pool: BackbonePool, version: Version) -> str:
    """The same in words, empty if it can; asking loads nothing."""
    name = version.manifest.backbone
    embedder = pool.loaded(name)
    if embedder is None:
        return pool.problem(name) or f"Backbone '{name}' is not loaded; the first call loads it."
    mismatch = _mismatch(version, embedder.digest)
    return mismatch.message if mismatch else ""


def _mismatch(version: Version, digest: str) -> BackboneMismatch | None:
    if digest == version.manifest.backbone_digest:
        return None
    return BackboneMismatch(
        f"It was fitted on another digest of backbone '{version.manifest.backbone}' than this server has."
    )
