"""An example without its content."""

from dataclasses import dataclass
from hashlib import sha256

from headstart_server.learning.examples.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredExample:
    """An example without its content, which is member `member` of the archive of job `archive`.

    Attributes:
        media_type: media type of the content; empty if it is unknown.
        nbytes: size of the content in bytes; 0 if it is unknown.
        feedback: whether it came from feedback on a prediction.
    """

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0
    archive: str = ""
    member: int = 0
    media_type: str = ""
    nbytes: int = 0
    feedback: bool = False


def exclusion_mark(digest: str) -> str:
    """Return the mark of an excluded content in lists, which keep no digest of it."""
    return sha256(f"excluded {digest}".encode()).hexdigest()[:32]
