"""Datasets that are stored under a name, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.learning.examples.task import Task


class DatasetState(Enum):
    """Whether a dataset is still being uploaded."""

    OPEN = "open"
    READY = "ready"


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedDataset:
    """A dataset that is stored under a name.

    Attributes:
        dataset_id: holds its archives; a new dataset of the same name has another one.
        state: whether it is still being uploaded.
        task: the kind of label; None before the first batch.
        modality: the kind of input; None before the first batch.
        next_batch: number of the batch that comes next.
        nbytes: bytes of its archives.
        class_counts: number of examples by class.
        checksum: of all examples that were written, in their order.
        digest: of its examples; None while it is open.
        revision: rises with every change.
        created: when it was created, in seconds since 1970.
        written: when the last batch was written.
    """

    dataset_id: str
    name: str
    state: DatasetState
    display_name: str
    description: str
    tags: Mapping[str, str]
    task: Task | None
    modality: Modality | None
    next_batch: int
    example_count: int
    nbytes: int
    class_counts: Mapping[str, int]
    checksum: bytes
    digest: str | None
    revision: int
    created: float
    written: float

    @property
    def etag(self) -> str:
        """Changes with every change, and with another dataset of the same name."""
        return f"{self.dataset_id[:16]}-{self.revision}"
