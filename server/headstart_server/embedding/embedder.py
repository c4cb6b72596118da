"""Inputs to features on one backbone: decoded in threads, looked up or queued, and answered as futures."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import replace
from functools import partial

from headstart_server.backbones.backbone import Backbone, BackboneInfo, Content
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache, content_digest
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.queue import Lane, RowFeatures
from headstart_server.errors import BackboneQueueFull, HeadstartError

#: Seconds between two looks at the checkpoint while a training row is awaited.
CHECK_SECONDS = 0.1


class Embedder:
    """Turns inputs into features for everybody who asks, serving before training.

    Args:
        backbone: decodes inputs and has the facts.
        batcher: runs rows on the backbone.
        cache: features by content; shared by all backbones.
        pools: the threads that decode, for each lane its own, so that training never takes Predict's.
        max_pending: most Predict inputs to hold at once, decoded or not; further ones are refused.
        cache_predictions: whether Predict looks into the cache and fills it, too.
        clock: seconds that only go up; the batcher's.
    """

    def __init__(
        self,
        backbone: Backbone,
        batcher: Batcher,
        cache: FeatureCache,
        pools: Mapping[Lane, Executor],
        *,
        max_pending: int,
        cache_predictions: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backbone = backbone
        self._batcher = batcher
        self._cache = cache
        self._pools = pools
        self._max_pending = max_pending
        self._cache_predictions = cache_predictions
        self._clock = clock
        self._lock = threading.Lock()
        self._pending = 0
        # Another runtime's features differ in their last bits; a head must not depend on which came first.
        self._cache_key = f"{backbone.digest} {backbone.runtime}"

    @property
    def info(self) -> BackboneInfo:
        """The facts about the backbone."""
        return self._backbone.info

    @property
    def digest(self) -> str:
        """The backbone's digest."""
        return self._backbone.digest

    @property
    def runtime(self) -> str:
        """What executes the backbone, and in which precision."""
        return self._backbone.runtime

    @property
    def pending(self) -> int:
        """Number of Predict inputs that are held."""
        return self._pending

    def waiting(self, lane: Lane) -> int:
        """Number of rows that wait for the backbone in a lane."""
        return self._batcher.waiting(lane)

    def predict(
        self, contents: Sequence[Content], deadline: float | None = None
    ) -> list["Future[RowFeatures]"]:
        """Features of inputs on the Predict lane; all are taken or none.

        Args:
            contents: the inputs.
            deadline: when the caller stops waiting, on the clock; None for never.

        Returns:
            A future for each input, in order. Its error is that of `Backbone.decode` or of the batcher.
            Cancelling it takes the input out of its queue.

        Raises:
            BackboneQueueFull: too many inputs are held already.
        """
        self._admit(len(contents))
        futures = []
        for content in contents:
            future = self._start(partial(_given, content), Lane.PREDICT, deadline=deadline)
            future.add_done_callback(self._release)
            futures.append(future)
        return futures

    def extract(
        self,
        digests: Sequence[str],
        read: Callable[[int], Content],
        *,
        window: int,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, RowFeatures | HeadstartError]]:
        """Features of a dataset on the train lane, each different content once.

        Args:
            digests: the content digest of each item; only the first item of a digest is looked at.
            read: gives the content of an item by its place; called from a decoding thread.
            window: most items under way at once, which bounds the memory for decoded rows.
            checkpoint: called at least every `CHECK_SECONDS`; may raise to stop.

        Yields:
            The place of an item, and its features or why it cannot be decoded, in the order of the places.
        """
        under_way: deque[tuple[int, Future[RowFeatures]]] = deque()
        try:
            for place, cached in self._look_up(digests, window):
                started = self._start(partial(read, place), Lane.TRAIN, digest=digests[place], cached=cached)
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

    def decode(self, content: Content) -> None:
        """Check that an input can be decoded, without running it.

        Raises:
            HeadstartError: as `Backbone.decode`.
        """
        self._backbone.decode(content)

    def close(self) -> None:
        """Stop the batcher; inputs that wait fail with `Draining`."""
        self._batcher.close()

    def _look_up(self, digests: Sequence[str], window: int) -> Iterator[tuple[int, Vectors | None]]:
        """The first place of each digest and what is cached for it, looked up by the window."""
        places = _first_places(digests)
        for start in range(0, len(places), window):
            part = places[start : start + window]
            cached = self._cache.get_many(self._cache_key, [digests[place] for place in part])
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
    ) -> "Future[RowFeatures]":
        outcome: Future[RowFeatures] = Future()
        if cached is not None:
            outcome.set_result(RowFeatures(views=cached))
        else:
            self._pools[lane].submit(self._decode_and_queue, read, lane, digest, deadline, outcome)
        return outcome

    def _decode_and_queue(
        self,
        read: Callable[[], Content],
        lane: Lane,
        digest: str | None,
        deadline: float | None,
        outcome: "Future[RowFeatures]",
    ) -> None:
        if outcome.cancelled():
            return
        try:
            started = self._clock()
            content = read()
            if digest is None and self._cache_predictions:
                digest = content_digest(content)
                if (vectors := self._cache.get(self._cache_key, digest)) is not None:
                    _settle(outcome, RowFeatures(views=vectors))
                    return
            row = self._backbone.decode(content)
            decoded = self._clock() - started
            queued = self._batcher.submit(row, lane, deadline)
        except Exception as error:  # noqa: BLE001 - a pool thread has no caller to raise to
            _settle(outcome, error)
            return
        # The outcome stays cancellable while the row waits: the caller's leaving must reach the queue.
        outcome.add_done_callback(lambda done: queued.cancel() if done.cancelled() else None)
        queued.add_done_callback(lambda done: self._finish(done, outcome, decoded, digest))

    def _finish(
        self,
        queued: "Future[RowFeatures]",
        outcome: "Future[RowFeatures]",
        decoded: float,
        digest: str | None,
    ) -> None:
        if queued.cancelled():
            return
        error = queued.exception()
        if error is not None:
            _settle(outcome, error)
            return
        features = replace(queued.result(), decoded=decoded)
        if digest is not None:
            self._cache.put(self._cache_key, digest, features.views)
        _settle(outcome, features)

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


def _given(content: Content) -> Content:
    return content


def _first_places(digests: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        first.setdefault(digest, place)
    return list(first.values())


def _settle(outcome: "Future[RowFeatures]", result: RowFeatures | BaseException) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    if isinstance(result, BaseException):
        outcome.set_exception(result)
    else:
        outcome.set_result(result)


def _settled(
    place: int, future: "Future[RowFeatures]", checkpoint: Callable[[], None]
) -> tuple[int, RowFeatures | HeadstartError]:
    checkpoint()
    while not wait([future], timeout=CHECK_SECONDS).done:
        checkpoint()
    try:
        return place, future.result()
    except HeadstartError as error:
        if error.retry_after is not None or error.reason == "DRAINING":
            raise
        return place, error
