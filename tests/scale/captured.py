"""Calls what executes SQL of captured inputs and of lists for review."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from captures import direction, new_capture
from fakes import Publisher
from headstart_server.capture import capture_rows
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.capture_rows import Gaps
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.capture.ranking import ReviewReason
from headstart_server.capture.review_lists import ReviewLists
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.version import Selector
from headstart_server.storage.directory import DirectoryFolder
from scale.dataset import Sizes

Operation = Callable[[], object]

#: Seconds since a prediction, after which batches are merged.
_SETTLED = 100.0


class NewestFirst:
    """Ranks inputs by their time, without their features."""

    def ranked(self, model: str, number: int, found: Sequence[Any], limit: int) -> list[list[Any]]:
        reason = next(iter(ReviewReason)).value
        return [[row.prediction_id, reason, 1.0, row.predicted, None, 0] for row in found[:limit]]


class Captured:
    """Operations on a database that `fill` filled.

    Args:
        publisher: the database, and a folder for new objects.
        sizes: how large the database is.
        limits: returns the limits of a tenant.
    """

    def __init__(self, publisher: Publisher, sizes: Sizes, limits: Callable[[str], TenantLimits]) -> None:
        self._publisher = publisher
        self._sizes = sizes
        self._random = random.Random(3)
        files = BatchFiles(DirectoryFolder(publisher.folder / "captures"))
        self._store = CaptureStore(publisher.database, files, limits)
        self._eraser = CaptureEraser(publisher.database, files)
        self._inputs = CapturedInputs(publisher.database, files)
        self._lists = ReviewLists(
            publisher.database,
            publisher.registry,
            self._inputs,
            NewestFirst(),  # type: ignore[arg-type]
        )

    def operations(self) -> Iterator[tuple[str, Operation]]:
        """Yield each operation with its name."""
        store, eraser, inputs = self._store, self._eraser, self._inputs
        yield "find a captured input", lambda: inputs.find(self._model(), "none")
        yield "which captured inputs are stored", lambda: inputs.stored(["none", *self._write(self._model())])
        yield "which batches are unchanged", lambda: inputs.unchanged(["none"])
        yield "state of a capture", lambda: inputs.status(self._model())
        yield "lists for review", self._review
        yield "capture", lambda: self._write(self._model())
        yield "capture beyond the bounds", self._evict
        yield "note gaps of a capture", lambda: store.note_gaps(self._model(), Gaps(queue_full=1))
        yield "give up a batch", self._give_up
        yield "erase a captured input", self._erase
        yield "models with a captured input", lambda: eraser.models_with("p1")
        yield "merge and expire captured inputs", self._clean
        yield "give up all batches", eraser.give_up_unfinished
        yield "orphans of captures", lambda: eraser.remove_orphans(-1.0)

    def _write(self, model: str, ages: Sequence[float] = (_SETTLED, _SETTLED), **policy: Any) -> list[str]:
        """Store a batch of inputs with their seconds since the prediction; return their IDs."""
        details = {"capture": CapturePolicy(**({"random_fraction": 1.0} | policy))}
        self._publisher.registry.update_model(model, details)
        names = [f"new-{self._random.randrange(1 << 60):x}" for _ in ages]
        features = BatchFeatures(backbone_digest="b", views={"last": np.stack(list(map(direction, names)))})
        inputs = [replace(new_capture(name, model), age=age) for name, age in zip(names, ages, strict=True)]
        self._store.write(model, inputs, features)
        return names

    def _evict(self) -> None:
        model = self._model()
        for _ in range(2):
            self._write(model, max_count=1)

    def _give_up(self) -> None:
        database = self._publisher.database
        capture_rows.give_up(database, capture_rows.begin(database, self._model()))

    def _erase(self) -> None:
        model = self._model()
        self._eraser.erase(model, self._write(model)[0])

    def _clean(self) -> None:
        # Two batches that are merged, and two of which all inputs or one have expired already.
        model = self._model()
        for _ in range(2):
            self._write(model)
        self._write(self._model(), ttl=60.0)
        self._write(self._model(), (_SETTLED, 0.0), ttl=60.0)
        self._eraser.clean()

    def _review(self) -> None:
        selector = Selector(model=self._model())
        page = self._lists.page(selector, 1, None)
        self._lists.page(selector, 1, page.following)

    def _model(self) -> str:
        return self._sizes.model(self._random.randrange(self._sizes.models))
