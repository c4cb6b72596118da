"""The codec between numpy arrays and the contract's `Tensor`, shared by client and server."""

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.v1 import input_pb2

MAX_DIMENSIONS = 32
"""Maximum number of dimensions of a tensor, which every numpy supports."""

# Little-endian by contract, on every host.
_DTYPES: dict[input_pb2.DataType, np.dtype[Any]] = {
    input_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
    input_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    input_pb2.DATA_TYPE_INT64: np.dtype("<i8"),
    input_pb2.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    input_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    input_pb2.DATA_TYPE_FLOAT64: np.dtype("<f8"),
}
_DATA_TYPES = {dtype: data_type for data_type, dtype in _DTYPES.items()}
_NAMES = ", ".join(dtype.name for dtype in _DTYPES.values())


def encode(array: NDArray[Any]) -> input_pb2.Tensor:
    """Return an array as a tensor, row-major and little-endian; its bytes are copied once.

    The element type is uint8, int32, int64, float16, float32 or float64.
    """
    dtype = array.dtype.newbyteorder("<")
    data_type = _DATA_TYPES.get(dtype)
    if data_type is None:
        raise ValueError(f"A tensor's elements must be one of {_NAMES}. Received: {array.dtype}")
    if array.ndim > MAX_DIMENSIONS:
        raise ValueError(f"A tensor must have at most {MAX_DIMENSIONS} dimensions. Received: {array.ndim}")
    data = array.astype(dtype, copy=False).tobytes(order="C")
    return input_pb2.Tensor(data_type=data_type, shape=array.shape, data=data)


def is_encodable(dtype: np.dtype[Any]) -> bool:
    """Return whether `encode` accepts an element type."""
    return dtype.newbyteorder("<") in _DATA_TYPES


def decode(tensor: input_pb2.Tensor) -> NDArray[Any]:
    """Return a tensor as a read-only little-endian array that shares the bytes of its `data`.

    Raises:
        ValueError: the element type, the dimensions or the length of the data are invalid; the message may be
            hostile.
    """
    dtype = _DTYPES.get(tensor.data_type)
    if dtype is None:
        raise ValueError(f"A tensor's data_type must be one of {_NAMES}. Received: {tensor.data_type}")
    data = tensor.data
    shape = _checked_shape(tensor, dtype, len(data))
    return np.frombuffer(data, dtype).reshape(shape)


def _checked_shape(tensor: input_pb2.Tensor, dtype: np.dtype[Any], size: int) -> tuple[int, ...]:
    if len(tensor.shape) > MAX_DIMENSIONS:  # before it is copied or printed: there may be millions
        raise ValueError(
            f"A tensor must have at most {MAX_DIMENSIONS} dimensions. Received: {len(tensor.shape)}"
        )
    shape = tuple(tensor.shape)
    if min(shape, default=0) < 0:
        raise ValueError(f"A tensor's dimensions must be 0 or more. Received: {list(shape)}")
    # Python's integers do not overflow. Next to a zero, the other dimensions must still fit numpy's.
    strides = math.prod([max(dimension, 1) for dimension in shape]) * dtype.itemsize
    expected = math.prod(shape) * dtype.itemsize
    if expected != size:
        raise ValueError(
            f"A {dtype.name} tensor of shape {list(shape)} must have {expected} bytes of data. "
            f"Received: {size}"
        )
    if strides > sys.maxsize:
        raise ValueError(f"A tensor's dimensions must multiply to less than 2^63. Received: {list(shape)}")
    return shape
