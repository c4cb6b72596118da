"""An example without its content."""

from dataclasses import dataclass
from hashlib import sha256

from headstart_server.learning.examples.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredExample:
    """An example without its content, which is member `member` of the archive of job `archive`."""

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0
    archive: str = ""
    member: int = 0
    media_type: str = ""  # media type of the content; empty if it is unknown
    nbytes: int = 0  # size of the content in bytes; 0 if it is unknown
    feedback: bool = False  # whether it came from feedback on a prediction


def exclusion_mark(digest: str) -> str:
    """Return the mark of an excluded content in lists, which keep no digest of it."""
    return sha256(f"excluded {digest}".encode()).hexdigest()[:32]
