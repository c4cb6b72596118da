"""An example without its content, as lists of a dataset's or a version's examples have it."""

from dataclasses import dataclass

from headstart_server.learning.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredExample:
    """An example without its content.

    Attributes:
        target: what it shows.
        id: the caller's name for it; may be empty.
        held_out: whether its caller keeps it out of training.
        digest: digest of its content.
        kind: image, text or tensor.
        weight: how much it counts.
        archive: the job in whose archive its content lies.
        member: its place there.
    """

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0
    archive: str = ""
    member: int = 0
