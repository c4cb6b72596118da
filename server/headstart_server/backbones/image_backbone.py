"""A loaded network for pictures: decoding, the network on its runtime, and the proof that both are right."""

import json
from collections.abc import Callable, Collection, Mapping
from importlib import resources
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart_server.backbones.backbone import BackboneInfo, Content, CutShort, Views
from headstart_server.backbones.runtimes import Precision
from headstart_server.backbones.tail import Tail, TailMismatch, TailPlan, TailWeights
from headstart_server.backbones.tail_training import TailEpoch, TailRequest, TailResult

#: Trains a tail: what, who is told of each epoch, and what is called often and may raise to stop.
Train = Callable[[TailRequest, Callable[[TailEpoch], None], Callable[[], None]], TailResult]

#: Largest error of a golden feature, relative to the largest of its view, for each precision.
_TOLERANCES = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 8e-2}

#: How many values of each view are kept.
_GOLDEN_VALUES = 16


class GoldenMismatch(RuntimeError):
    """A loaded backbone does not give the features its weights are known to give."""


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


class Decoder(Protocol):
    """Turns one input into one row."""

    def decode(self, content: Content) -> NDArray[np.generic]:
        """See `Backbone.decode`."""


class ImageBackbone:
    """A `Backbone` that takes pictures, texts or arrays.

    Args:
        info: its facts.
        digest: SHA-256 over weights, architecture and preprocessing.
        pictures: turns content into rows.
        runtime: turns rows into views.
        train: trains tails.
        cut_short: tells how much of an input its row holds; None where that is all of it.
    """

    def __init__(
        self,
        info: BackboneInfo,
        *,
        digest: str,
        pictures: Decoder,
        runtime: Runtime,
        train: Train,
        cut_short: Callable[[Content], CutShort | None] = lambda _: None,
    ) -> None:
        self._info = info
        self._digest = digest
        self._pictures = pictures
        self._runtime = runtime
        self._train = train
        self._cut_short = cut_short

    def __repr__(self) -> str:
        return f"ImageBackbone({self._info.name!r}, digest={self._digest[:12]!r})"

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
        return self._pictures.decode(content)

    def cut_short(self, content: Content) -> CutShort | None:
        """How much of an input its row holds; see `Backbone.cut_short`."""
        return self._cut_short(content)

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

    def check_golden(self, content: Content | None = None) -> None:
        """Compare the features of one made input with those the original network gives.

        A wrong order of colours, scale or crop raises no error by itself; it only costs accuracy.

        Args:
            content: the made input; None for the picture.

        Raises:
            GoldenMismatch: they differ by more than rounding.
        """
        views = self.run(self.decode(golden_picture() if content is None else content)[None])
        for view, expected in _golden_features()[self._info.name].items():
            received = summarise(views[view][0])
            error = max(_relative_error(received[fact], expected[fact]) for fact in expected)
            tolerance = _TOLERANCES[self._runtime.precision]
            if not error <= tolerance:  # a NaN fails too
                raise GoldenMismatch(
                    f"Expected {self._info.name} to give the golden features of view {view!r} within "
                    f"{tolerance:g}. Received: a relative error of {error:.2g}. The preprocessing, the "
                    "weights or the runtime are not those this release was tested with."
                )


def golden_picture() -> NDArray[np.uint8]:
    """A made picture, uint8 [300, 400, 3], that no flip, crop or order of colours leaves alike."""
    y, x = np.mgrid[0:300, 0:400]
    red = 255 * x / 399
    green = 127.5 + 127.5 * np.sin(x * y / 2500)
    blue = np.where((x // 40 + y // 30) % 3 == 0, 220, 255 * (y / 299) ** 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def golden_text() -> str:
    """A made text, with capitals, accents, digits, signs and words that no vocabulary has whole."""
    return "Ünïcode words, 42 numbers & pseudo-antidisestablishmentarianism: do they pass as they should?"


def summarise(features: NDArray[np.float32]) -> dict[str, ArrayLike]:
    """What is kept as golden of one row of features: its norm, and the means of 16 equal stretches."""
    exact = features.astype(np.float64)
    means = [stretch.mean() for stretch in np.array_split(exact, _GOLDEN_VALUES)]
    return {"norm": float(np.linalg.norm(exact)), "values": means}


def _relative_error(received: ArrayLike, expected: ArrayLike) -> float:
    """Largest difference, relative to the largest expected value."""
    return float(np.max(np.abs(np.subtract(received, expected))) / np.max(np.abs(expected)))


def _golden_features() -> Mapping[str, Mapping[str, Mapping[str, ArrayLike]]]:
    text = resources.files(__package__).joinpath("golden.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]
