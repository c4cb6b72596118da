"""A loaded backbone: decoding, the network on its runtime, and their verification."""

from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import BackboneInfo, Decoder, Views
from headstart_server.backbones.contract.runtimes import Precision
from headstart_server.backbones.contract.tail import Tail, TailMismatch, TailPlan, TailWeights
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.backbones.networks.golden import Golden, check_golden, golden_content

#: Trains a tail: request, receiver of each epoch, and checkpoint that may raise to stop.
Train = Callable[[TailRequest, Callable[[TailEpoch], None], Callable[[], None]], TailResult]


class Runtime(Protocol):
    """Executes a network; see `Backbone` for its values."""

    name: str
    precision: Precision
    streams: int
    stream_per_core: bool
    on_device: bool
    is_immediate: bool
    batch: int

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Compute features of rows [n, ...], and their activations at some cuts."""

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """Return the rows of a shape that use a stream fully, if fewer than `batch`."""

    def tail(self, plan: TailPlan, weights: TailWeights) -> Tail:
        """Return a tail of the network."""


class LoadedBackbone:
    """A `Backbone` of a decoder, a runtime and a trainer of tails."""

    def __init__(
        self, info: BackboneInfo, *, digest: str, decoder: Decoder, runtime: Runtime, train: Train
    ) -> None:
        self.info = info
        self.digest = digest
        self.decoder = decoder
        self.decode = decoder.decode
        self.decode_with_truncation = decoder.decode_with_truncation
        self.truncation = decoder.truncation
        self.runtime = runtime.name
        self.streams = runtime.streams
        self.stream_per_core = runtime.stream_per_core
        self.on_device = runtime.on_device
        self.is_immediate = runtime.is_immediate
        self.batch = runtime.batch
        self.most_rows = runtime.most_rows
        self.run = runtime.run
        self.train_tail = train
        self._runtime = runtime

    def __repr__(self) -> str:
        return f"LoadedBackbone({self.info.name!r}, digest={self.digest[:12]!r})"

    def tail(self, weights: TailWeights) -> Tail:
        plan = self.info.tails.get(weights.blocks)
        if plan is None:
            known = ", ".join(map(str, self.info.tails)) or "0"
            raise TailMismatch(f"Expected a tail of {known} blocks. Received: {weights.blocks}.")
        return self._runtime.tail(plan, weights)

    def check(self, golden: Golden) -> None:
        """Compare the features of a synthetic input with the expected ones; raise `GoldenMismatch`."""
        size = next(iter(self.info.views.values()))
        row = self.decode(golden_content(self.info.modality, size))
        check_golden(self.info.name, self.run(row[None]), golden, self._runtime.precision)
