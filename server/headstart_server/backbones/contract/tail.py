"""Tails: the last blocks of a backbone, with weights that a version may replace."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class TailMismatch(ValueError):
    """Weights do not belong to the tail."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A place where a network's pass can be interrupted and resumed."""

    name: str  # name of the activation among a backbone's outputs
    shape: tuple[int, ...]  # one input's activation, (height, width, channels)

    @property
    def size(self) -> int:
        """Numbers in one input's activation."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True, slots=True)
class TailPlan:
    """Division of a backbone into frozen part and tail."""

    blocks: int  # number of last blocks with other weights; the layers after the last block belong to it
    cut: Cut  # the start of the tail; blocks between it and the last `blocks` keep the backbone's weights
    layers: tuple[str, ...]  # layers with other weights, in the order of execution


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailWeights:
    """Weights of a version's tail that differ from the backbone's."""

    blocks: int  # number of its blocks; identifies a `TailPlan` of the backbone
    # ``LAYER/kernel`` and ``LAYER/bias`` of the plan's layers, float32, in Keras's layout: kernels [height,
    # width, in, out], depthwise ones [height, width, channels, 1]
    tensors: Mapping[str, Float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def tensor(self, name: str) -> Float32:
        """Return a tensor; raise `TailMismatch` if it is missing."""
        try:
            return self.tensors[name]
        except KeyError:
            raise TailMismatch(f"Tensor {name} is missing in the tail of {self.blocks} blocks.") from None


class Tail(Protocol):
    """A tail that is ready to run."""

    def run(self, activations: Float32) -> Float32:
        """Return the tail's `last` view, [n, size], of activations at its cut, [n, height, width, channels].

        A row's features do not depend on the others, bit by bit. Thread-safe.
        """


def kernel(layer: str) -> str:
    """Return the name of a layer's kernel in `TailWeights.tensors`."""
    return f"{layer}/kernel"


def bias(layer: str) -> str:
    """Return the name of a layer's bias in `TailWeights.tensors`."""
    return f"{layer}/bias"
