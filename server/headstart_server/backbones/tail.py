"""The last blocks of a backbone as a part that a version can have of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


class TailMismatch(ValueError):
    """Weights are not those of the tail they are put into."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A place in a network at which its pass can be left and taken up again.

    Attributes:
        name: of the activation there, as a backbone gives it beside its views.
        shape: of one input's activation, (height, width, channels).
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers of one input's activation."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True, slots=True)
class TailPlan:
    """How the last blocks of a backbone are made a tail.

    Attributes:
        blocks: number of last blocks with weights of their own; the layers after the last block count to it.
        cut: where the tail begins. Blocks between it and the first of these keep the backbone's weights.
        layers: names of the layers with weights of their own, in the order of the pass.
    """

    blocks: int
    cut: Cut
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailWeights:
    """What a version's tail has of its own; the rest of it is the backbone's.

    Attributes:
        blocks: number of its blocks; names a `TailPlan` of the backbone.
        tensors: ``LAYER/kernel`` and ``LAYER/bias`` of each of the plan's layers, float32, as Keras lays them
            out: kernels [height, width, in, out], depthwise ones [height, width, channels, 1].
    """

    blocks: int
    tensors: Mapping[str, Float32]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def tensor(self, name: str) -> Float32:
        """One of the tensors.

        Raises:
            TailMismatch: there is none of this name.
        """
        try:
            return self.tensors[name]
        except KeyError:
            raise TailMismatch(
                f"Expected tensor {name} in a tail of {self.blocks} blocks. Received: none."
            ) from None


class Tail(Protocol):
    """A tail that is ready to run."""

    def run(self, activations: Float32) -> Float32:
        """The tail's own `last` view, [n, size], of activations at its cut, [n, height, width, channels].

        A row's features do not depend on the others, bit by bit. May be called from many threads.
        """


def kernel(layer: str) -> str:
    """The name of a layer's kernel in `TailWeights.tensors`."""
    return f"{layer}/kernel"


def bias(layer: str) -> str:
    """The name of a layer's bias in `TailWeights.tensors`."""
    return f"{layer}/bias"
