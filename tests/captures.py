"""Captured inputs for tests: a store over a folder, and inputs to write."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fakes import ManualClock, Publisher
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.capture_rows import NewCapture
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_input import CapturedInput, CaptureReason
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.capture.predicted import directions_bytes
from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.jobs import stored
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.target import Target
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.storage.directory import DirectoryFolder, Folder


class Captures:
    """The objects of the capture room over one folder, or over a given one of a bucket."""

    def __init__(
        self, folder: Path, clock: ManualClock, *, address: str | None = None, stored: Folder | None = None
    ) -> None:
        self.clock = clock
        self.folder = folder / "captures"
        self.publisher = Publisher(folder, clock, address=address)
        self.database = self.publisher.database
        self.files = BatchFiles(stored or DirectoryFolder(self.folder))
        self.limits = TenantLimits()
        self.store = CaptureStore(self.database, self.files, lambda _: self.limits)
        self.eraser = CaptureEraser(self.database, self.files)
        self.inputs = CapturedInputs(self.database, self.files)
        self.ranking = ReviewRanking(self.publisher.registry, self.inputs, self.files)

    def model(self, name: str = "pets", **policy: Any) -> int:
        """Publish a version of a model with a capture policy, and return its number."""
        number = self.publisher.publish(name)
        self.set_policy(name, CapturePolicy(**({"random_fraction": 1.0} | policy)))
        return number

    def set_policy(self, name: str, policy: CapturePolicy | None) -> None:
        self.publisher.registry.update_model(name, {"capture": policy})

    def write(self, names: Sequence[str], model: str = "pets", **fields: Any) -> None:
        """Store a batch of inputs whose contents are their prediction IDs."""
        rows = np.stack([direction(name) for name in names])
        self.store.write(
            model,
            [new_capture(name, model, rows[place], **fields) for place, name in enumerate(names)],
            BatchFeatures(backbone_digest="b" * 64, views={"last": rows}),
        )

    def objects(self) -> list[str]:
        """Return the names of the stored objects."""
        return sorted(path.name for path in self.folder.iterdir() if path.name != ".staging")

    def usage(self, tenant: str = "") -> int:
        """Return the bytes that count toward the quota of a tenant."""
        with self.database.read() as connection:
            return stored.stored(connection, tenant).capture_bytes

    def close(self) -> None:
        self.publisher.close()


def direction(name: str, size: int = 12) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return features that only this name has."""
    seed = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def new_capture(
    name: str, model: str = "pets", features: Any = None, content: bytes | None = None, **fields: Any
) -> NewCapture:
    """Return an input to store."""
    row = direction(name) if features is None else features
    content = name.encode() if content is None else content
    values: Mapping[str, Any] = {
        "version": 1,
        "predicted": Target.of_label("cat"),
        "classes": (),
        "margin": 0.1,
        "typicality": None,
        "reasons": CaptureReason.RANDOM,
        "kind": "text",
        "media_type": "text/plain; charset=utf-8",
        **fields,
    }
    return NewCapture(
        captured=CapturedInput(
            model=model,
            prediction_id=name,
            created=0.0,
            expires=0.0,
            digest=sha256(content).hexdigest(),
            nbytes=len(content),
            **values,
        ),
        content=content,
        direction=directions_bytes({"last": row[np.newaxis]}, ["last"])[0],
    )
