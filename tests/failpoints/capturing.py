"""The part of a server's life that captures inputs, lists them and erases them."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
from sqlalchemy import select

from captures import direction, new_capture
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.capture_rows import Gaps, ModelGoneError
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.capture.review_lists import ReviewLists
from headstart_server.capture.review_ranking import ReviewRanking
from headstart_server.database.capture_tables import READY, capture_batches, captured_inputs
from headstart_server.database.database import Database
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.registry import Registry
from headstart_server.models.version import Selector
from headstart_server.storage.directory import DirectoryFolder

#: The content of every input that is erased.
ERASED = b"an erased input"


def capture(folder: Path, database: Database, registry: Registry) -> None:
    """Do everything once that writes captured inputs. The model `pets` has a version."""
    files = BatchFiles(DirectoryFolder(folder / "captures"))
    store = CaptureStore(database, files, lambda _: TenantLimits())
    eraser, inputs = CaptureEraser(database, files), CapturedInputs(database, files)
    if not database.is_shared:
        eraser.give_up_unfinished()
    registry.update_model("pets", {"capture": CapturePolicy(random_fraction=1.0)})
    for row in inputs.pending("pets", 100):
        # A process was killed before it erased the input.
        if row.digest == sha256(ERASED).hexdigest():
            eraser.erase("pets", row.prediction_id)
    gone, kept, alone = (uuid.uuid4().hex for _ in range(3))
    _write(store, "pets", {gone: ERASED, kept: b"a kept input"})
    _write(store, "pets", {alone: ERASED})
    with suppress(ModelGoneError):
        _write(store, "failing", {uuid.uuid4().hex: b"an input of no model"})
    store.note_gaps("pets", Gaps(queue_full=1))
    lists = ReviewLists(database, registry, inputs, ReviewRanking(registry, inputs, files))
    lists.page(Selector(model="pets"), 1, None)
    eraser.erase("pets", gone)
    eraser.erase("pets", alone)
    eraser.clean()
    eraser.remove_orphans(0.0)


def broken_captures(folder: Path, database: Database) -> Iterator[str]:
    """What must be true of captured inputs at any moment: those that count are whole."""
    files = BatchFiles(DirectoryFolder(folder / "captures"))
    inputs = CapturedInputs(database, files)
    with database.snapshot() as connection:
        ready = select(capture_batches).where(capture_batches.c.state == READY)
        batches = {row.batch: row for row in connection.execute(ready)}
        rows = connection.execute(select(captured_inputs)).all()
    for row in rows:
        found = inputs.find(row.model, row.prediction_id)
        if found is not None and inputs.content(found) is None:
            yield f"the captured input {row.prediction_id} has no content"
    for name, batch in batches.items():
        if files.features(name, batch.features) is None:
            yield f"the batch {name} has no features"


def left_captures(folder: Path, database: Database) -> Iterator[str]:
    """What must be true once everything was done: only objects that count are left."""
    with database.snapshot() as connection:
        states = dict(connection.execute(select(capture_batches.c.batch, capture_batches.c.state)).all())
    there = {path.name for path in (folder / "captures").iterdir()} - {".staging"}
    if there != set(states) or set(states.values()) > {READY}:
        yield f"captured inputs in {there}, expected {states}"
    for path in (folder / "captures").rglob("contents"):
        if ERASED in path.read_bytes():
            yield f"an erased input is still in {path.parent.name}"


def _write(store: CaptureStore, model: str, contents: dict[str, bytes]) -> None:
    rows = np.stack([direction(name) for name in contents])
    inputs = [
        new_capture(name, model, rows[place], content)
        for place, (name, content) in enumerate(contents.items())
    ]
    store.write(model, inputs, BatchFeatures(backbone_digest="digest", views={"last": rows}))
