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
    """A dataset that is stored under a name."""

    dataset_id: str  # holds its archives; a new dataset of the same name has another ID
    name: str
    state: DatasetState  # whether it is still being uploaded
    display_name: str
    description: str
    tags: Mapping[str, str]
    task: Task | None  # the kind of label; None before the first batch
    modality: Modality | None  # the kind of input; None before the first batch
    next_batch: int  # number of the next batch
    example_count: int
    nbytes: int  # bytes of its archives
    class_counts: Mapping[str, int]  # number of examples by class
    checksum: bytes  # checksum of all written examples, in their order
    digest: str | None  # digest of its examples; None while it is open
    revision: int  # rises with every change
    created: float  # when it was created, in seconds since 1970
    written: float  # when the last batch was written

    @property
    def etag(self) -> str:
        """Changes with every change, and with another dataset of the same name."""
        return f"{self.dataset_id[:16]}-{self.revision}"
