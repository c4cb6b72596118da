"""An example without its content."""

from dataclasses import dataclass

from headstart_server.learning.examples.target import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredExample:
    """An example without its content.

    Attributes:
        id: the caller's ID of the example; may be empty.
        held_out: whether the caller holds it out of training.
        digest: digest of the content.
        kind: image, text or tensor.
        archive: the job whose archive holds the content.
        member: position of the content in the archive.
    """

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0
    archive: str = ""
    member: int = 0
