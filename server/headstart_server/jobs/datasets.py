"""The stored examples of jobs that have not ended: one ZIP archive for each job.

An archive holds each input as a member of its own and a list of what they show; both are plain files to any
ZIP tool.
"""

import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from headstart_server.backbones.backbone import Content
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ArtifactDamaged, HeadstartError
from headstart_server.learning.dataset import (
    DatasetCount,
    DatasetLimits,
    DatasetSummary,
    Example,
    ExampleFault,
)
from headstart_server.learning.findings import contradictions
from headstart_server.learning.target import Target
from headstart_server.learning.task import Task
from headstart_server.models.storage import storage_errors, sync_folder

INDEX = "examples.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredExample:
    """An example without its input.

    Attributes:
        target: what it shows.
        id: the caller's name for it.
        held_out: whether it is kept out of training.
        digest: digest of its content.
        kind: image, text or tensor.
        weight: how much it counts.
    """

    target: Target
    id: str
    held_out: bool
    digest: str
    kind: str
    weight: float = 1.0

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "StoredExample":
        """The example that a writer put on the list, of this release or the first, which knew labels only.

        Raises:
            KeyError, TypeError or ValueError: it is none.
        """
        settings = dict(fields)
        shown = settings.pop("label") if "label" in settings else settings.pop("target")
        return cls(target=Target.from_json(shown), **settings)


class DatasetWriter:
    """Writes the examples of one job as they come, and counts them.

    Args:
        path: the archive to be; it is written beside and renamed by `finish`.
        limits: how large the dataset may be.
        task: the kind of task; None for that of the first example.
    """

    def __init__(self, path: Path, limits: DatasetLimits, task: Task | None = None) -> None:
        self._path = path
        self._aside = path.with_suffix(".part")
        self._count = DatasetCount(limits=limits, task=task)
        self._index: list[dict[str, object]] = []
        with storage_errors():
            self._archive = ZipFile(self._aside, "w", ZIP_STORED)

    def add(self, examples: Collection[Example]) -> None:
        """Store some examples.

        Raises:
            HeadstartError: as `DatasetCount.add`.
            StorageFull: the disk is full.
        """
        for sent in examples:
            digest = content_digest(sent.content)
            example = self._count.add(sent, digest)
            kind, content = _encode(example.content)
            with storage_errors():
                self._archive.writestr(_member(len(self._index)), content)
            self._index.append(
                {
                    "target": example.target.to_json(),
                    "id": example.id,
                    "held_out": example.held_out,
                    "digest": digest,
                    "kind": kind,
                    "weight": example.weight,
                }
            )

    def finish(self) -> DatasetSummary:
        """Make the archive whole and durable.

        Returns:
            What is known of the dataset.

        Raises:
            EmptyDataset, TooFewClasses or InvalidField: it cannot be trained on.
            StorageFull: the disk is full.
        """
        summary = self._count.summary()
        with storage_errors():
            self._archive.writestr(INDEX, json.dumps(self._index))
            self._archive.close()
            with self._aside.open("rb") as file:
                os.fsync(file.fileno())
            os.rename(self._aside, self._path)
            sync_folder(self._path.parent)
        return summary

    def discard(self) -> None:
        """Remove what was written."""
        # The archive's directory may not fit on a full disk; the file goes anyway.
        with suppress(OSError, ValueError):
            self._archive.close()
        self._aside.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


class Dataset:
    """The stored examples of a job. Contents are read one at a time, from any thread.

    Raises:
        ArtifactDamaged: the archive is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._damage_reported():
            self._archive = ZipFile(path)
            self.examples = [
                StoredExample.from_json(fields) for fields in json.loads(self._archive.read(INDEX))
            ]

    def __len__(self) -> int:
        return len(self.examples)

    def read(self, index: int) -> Content:
        """The content of an example.

        Raises:
            ArtifactDamaged: it is not what was stored.
        """
        with self._damage_reported(), self._lock:
            content = self._archive.read(_member(index))
        return _decode(self.examples[index].kind, content)

    def contradictions(self) -> list[ExampleFault]:
        """The examples whose content came with another target as well, in order."""
        return contradictions(
            [example.digest for example in self.examples],
            [example.target for example in self.examples],
            [example.id for example in self.examples],
        )

    def fault(self, index: int, error: HeadstartError) -> ExampleFault:
        """What is wrong with an example, as its decoding told."""
        return ExampleFault(
            index=index, id=self.examples[index].id, reason=error.reason, message=error.message
        )

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # A damaged header leads zipfile anywhere, to RuntimeError ("is encrypted") among others.
            raise ArtifactDamaged(
                f"The stored examples of job {self._path.stem} are damaged or missing ({error}). "
                "Send the fine-tune again.",
                metadata={"job_id": self._path.stem},
            ) from error


class DatasetStore:
    """Keeps the datasets of jobs in a folder.

    Args:
        root: the folder; made if need be.
        limits: how large a dataset may be.
    """

    def __init__(self, root: Path, limits: DatasetLimits) -> None:
        self._root = root
        self._limits = limits
        root.mkdir(parents=True, exist_ok=True)

    def writer(self, job_id: str, task: Task | None = None) -> DatasetWriter:
        """A writer for the dataset of a job to be, of a task or that of its first example.

        Raises:
            StorageFull: the disk is full.
        """
        return DatasetWriter(self._path(job_id), self._limits, task)

    def open(self, job_id: str) -> Dataset:
        """The dataset of a job.

        Raises:
            ArtifactDamaged: it is missing or damaged.
        """
        return Dataset(self._path(job_id))

    def remove(self, job_id: str) -> None:
        """Remove the dataset of a job; nothing happens if there is none."""
        self._path(job_id).unlink(missing_ok=True)

    def remove_all_but(self, job_ids: Collection[str]) -> int:
        """Remove what belongs to no job of these, broken-off uploads among it.

        Returns:
            The number of files removed.
        """
        leftovers = [
            path for path in self._root.iterdir() if path.suffix == ".part" or path.stem not in job_ids
        ]
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    def _path(self, job_id: str) -> Path:
        return self._root / f"{job_id}.zip"


def _member(index: int) -> str:
    return f"{index:08d}"


def _encode(content: Content) -> tuple[str, bytes]:
    if isinstance(content, bytes):
        return "image", content
    if isinstance(content, str):
        return "text", content.encode()
    header = json.dumps({"dtype": content.dtype.str, "shape": content.shape}).encode()
    return "tensor", header + b"\n" + np.ascontiguousarray(content).tobytes()


def _decode(kind: str, content: bytes) -> Content:
    if kind == "image":
        return content
    if kind == "text":
        return content.decode()
    header, _, data = content.partition(b"\n")
    fields = json.loads(header)
    return np.frombuffer(data, dtype=fields["dtype"]).reshape(fields["shape"])
