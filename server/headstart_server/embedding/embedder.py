"""Features of inputs on one backbone: looked up or queued, and returned as futures."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, Backbone, BackboneInfo, Content, Truncation
from headstart_server.backbones.contract.tail import Float32, Tail, TailWeights
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache, content_digest
from headstart_server.embedding.cache_scope import shared_key
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.queue import Lane, PendingInput, Row, RowFeatures
from headstart_server.embedding.row_heads import RowHead
from headstart_server.errors import BackboneQueueFull, HeadstartError

#: Seconds between two calls of the checkpoint while waiting for a training row.
CHECK_SECONDS = 0.1
#: Maximum rows of a tail's pass: larger calls are divided among the threads.
TAIL_ROWS = 8
#: Maximum numbers in the inputs of a call that a backbone without a network takes in the caller's thread:
#: some ten microseconds.
MAX_IMMEDIATE_NUMBERS = 16_384


class Embedder:
    """Computes features for all callers of one backbone; serving goes before training.

    Args:
        backbone: decodes inputs and has the metadata.
        batcher: decodes and runs them.
        cache: features by content; shared by all backbones.
        max_pending: maximum number of held Predict inputs, decoded or not; further ones are rejected.
        cache_predictions: whether Predict reads and fills the cache too.
        cache_key: maps a backbone's key to the key of the current tenant; None disables caching.
        least_window: minimum number of a dataset's items in flight, so that every batch can be full.
        clock: monotonic seconds, the same as the batcher's.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backbone = backbone
        self._batcher = batcher
        self._cache = cache
        self._max_pending = max_pending
        self._cache_predictions = cache_predictions
        self._least_window = least_window
        self._clock = clock
        self._lock = threading.Lock()
        self._pending = 0
        # Features of runtimes differ in their last bits; a head must not depend on which came first.
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
        futures = []
        for content in contents:
            future = self._start(
                partial(_given, content), Lane.PREDICT, deadline=deadline, cuts=cuts, heads=heads
            )
            future.add_done_callback(self._release)
            futures.append(future)
        return futures

    def predict_now(
        self, contents: Sequence[Content], heads: Sequence[RowHead]
    ) -> list[RowFeatures | HeadstartError] | None:
        """Return the features of inputs, or their errors, of a backbone without a network.

        Return None for other backbones and for large inputs: those are queued.

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
        """Queue rows as `decode` returns them; see `predict`."""
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
        futures = []
        for row in rows:
            entry = PendingInput(
                prepare=partial(_prepared, row),
                lane=lane,
                since=self._clock(),
                deadline=deadline,
                row=row,
                cuts=cuts,
            )
            self._batcher.submit(entry)
            futures.append(entry.future)
        return futures

    def extract(
        self,
        digests: Sequence[str],
        read: Callable[[int], Content],
        *,
        window: int,
        cuts: frozenset[str] = frozenset(),
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, RowFeatures | HeadstartError]]:
        """Compute features of a dataset on the train lane, each distinct content once.

        Args:
            digests: content digest of each item; only the first item of a digest is processed.
            read: returns the content of an item by its index; called from a thread of the batcher.
            window: maximum number of items in flight, which bounds the memory for decoded rows; raised to
                the number that fills a device's batches.
            cuts: cuts whose activations are returned in addition to the views. Activations are not cached, so
                every item passes the backbone.
            checkpoint: called at least every `CHECK_SECONDS`; may raise to stop.

        Yields:
            The index of an item, and its features or the error of its decoding, in order.
        """
        window = max(window, self._least_window)
        under_way: deque[tuple[int, Future[RowFeatures]]] = deque()
        try:
            for place, cached in self._look_up(digests, window, cuts):
                started = self._start(
                    partial(read, place), Lane.TRAIN, digest=digests[place], cached=cached, cuts=cuts
                )
                under_way.append((place, started))
                if len(under_way) >= window:
                    yield _settled(*under_way[0], checkpoint)
                    under_way.popleft()
            while under_way:
                yield _settled(*under_way[0], checkpoint)
                under_way.popleft()
        finally:
            for _, future in under_way:
                future.cancel()

    def tail(self, weights: TailWeights) -> Tail:
        """Prepare a tail of the backbone to run; see `Backbone.tail`."""
        return self._backbone.tail(weights)

    def run_tail(
        self, tail: Tail, activations: Float32, lane: Lane, *, deadline: float | None = None
    ) -> list["Future[RowFeatures]"]:
        """Run a tail in the backbone's threads, before inputs whose work has not begun; serving goes first.

        Args:
            tail: the tail.
            activations: activations of inputs at its cut, [n, height, width, channels].
            lane: lane of the inputs.
            deadline: when the caller stops waiting, on the clock; None for never.

        Returns:
            Futures of the tail's `last` view of consecutive parts of the inputs, [m, D] each.
        """
        futures = []
        for start in range(0, len(activations), TAIL_ROWS):
            part = activations[start : start + TAIL_ROWS]
            entry = PendingInput(
                prepare=partial(_through, tail, part),
                lane=lane,
                since=self._clock(),
                deadline=deadline,
                is_continuation=True,
            )
            self._batcher.submit(entry)
            futures.append(entry.future)
        return futures

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        """Train a tail; see `Backbone.train_tail`."""
        return self._backbone.train_tail(request, progress, checkpoint)

    def serving_seconds(self, contents: Sequence[Content], checkpoint: Callable[[], None]) -> list[float]:
        """Measure the seconds to serve each input alone: decoding and pass, uncached, on the train lane."""
        seconds = []
        for content in contents:
            entry = PendingInput(
                prepare=partial(self._prepare, partial(_given, content)), lane=Lane.TRAIN, since=self._clock()
            )
            self._batcher.submit(entry)
            row = settled(entry.future, checkpoint)
            seconds.append(row.decoded + row.ran / row.batch_rows)
        return seconds

    def decode(self, content: Content) -> Row:
        """Decode one input into one row; see `Backbone.decode`."""
        return self._backbone.decode(content)

    def truncation(self, content: Content) -> Truncation | None:
        """Return how much of a decodable input its row contains; None if all of it."""
        return self._backbone.truncation(content)

    def close(self) -> None:
        """Stop the batcher; waiting inputs fail with `Draining`."""
        self._batcher.close()

    def _look_up(
        self, digests: Sequence[str], window: int, cuts: frozenset[str]
    ) -> Iterator[tuple[int, Vectors | None]]:
        """Yield the first index of each digest with its cached vectors, looked up one window at a time."""
        places = _first_places(digests)
        key = self._cache_key(self._own_key)
        if cuts or key is None:
            yield from ((place, None) for place in places)
            return
        for start in range(0, len(places), window):
            part = places[start : start + window]
            cached = self._cache.get_many(key, [digests[place] for place in part])
            for place in part:
                yield place, cached.get(digests[place])

    def _start(
        self,
        read: Callable[[], Content],
        lane: Lane,
        *,
        digest: str | None = None,
        cached: Vectors | None = None,
        deadline: float | None = None,
        cuts: frozenset[str] = frozenset(),
        heads: Sequence[RowHead] = (),
    ) -> "Future[RowFeatures]":
        future: Future[RowFeatures] = Future()
        if cached is not None:
            future.set_result(RowFeatures(views=cached))
            return future
        prepare: Callable[[], Row | RowFeatures] = partial(self._prepare, read)
        if lane is Lane.TRAIN or self._cache_predictions:
            # Computed here: the threads that decode work for all tenants.
            key = self._cache_key(self._own_key)
            if key is not None:
                # Not bound to the input: with a reference cycle its row would wait for garbage collection.
                prepare = partial(self._prepare_cached, future, read, key, digest, look_up=not cuts)
        self._batcher.submit(
            PendingInput(
                prepare=prepare,
                lane=lane,
                since=self._clock(),
                deadline=deadline,
                future=future,
                cuts=cuts,
                heads=heads,
            )
        )
        return future

    def _prepare(self, read: Callable[[], Content]) -> Row:
        return self._backbone.decode(read())

    def _prepare_cached(
        self,
        future: "Future[RowFeatures]",
        read: Callable[[], Content],
        key: str,
        digest: str | None,
        *,
        look_up: bool,
    ) -> Row | RowFeatures:
        content = read()
        if digest is None:
            digest = content_digest(content)
            if look_up and (vectors := self._cache.get(key, digest)) is not None:
                return RowFeatures(views=vectors)
        row = self._backbone.decode(content)
        future.add_done_callback(partial(self._keep, key, digest))
        return row

    def _keep(self, key: str, digest: str, done: "Future[RowFeatures]") -> None:
        if not done.cancelled() and done.exception() is None:
            views = done.result().views
            if len(views) > len(self.info.views):
                # An activation is many times as large as the views.
                views = {name: views[name] for name in self.info.views}
            self._cache.put(key, digest, views)

    def _admit(self, count: int) -> None:
        with self._lock:
            pending = self._pending
            if pending + count <= self._max_pending:
                self._pending += count
                return
        raise BackboneQueueFull(
            f"Backbone '{self.info.name}' holds {pending} inputs and takes {self._max_pending} at most. "
            f"Received: {count} more. Try again in a second, or send fewer in one call.",
            metadata={"backbone": self.info.name, "limit": str(self._max_pending)},
            retry_after=1.0,
        )

    def _release(self, _: "Future[RowFeatures]") -> None:
        with self._lock:
            self._pending -= 1


def _prepared(row: Row) -> Row:
    return row


def _through(tail: Tail, activations: Float32) -> RowFeatures:
    return RowFeatures(views={LAST: tail.run(activations)})


def _given(content: Content) -> Content:
    return content


def _first_places(digests: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        first.setdefault(digest, place)
    return list(first.values())


def settled(future: "Future[RowFeatures]", checkpoint: Callable[[], None]) -> RowFeatures:
    """Wait for a future, calling the checkpoint every `CHECK_SECONDS`, and return its result."""
    _await(future, checkpoint)
    return future.result()


def _await(future: "Future[RowFeatures]", checkpoint: Callable[[], None]) -> None:
    checkpoint()
    while not wait([future], timeout=CHECK_SECONDS).done:
        checkpoint()


def _settled(
    place: int, future: "Future[RowFeatures]", checkpoint: Callable[[], None]
) -> tuple[int, RowFeatures | HeadstartError]:
    # An error of the checkpoint is not an example's fault.
    _await(future, checkpoint)
    try:
        return place, future.result()
    except HeadstartError as error:
        if error.retry_after is not None or error.reason == "DRAINING":
            raise
        return place, error
