"""What a backbone is: its facts, and the two things it does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.tail import Tail, TailPlan, TailWeights
from headstart_server.backbones.tail_training import TailEpoch, TailRequest, TailResult

#: One input as it came: the bytes of a picture file, a text, or an array.
Content = bytes | str | NDArray[np.generic]

#: Features of n inputs by view name, each float32 of shape [n, size of the view]. An activation at a cut is
#: among them where it was asked for, by the cut's name, [n, height, width, channels].
Views = Mapping[str, NDArray[np.float32]]

#: The view every backbone has: its last, pooled features.
LAST = "last"

#: The concatenated global averages of its stages' outputs, which some backbones have.
TAPS = "taps"


class Modality(Enum):
    """What a backbone takes."""

    IMAGE = "image"
    TEXT = "text"
    TENSOR = "tensor"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneInfo:
    """The facts about a backbone that are known without loading it.

    Attributes:
        name: as callers write it.
        modality: what it takes.
        views: the size of each view it gives, ``last`` among them; empty before it is prepared for the first
            time, as are the facts below then.
        input_size: what inputs are brought to: (height, width) in pixels of pictures, (most tokens,) of
            texts, (size,) of tensors.
        parameter_count: number of weights.
        source: where the weights come from.
        license: SPDX identifier of the weights' licence.
        description: what it is, in a sentence.
        tails: how its last blocks are made a tail, by their number; empty if they cannot be.
    """

    name: str
    modality: Modality
    views: Mapping[str, int]
    input_size: tuple[int, ...]
    parameter_count: int
    source: str
    license: str
    description: str
    tails: Mapping[int, TailPlan] = field(default_factory=dict)

    @property
    def is_prepared(self) -> bool:
        """Whether all facts are known."""
        return bool(self.views)


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """That a backbone does not see the end of an input.

    Attributes:
        kept: characters it sees.
        length: characters there are.
    """

    kept: int
    length: int


class Backbone(Protocol):
    """A loaded, frozen network with its preprocessing."""

    @property
    def info(self) -> BackboneInfo:
        """Its facts."""

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over weights, architecture and preprocessing."""

    @property
    def runtime(self) -> str:
        """What executes it, and in which precision: equal names give equal features, bit by bit."""

    @property
    def streams(self) -> int:
        """Batches that it runs at once: `run` may be called so many times at once, from any threads."""

    @property
    def stream_per_core(self) -> bool:
        """Whether a batch takes one core for its time; else it takes a device, or all cores."""

    @property
    def batch(self) -> int:
        """Rows of a batch that make the most of a stream; longer batches only make others wait."""

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """The same for rows of one shape, where that is less; None where shapes make no difference."""

    def decode(self, content: Content) -> NDArray[np.generic]:
        """Turn one input into one row for `run`. Safe to call from many threads.

        Raises:
            WrongModality: the content is not of this backbone's modality.
            UndecodableInput: it is, but cannot be read.
            InputTooLarge: it has too many pixels.
        """

    def truncation(self, content: Content) -> Truncation | None:
        """How much of an input that can be decoded its row holds; None if all of it."""

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Features of rows, [n, ...] as `decode` made each. Called from `streams` threads at once at most.

        Args:
            rows: the rows.
            cuts: names of the cuts whose activations are wanted too; the views do not depend on it.
        """

    def tail(self, weights: TailWeights) -> Tail:
        """Make a tail ready to run; takes some tens of milliseconds on a CPU.

        Raises:
            TailMismatch: the weights are not those of a tail of this backbone.
        """

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        """Train a tail with a linear head on it. Called from any thread; takes seconds to minutes.

        Args:
            request: what to train.
            progress: told of each epoch.
            checkpoint: called at least ten times in a second; may raise to stop.

        Raises:
            TrainerDied: the process that trained ended by itself.
        """
