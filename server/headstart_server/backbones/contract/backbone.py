"""The interface of a backbone: its metadata, decoding and execution."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.tail import Tail, TailPlan, TailWeights
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult

#: One input: the bytes of an image file, a text, or an array.
Content = bytes | str | NDArray[np.generic]

#: Features of n inputs by view name, each float32 of shape [n, size of the view]. A requested activation at
#: a cut is included by the cut's name, [n, height, width, channels].
Views = Mapping[str, NDArray[np.float32]]

#: The view every backbone has: its last, pooled features.
LAST = "last"

#: The view of concatenated global averages of stage outputs, which some backbones have.
TAPS = "taps"


class Modality(Enum):
    """Kind of input of a backbone."""

    IMAGE = "image"
    TEXT = "text"
    TENSOR = "tensor"

    # Modalities are keys; `Enum` would hash their names, in Python.
    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneInfo:
    """Metadata of a backbone, available without loading it."""

    name: str  # as callers write it
    modality: Modality
    # size of each view, including ``last``. Empty before the first preparation, as are the values below
    views: Mapping[str, int]
    # (height, width) in pixels of images, (maximum tokens,) of texts, (size,) of tensors
    input_size: tuple[int, ...]
    parameter_count: int  # number of weights
    source: str  # origin of the weights
    license: str  # SPDX identifier of the weights' license
    description: str
    # tail plans by their number of last blocks; empty if unsupported
    tails: Mapping[int, TailPlan] = field(default_factory=dict)
    # sentence with the reason why 8 bits are used or not; empty without a quantized form
    precision_reason: str = ""

    @property
    def is_prepared(self) -> bool:
        """Whether all metadata is known."""
        return bool(self.views)


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """A truncated input: `kept` of `length` characters reach the backbone."""

    kept: int
    length: int


def content_nbytes(content: Content) -> int:
    """Return the bytes of an input; those of a text in UTF-8."""
    if isinstance(content, bytes):
        return len(content)
    return len(content.encode()) if isinstance(content, str) else content.nbytes


class Decoder(Protocol):
    """Converts one input to one row. It can be pickled, for a process without the network."""

    def decode(self, content: Content) -> NDArray[np.generic]:
        """Convert one input to one row for `Backbone.run`. Thread-safe.

        Raises:
            WrongModality: the content has another modality.
            UndecodableInput: the content cannot be decoded.
            InputTooLarge: an image has too many pixels.
        """

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.generic], Truncation | None]:
        """Return the row of `decode` and the truncation of `truncation`, decoding once."""

    def truncation(self, content: Content) -> Truncation | None:
        """Return the truncation of a decodable input; None if its row contains all of it."""


class Backbone(Decoder, Protocol):
    """A loaded, frozen network with its preprocessing."""

    @property
    def info(self) -> BackboneInfo:
        """Metadata."""

    @property
    def digest(self) -> str:
        """SHA-256 in hexadecimal over weights, architecture and preprocessing."""

    @property
    def runtime(self) -> str:
        """Runtime and precision; equal names give bitwise equal features."""

    @property
    def decoder(self) -> Decoder:
        """Decodes inputs as the backbone does, also in another process."""

    @property
    def streams(self) -> int:
        """Maximum number of concurrent calls of `run`, from any threads."""

    @property
    def stream_per_core(self) -> bool:
        """Whether a batch occupies one core; otherwise it occupies a device, or all cores."""

    @property
    def on_device(self) -> bool:
        """Whether a device computes batches while the processor prepares others."""

    @property
    def is_immediate(self) -> bool:
        """Whether `decode` and `run` take microseconds, so that queueing rows would take longer.

        Any number of threads may call `run` then.
        """

    @property
    def batch(self) -> int:
        """Rows of a batch that use a stream fully; longer batches only add latency."""

    def most_rows(self, shape: tuple[int, ...]) -> int | None:
        """Return the limit `batch` for rows of one shape, if it is lower; None if shapes do not matter."""

    def run(self, rows: NDArray[np.generic], cuts: Collection[str] = ()) -> Views:
        """Compute features of rows [n, ...] from `decode`. At most `streams` concurrent calls.

        Args:
            cuts: cuts whose activations are returned too; the views do not depend on it.
        """

    def tail(self, weights: TailWeights) -> Tail:
        """Prepare a tail to run; takes tens of milliseconds on a CPU.

        Raise TailMismatch if the weights do not belong to a tail of this backbone.
        """

    def train_tail(
        self, request: TailRequest, progress: Callable[[TailEpoch], None], checkpoint: Callable[[], None]
    ) -> TailResult:
        """Train a tail with a linear head on it. Callable from any thread; takes seconds to minutes.

        Args:
            progress: receives each epoch.
            checkpoint: called at least ten times a second; may raise to stop.

        Raises:
            TrainerDied: the training process exited without a result.
        """
