"""Features of inputs on one backbone: looked up or queued, and returned as futures."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

import numpy as np

from headstart_server.backbones.contract.backbone import (
    LAST,
    Backbone,
    BackboneInfo,
    Content,
    Modality,
    Truncation,
)
from headstart_server.backbones.contract.tail import Float32, Tail, TailWeights
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache, content_digest, shared_key
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.queue import Lane, PendingInput, Row, RowFeatures, TextRow
from headstart_server.embedding.row_heads import RowHead
from headstart_server.errors import BackboneQueueFull, HeadstartError

#: Maximum rows of a tail's pass: larger calls are divided among the threads.
TAIL_ROWS = 8
Given = TypeVar("Given")

#: Maximum numbers in the inputs of a call that a backbone without a network takes in the caller's thread:
#: some ten microseconds.
MAX_IMMEDIATE_NUMBERS = 16_384


class Embedder:
    """Computes features for all callers of one backbone; Predicts precede training.

    Args:
        backbone: decodes inputs and has the metadata.
        batcher: decodes and runs them.
        cache: features by content; shared by all backbones.
        max_pending: maximum number of held Predict inputs, decoded or not; further ones are rejected.
        cache_predictions: whether Predict reads and fills the cache too.
        cache_key: maps a backbone's key to the key of the current tenant; None disables caching.
        least_window: minimum number of a dataset's items in flight, so that every batch can be full.
    """

    def __init__(
        self,
        backbone: Backbone,
        batcher: Batcher,
        cache: FeatureCache,
        *,
        max_pending: int,
        cache_predictions: bool = False,
        cache_key: Callable[[str], str | None] = shared_key,
        least_window: int = 0,
    ) -> None:
        self._backbone = backbone
        self._batcher = batcher
        self._cache = cache
        self._max_pending = max_pending
        self._cache_predictions = cache_predictions
        self.least_window = least_window
        self._clock = batcher.clock
        self._is_text = backbone.info.modality is Modality.TEXT
        self._lock = threading.Lock()
        self._pending = 0
        # Runtimes' features differ in their last bits, and a head must not depend on the cache's content.
        self._own_key = f"{backbone.digest} {backbone.runtime}"
        self._cache_key = cache_key

    @property
    def backbone(self) -> Backbone:
        """The backbone."""
        return self._backbone

    @property
    def info(self) -> BackboneInfo:
        """Metadata of the backbone."""
        return self._backbone.info

    @property
    def digest(self) -> str:
        """Digest of the backbone."""
        return self._backbone.digest

    @property
    def runtime(self) -> str:
        """Runtime and precision that execute the backbone."""
        return self._backbone.runtime

    @property
    def pending(self) -> int:
        """Number of Predict inputs that are held."""
        return self._pending

    def waiting(self, lane: Lane) -> int:
        """Return the number of inputs that wait in a lane."""
        return self._batcher.waiting(lane)

    def predict(
        self,
        contents: Sequence[Content],
        deadline: float | None = None,
        cuts: frozenset[str] = frozenset(),
        heads: Sequence[RowHead] = (),
    ) -> list["Future[RowFeatures]"]:
        """Queue inputs on the Predict lane, all or none, and return a future for each.

        A future fails with an error of `Backbone.decode` or of the batcher. Cancelling it removes its input.

        Args:
            contents: the inputs.
            deadline: when the caller stops waiting, on the clock; None for never.
            cuts: cuts whose activations are returned in addition to the views.
            heads: heads that predict in the batches of the rows.

        Raises:
            BackboneQueueFull: too many inputs are held already.
        """
        self._admit(len(contents))
        key = self._cache_key(self._own_key) if self._cache_predictions else None
        futures = []
        for content in contents:
            entry = PendingInput(
                prepare=partial(self._decode, content),
                lane=Lane.PREDICT,
                since=self._clock(),
                deadline=deadline,
                cuts=cuts,
                heads=heads,
            )
            if key is not None:
                entry.prepare = self._caching(entry.future, partial(_itself, content), key, look_up=not cuts)
            future = self._batcher.submit(entry)
            future.add_done_callback(self._release)
            futures.append(future)
        return futures

    def predict_now(
        self, contents: Sequence[Content], heads: Sequence[RowHead]
    ) -> list[RowFeatures | HeadstartError] | None:
        """Return the features of inputs, or their errors, of a backbone without a network.

        Return None for other backbones and for large inputs, which must be queued.

        Args:
            contents: arrays, one for each input.
            heads: heads that predict from the features.
        """
        if not self._backbone.is_immediate or self._cache_predictions:
            return None
        arrays = [content for content in contents if isinstance(content, np.ndarray)]
        if len(arrays) < len(contents) or sum(array.size for array in arrays) > MAX_IMMEDIATE_NUMBERS:
            return None
        started = self._clock()
        results: list[Row | HeadstartError] = []
        for content in arrays:
            try:
                results.append(self._backbone.decode(content))
            except HeadstartError as error:
                results.append(error)
        rows = [row for row in results if not isinstance(row, HeadstartError)]
        decoded = self._clock() - started
        ran = iter(self._batcher.run_now(rows, heads, decoded=decoded) if rows else ())
        return [each if isinstance(each, HeadstartError) else next(ran) for each in results]

    def predict_rows(
        self, rows: Sequence[Row], deadline: float | None = None, cuts: frozenset[str] = frozenset()
    ) -> list["Future[RowFeatures]"]:
        """Queue rows that `decode` returned; see `predict`."""
        self._admit(len(rows))
        futures = self.run_rows(rows, Lane.PREDICT, cuts, deadline)
        for future in futures:
            future.add_done_callback(self._release)
        return futures

    def run_rows(
        self,
        rows: Sequence[Row],
        lane: Lane,
        cuts: frozenset[str] = frozenset(),
        deadline: float | None = None,
    ) -> list["Future[RowFeatures]"]:
        """Queue rows that were admitted elsewhere; see `predict`."""
        return [
            self._batcher.submit(
                PendingInput(
                    prepare=partial(_itself, row),
                    lane=lane,
                    since=self._clock(),
                    deadline=deadline,
                    row=row,
                    cuts=cuts,
                )
            )
            for row in rows
        ]

    def train(
        self,
        read: Callable[[], Content],
        digest: str | None = None,
        cuts: frozenset[str] = frozenset(),
    ) -> "Future[RowFeatures]":
        """Queue one input on the train lane; see `predict`.

        `read` is called from a thread of the batcher. Features are cached under `digest` if it is given.
        """
        entry = PendingInput(
            prepare=partial(self._prepare, read), lane=Lane.TRAIN, since=self._clock(), cuts=cuts
        )
        key = self._cache_key(self._own_key) if digest is not None else None
        if key is not None:
            entry.prepare = self._caching(entry.future, read, key, digest)
        return self._batcher.submit(entry)

    def cached(self, digests: Sequence[str]) -> Mapping[str, Vectors]:
        """Return the features of contents that are cached for the tenant, by digest."""
        key = self._cache_key(self._own_key)
        return {} if key is None else self._cache.get_many(key, digests)

    def tail(self, weights: TailWeights) -> Tail:
        """Prepare a tail of the backbone to run; see `Backbone.tail`."""
        return self._backbone.tail(weights)

    def run_tail(
        self, tail: Tail, activations: Float32, lane: Lane, *, deadline: float | None = None
    ) -> list["Future[RowFeatures]"]:
        """Run a tail in the backbone's threads, before inputs that have not begun; Predicts precede training.

        Args:
            tail: the tail.
            activations: activations of inputs at its cut, [n, height, width, channels].
            lane: lane of the inputs.
            deadline: when the caller stops waiting, on the clock; None for never.

        Returns:
            Futures of the tail's `last` view of consecutive parts of the inputs, [m, D] each.
        """
        return [
            self._batcher.submit(
                PendingInput(
                    prepare=partial(_through, tail, activations[start : start + TAIL_ROWS]),
                    lane=lane,
                    since=self._clock(),
                    deadline=deadline,
                    is_continuation=True,
                )
            )
            for start in range(0, len(activations), TAIL_ROWS)
        ]

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        """Train a tail; see `Backbone.train_tail`."""
        return self._backbone.train_tail(request, progress, checkpoint)

    def decode(self, content: Content) -> Row:
        """Decode one input into one row; see `Backbone.decode`."""
        return self._backbone.decode(content)

    def truncation(self, content: Content) -> Truncation | None:
        """Return the truncation of a decodable input; None if its row contains all of it."""
        return self._backbone.truncation(content)

    def close(self) -> None:
        """Stop the batcher; waiting inputs fail with `Draining`."""
        self._batcher.close()

    def _caching(
        self,
        future: "Future[RowFeatures]",
        read: Callable[[], Content],
        key: str,
        digest: str | None = None,
        *,
        look_up: bool = False,
    ) -> Callable[[], Row | TextRow | RowFeatures]:
        """Return a callable that prepares an input of the current tenant; threads work for all tenants.

        It is not bound to the input, because its row would wait for garbage collection in a reference cycle.
        """
        return partial(self._prepare_cached, future, read, key, digest, look_up=look_up)

    def _decode(self, content: Content) -> Row | TextRow:
        backbone = self._backbone
        return backbone.decode_with_truncation(content) if self._is_text else backbone.decode(content)

    def _prepare(self, read: Callable[[], Content]) -> Row | TextRow:
        return self._decode(read())

    def _prepare_cached(
        self,
        future: "Future[RowFeatures]",
        read: Callable[[], Content],
        key: str,
        digest: str | None,
        *,
        look_up: bool,
    ) -> Row | TextRow | RowFeatures:
        content = read()
        digest = digest or content_digest(content)
        if look_up and (vectors := self._cache.get(key, digest)) is not None:
            return RowFeatures(views=vectors, truncation=self._backbone.truncation(content))
        row = self._decode(content)
        future.add_done_callback(partial(self._keep, key, digest))
        return row

    def _keep(self, key: str, digest: str, done: "Future[RowFeatures]") -> None:
        if not done.cancelled() and done.exception() is None:
            views = done.result().views
            if len(views) > len(self.info.views):
                # Activations are not cached, because they are many times as large as the views.
                views = {name: views[name] for name in self.info.views}
            self._cache.put(key, digest, views)

    def _admit(self, count: int) -> None:
        with self._lock:
            pending = self._pending
            if pending + count <= self._max_pending:
                self._pending += count
                return
        raise BackboneQueueFull(
            f"Backbone '{self.info.name}' holds {pending} inputs, of at most {self._max_pending}, and the "
            f"call has {count} more. Try again in a second, or send fewer in one call.",
            metadata={"backbone": self.info.name, "limit": str(self._max_pending)},
            retry_after=1.0,
        )

    def _release(self, _: "Future[RowFeatures]") -> None:
        with self._lock:
            self._pending -= 1


def _through(tail: Tail, activations: Float32) -> RowFeatures:
    return RowFeatures(views={LAST: tail.run(activations)})


def _itself(given: Given) -> Given:
    return given
