"""A loaded backbone: decoding, the network on its runtime, and the proof that both are right."""

from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.backbone import BackboneInfo, Content, Truncation, Views
from headstart_server.backbones.decoding import Decoder
from headstart_server.backbones.golden import Golden, check_golden, golden_content
from headstart_server.backbones.runtimes import Precision
from headstart_server.backbones.tail import Tail, TailMismatch, TailPlan, TailWeights
from headstart_server.backbones.tail_training import TailEpoch, TailRequest, TailResult

#: Trains a tail: what, who is told of each epoch, and what is called often and may raise to stop.
Train = Callable[[TailRequest, Callable[[TailEpoch], None], Callable[[], None]], TailResult]


class Runtime(Protocol):
    """What executes the network.

    Attributes:
        name: what it is and what it computes in; features of runtimes with one name are equal, bit by bit.
        precision: what it computes in.
        streams: batches that it runs at once.
        stream_per_core: whether each of them takes one core for its time.
        batch: rows of a batch that make the most of a stream.
    """

    name: str
    precision: Precision
    streams: int
    stream_per_core: bool
    batch: int

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Features of rows [n, ...], and their activations at some cuts."""

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """Rows of a shape that make the most of a stream, where that is less than `batch`."""

    def tail(self, plan: TailPlan, weights: TailWeights) -> Tail:
        """A tail of the network."""


class LoadedBackbone:
    """A `Backbone`.

    Args:
        info: its facts.
        digest: SHA-256 over weights, architecture and preprocessing.
        decoder: turns content into rows.
        runtime: turns rows into views.
        train: trains tails.
    """

    def __init__(
        self, info: BackboneInfo, *, digest: str, decoder: Decoder, runtime: Runtime, train: Train
    ) -> None:
        self._info = info
        self._digest = digest
        self._decoder = decoder
        self._runtime = runtime
        self._train = train

    def __repr__(self) -> str:
        return f"LoadedBackbone({self._info.name!r}, digest={self._digest[:12]!r})"

    @property
    def info(self) -> BackboneInfo:
        """Its facts."""
        return self._info

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over weights, architecture and preprocessing."""
        return self._digest

    @property
    def runtime(self) -> str:
        """What executes it, and in which precision."""
        return self._runtime.name

    @property
    def streams(self) -> int:
        """Batches that it runs at once."""
        return self._runtime.streams

    @property
    def stream_per_core(self) -> bool:
        """Whether a batch takes one core for its time."""
        return self._runtime.stream_per_core

    @property
    def batch(self) -> int:
        """Rows of a batch that make the most of a stream."""
        return self._runtime.batch

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """Rows of a shape that make the most of a stream; see `Backbone.most_rows`."""
        return self._runtime.most_rows(shape)

    def decode(self, content: Content) -> NDArray[np.generic]:
        """Turn one input into one row; see `Backbone.decode`."""
        return self._decoder.decode(content)

    def truncation(self, content: Content) -> Truncation | None:
        """How much of an input its row holds; see `Backbone.truncation`."""
        return self._decoder.truncation(content)

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Features of rows [n, ...]. Called from `streams` threads at once at most."""
        return self._runtime.run(rows, cuts)

    def tail(self, weights: TailWeights) -> Tail:
        """Make a tail ready to run.

        Raises:
            TailMismatch: the weights are not those of a tail of this backbone.
        """
        plan = self._info.tails.get(weights.blocks)
        if plan is None:
            known = ", ".join(map(str, self._info.tails)) or "none"
            raise TailMismatch(f"Expected a tail of so many blocks: {known}. Received: {weights.blocks}.")
        return self._runtime.tail(plan, weights)

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        """Train a tail with a linear head on it; see `Backbone.train_tail`."""
        return self._train(request, progress, checkpoint)

    def check(self, golden: Golden) -> None:
        """Compare the features of a made input with what they should be.

        Raises:
            GoldenMismatch: they differ by more than rounding.
        """
        size = next(iter(self._info.views.values()))
        row = self.decode(golden_content(self._info.modality, size))
        check_golden(self._info.name, self.run(row[None]), golden, self._runtime.precision)
