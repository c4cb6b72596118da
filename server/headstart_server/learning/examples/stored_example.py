"""An example without its content."""

from dataclasses import dataclass

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
