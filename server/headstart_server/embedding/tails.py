"""Tails of versions, prepared on their backbone on first use."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.contract.tail import Float32, Tail, TailMismatch, TailWeights
from headstart_server.embedding.dataset_features import settled
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import Lane, RowFeatures
from headstart_server.errors import ArtifactDamaged

#: A prepared tail has a second copy of its weights, laid out for the processor.
_COPIES = 2


class VersionTail:
    """A version's own tail. Safe to use from many threads.

    Args:
        weights: its weights.
        cut: name of the backbone's cut that it begins at.
        model: name of its model, for errors.
    """

    def __init__(self, weights: TailWeights, cut: str, model: str) -> None:
        self._weights = weights
        self.cut = cut
        self._model = model
        self._lock = threading.Lock()
        self._tail: Tail | None = None

    @property
    def weights(self) -> TailWeights:
        """Weights of the tail."""
        return self._weights

    @property
    def nbytes(self) -> int:
        """Bytes used in memory once prepared."""
        return _COPIES * self._weights.nbytes

    @property
    def is_ready(self) -> bool:
        """Whether `start` returns immediately."""
        return self._tail is not None

    def prepare(self, embedder: Embedder) -> Tail:
        """Prepare the tail if necessary; takes tens of milliseconds on a CPU."""
        with self._lock:
            if self._tail is None:
                try:
                    self._tail = embedder.tail(self._weights)
                except TailMismatch as error:
                    raise ArtifactDamaged(
                        f"A stored version of model '{self._model}' is damaged: its tail does not fit its "
                        f"backbone. {error} Delete it and fine-tune again.",
                        metadata={"model": self._model},
                    ) from error
            return self._tail

    def start(
        self,
        embedder: Embedder,
        activations: Float32,
        lane: Lane,
        *,
        deadline: float | None = None,
    ) -> list["Future[RowFeatures]"]:
        """Start its passes over activations, [n, ...]; see `Embedder.run_tail`."""
        return embedder.run_tail(self.prepare(embedder), activations, lane, deadline=deadline)


def with_tail(views: Mapping[str, Float32], passes: Sequence[RowFeatures]) -> dict[str, Float32]:
    """Return the views of inputs, [n, D] each, with the tail's `last` instead of the backbone's."""
    return {**views, LAST: np.concatenate([part.views[LAST] for part in passes])}


def trained_views(
    tail: VersionTail | None,
    embedder: Embedder,
    views: Mapping[str, Float32],
    activations: Float32 | None,
    checkpoint: Callable[[], None],
) -> Mapping[str, Float32]:
    """Return the views that a version's head uses, running its tail on the train lane."""
    if tail is None or activations is None:
        return views
    begun = tail.start(embedder, activations, Lane.TRAIN)
    return with_tail(views, [settled(future, checkpoint) for future in begun])
