"""Datasets that the server stores under names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headstart.inputs.task import Task
from headstart.results.models import Modality


class DatasetState(StrEnum):
    """Whether a dataset is still being uploaded."""

    UNSPECIFIED = "UNSPECIFIED"
    OPEN = "OPEN"
    READY = "READY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A dataset of the server.

    Attributes:
        dataset: name of the dataset.
        display_name: title for people.
        description: description for people.
        tags: key-value pairs.
        state: ``OPEN`` while it is uploaded, then ``READY``.
        example_count: number of examples.
        byte_count: size of the stored examples.
        next_batch: number of batches so far.
        class_counts: number of examples by class; empty for regression.
        task: kind of label. None: no example was written.
        modality: kind of input. None: no example was written.
        digest: SHA-256 digest of the contents and labels; empty unless ``READY``.
        sha256: checksum of all examples that were written, in their order.
        create_time: time of the creation.
        expire_time: time at which it is deleted if no further batch is written. None: never.
        etag: changes with every change of the dataset.
    """

    dataset: str
    display_name: str
    description: str
    tags: Mapping[str, str]
    state: DatasetState
    example_count: int
    byte_count: int
    next_batch: int
    class_counts: Mapping[str, int]
    task: Task | None
    modality: Modality | None
    digest: str
    sha256: bytes
    create_time: datetime
    expire_time: datetime | None
    etag: str
