"""Features of a dataset on the train lane, computed once for each content."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial

from headstart_server.backbones.contract.backbone import Content
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import HeadstartError

#: Seconds between two calls of the checkpoint while waiting for a training row.
CHECK_SECONDS = 0.1


def extract(
    embedder: Embedder,
    digests: Sequence[str],
    read: Callable[[int], Content],
    *,
    window: int,
    cuts: frozenset[str] = frozenset(),
    checkpoint: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, RowFeatures | HeadstartError]]:
    """Compute features of a dataset on the train lane, each distinct content once.

    Args:
        embedder: computes them.
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
    window = max(window, embedder.least_window)
    under_way: deque[tuple[int, Future[RowFeatures]]] = deque()
    try:
        for part in _parts(_first_places(digests), window):
            cached = {} if cuts else embedder.cached([digests[place] for place in part])
            for place in part:
                vectors = cached.get(digests[place])
                started = (
                    embedder.train(partial(read, place), digests[place], cuts)
                    if vectors is None
                    else _finished(RowFeatures(views=vectors, from_cache=True))
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


def serving_seconds(
    embedder: Embedder, contents: Sequence[Content], checkpoint: Callable[[], None]
) -> list[float]:
    """Measure the seconds to serve each input alone, with decoding and pass, uncached, on the train lane."""
    seconds = []
    for content in contents:
        row = settled(embedder.train(partial(_given, content)), checkpoint)
        seconds.append(row.decoded + row.ran / row.batch_rows)
    return seconds


def settled(future: "Future[RowFeatures]", checkpoint: Callable[[], None]) -> RowFeatures:
    """Wait for a future, calling the checkpoint every `CHECK_SECONDS`, and return its result."""
    _await(future, checkpoint)
    return future.result()


def _first_places(digests: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        first.setdefault(digest, place)
    return list(first.values())


def _parts(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _given(content: Content) -> Content:
    return content


def _finished(features: RowFeatures) -> "Future[RowFeatures]":
    future: Future[RowFeatures] = Future()
    future.set_result(features)
    return future


def _await(future: "Future[RowFeatures]", checkpoint: Callable[[], None]) -> None:
    checkpoint()
    while not wait([future], timeout=CHECK_SECONDS).done:
        checkpoint()


def _settled(
    place: int, future: "Future[RowFeatures]", checkpoint: Callable[[], None]
) -> tuple[int, RowFeatures | HeadstartError]:
    # An error of the checkpoint is not the example's error.
    _await(future, checkpoint)
    try:
        return place, future.result()
    except HeadstartError as error:
        if error.retry_after is not None or error.reason == "DRAINING":
            raise
        return place, error
