"""A loaded backbone: decoding, the network on its runtime, and their verification."""

from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import BackboneInfo, Content, Decoder, Truncation, Views
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
        self._info = info
        self._digest = digest
        self._decoder = decoder
        self._runtime = runtime
        self._train = train

    def __repr__(self) -> str:
        return f"LoadedBackbone({self._info.name!r}, digest={self._digest[:12]!r})"

    @property
    def info(self) -> BackboneInfo:
        return self._info

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def runtime(self) -> str:
        return self._runtime.name

    @property
    def decoder(self) -> Decoder:
        return self._decoder

    @property
    def streams(self) -> int:
        return self._runtime.streams

    @property
    def stream_per_core(self) -> bool:
        return self._runtime.stream_per_core

    @property
    def on_device(self) -> bool:
        return self._runtime.on_device

    @property
    def is_immediate(self) -> bool:
        return self._runtime.is_immediate

    @property
    def batch(self) -> int:
        return self._runtime.batch

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        return self._runtime.most_rows(shape)

    def decode(self, content: Content) -> NDArray[np.generic]:
        return self._decoder.decode(content)

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.generic], Truncation | None]:
        return self._decoder.decode_with_truncation(content)

    def truncation(self, content: Content) -> Truncation | None:
        return self._decoder.truncation(content)

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        return self._runtime.run(rows, cuts)

    def tail(self, weights: TailWeights) -> Tail:
        plan = self._info.tails.get(weights.blocks)
        if plan is None:
            known = ", ".join(map(str, self._info.tails)) or "0"
            raise TailMismatch(f"Expected a tail of {known} blocks. Received: {weights.blocks}.")
        return self._runtime.tail(plan, weights)

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        return self._train(request, progress, checkpoint)

    def check(self, golden: Golden) -> None:
        """Compare the features of a synthetic input with the expected ones; raise `GoldenMismatch`."""
        size = next(iter(self._info.views.values()))
        row = self.decode(golden_content(self._info.modality, size))
        check_golden(self._info.name, self.run(row[None]), golden, self._runtime.precision)
