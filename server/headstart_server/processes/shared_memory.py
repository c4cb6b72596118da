"""Memory shared by a serving process and the engine: rows to the engine, features back."""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.tail import Float32

#: Dtypes of rows and activations; a request has the index.
_DTYPES = tuple(map(np.dtype, ("uint8", "int32", "float32", "int64", "float16", "float64", "uint32", "bool")))
#: Alignment of arrays in bytes.
_ALIGNMENT = 64
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
#: Maximum dimensions of rows, including the number of rows.
_DIMENSIONS = 5

#: Kind, lane, backbone, cuts (a bit each), tail, dtype, dimensions and shape.
_REQUEST = struct.Struct(f"<BBHIQBB{_DIMENSIONS}I")


class SharedMemory:
    """A sealed file in memory that is mapped by both processes, and freed once both have closed it.

    It has no name, so only processes that received its descriptor can read it.

    Args:
        descriptor: the descriptor; None creates the memory. It is closed once mapped by the receiver.
        nbytes: the size.
    """

    def __init__(self, nbytes: int, descriptor: int | None = None) -> None:
        self.nbytes = nbytes
        self.descriptor = sealed_memory("headstart-rows", nbytes) if descriptor is None else descriptor
        self._map = mmap.mmap(self.descriptor, nbytes)
        self._bytes = np.frombuffer(self._map, np.uint8)

    @classmethod
    def received(cls, descriptor: int) -> "SharedMemory":
        """Map memory that the other process created."""
        try:
            return cls(os.fstat(descriptor).st_size, descriptor)
        finally:
            os.close(descriptor)

    def array(self, offset: int, shape: Sequence[int], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
        """Return the array at an offset, without a copy.

        Raise ValueError if it does not lie within the memory.
        """
        nbytes = prod(shape) * dtype.itemsize
        if offset + nbytes > self.nbytes:
            raise ValueError(f"Expected at most {self.nbytes} bytes. Received: {offset + nbytes}.")
        return self._bytes[offset : offset + nbytes].view(dtype).reshape(shape)


def sealed_memory(name: str, nbytes: int) -> int:
    """Return the descriptor of memory without a path, of a fixed size; processes get it from its creator."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, nbytes)
    # A fixed size, so that the other process never reads past the end.
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsRequest:
    """A request to compute features of rows, which lie at the beginning of the memory."""

    is_training: bool  # whether the rows go to the train lane
    backbone: int  # number of the backbone in this connection
    cuts: int  # indices of the requested cuts among the backbone's, as bits
    tail: int  # number of the tail that runs instead of the backbone; 0 for none
    shape: tuple[int, ...]  # shape of the rows, [n, ...]
    dtype: np.dtype[np.generic]  # their type

    def packed(self) -> bytes:
        """Return the request as bytes."""
        sides = (*self.shape, *(0,) * (_DIMENSIONS - len(self.shape)))
        return _REQUEST.pack(
            1,
            self.is_training,
            self.backbone,
            self.cuts,
            self.tail,
            _DTYPES.index(self.dtype),
            len(self.shape),
            *sides,
        )

    @classmethod
    def unpacked(cls, message: bytes) -> "RowsRequest":
        """Read a request."""
        _, is_training, backbone, cuts, tail, dtype, dimensions, *sides = _REQUEST.unpack(message)
        return cls(
            is_training=bool(is_training),
            backbone=backbone,
            cuts=cuts,
            tail=tail,
            shape=tuple(sides[:dimensions]),
            dtype=_DTYPES[dtype],
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputPlan:
    """Positions of a request's features in the memory: after its rows, one matrix after another."""

    places: Mapping[str, tuple[int, tuple[int, ...]]]  # offset and shape of each output, by name
    nbytes: int  # bytes of rows and outputs

    @classmethod
    def of(cls, request: RowsRequest, outputs: Iterable[tuple[str, tuple[int, ...]]]) -> "OutputPlan":
        """Plan the outputs of a request; both processes compute the same plan.

        Args:
            request: the request.
            outputs: name of each output, and its shape for one row.
        """
        offset, places, rows = _aligned(request.nbytes), {}, request.shape[0]
        for name, sides in outputs:
            places[name] = offset, (rows, *sides)
            offset = _aligned(offset + rows * prod(sides) * 4)
        return cls(places=places, nbytes=offset)

    def read(self, memory: SharedMemory) -> dict[str, Float32]:
        """Copy the outputs from the memory."""
        return {
            name: memory.array(offset, shape, _FLOAT32).copy().view(np.float32)
            for name, (offset, shape) in self.places.items()
        }

    def write_row(self, memory: SharedMemory, row: int, views: Mapping[str, Float32]) -> None:
        """Write the outputs of one row into the memory."""
        for name, (offset, shape) in self.places.items():
            memory.array(offset, shape, _FLOAT32)[row] = views[name]

    def write_rows(self, memory: SharedMemory, start: int, views: Mapping[str, Float32]) -> None:
        """Write the outputs of consecutive rows into the memory."""
        for name, (offset, shape) in self.places.items():
            matrix = views[name]
            memory.array(offset, shape, _FLOAT32)[start : start + len(matrix)] = matrix


_FLOAT32 = np.dtype(np.float32)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
