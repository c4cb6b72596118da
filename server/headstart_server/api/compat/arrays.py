"""Conversion of other protocols' tensors, which have separate shapes and values, to inputs."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.api.grpc.requests.request_checks import check_text
from headstart_server.backbones.contract.backbone import BackboneInfo, Content, Modality
from headstart_server.errors import InvalidField, UndecodableInput

#: Bytes of a request whose inputs are converted in the event loop; those of larger ones are converted in a
#: thread. So many bytes may be as many values, which take about ten milliseconds.
MAX_BYTES_IN_LOOP = 256 << 10
#: Values that are converted to an array at once, so that other threads can run between the pieces.
_VALUES_AT_ONCE = 50_000
#: Maximum bytes of an array of one value, which takes the memory of that value only.
_MAX_REPEATED_BYTES = 64 << 20
#: Maximum bytes of an array of several values, of which the last one is repeated.
_MAX_FILLED_BYTES = 1 << 20
#: Maximum dimensions of a tensor: inputs have at most three, and numpy limits the dimensions of arrays.
_MAX_DIMENSIONS = 8

Array = NDArray[np.generic]


def check_shape(shape: Sequence[int], name: str, max_inputs: int) -> int:
    """Check a shape; return its number of inputs.

    Args:
        shape: [n, ...].
    """
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or min(shape) < 1:
        raise InvalidField(
            f"Expected a shape of [n, ...], at most {_MAX_DIMENSIONS} dimensions, each 1 or more, for input "
            f"'{name}'. Received: {list(shape)[:16]}.",
            field="inputs",
        )
    if shape[0] > max_inputs:
        raise InvalidField(
            f"Expected 1 to {max_inputs} inputs in '{name}'. Received: {shape[0]}.", field="inputs"
        )
    return shape[0]


def check_strings_shape(shape: Sequence[int], name: str, max_inputs: int) -> int:
    """Check the shape of strings; return its number of images or texts."""
    count = check_shape(shape, name, max_inputs)
    if math.prod(shape) != count or len(shape) > 2:
        raise InvalidField(
            f"Expected a shape of [n] or [n, 1] for the images or texts of input '{name}'. "
            f"Received: {list(shape)[:16]}.",
            field="inputs",
        )
    return count


def from_bytes(data: bytes, dtype: np.dtype[Any], shape: Sequence[int], name: str) -> Array:
    """Return the array of little-endian bytes, which shares their memory."""
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidField(
            f"Expected {expected} bytes for {dtype.name} of shape {list(shape)} in input '{name}'. "
            f"Received: {len(data)}.",
            field="inputs",
        )
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)


def from_values(
    values: Sequence[Any], dtype: np.dtype[Any], shape: Sequence[int], name: str, *, repeats: bool = False
) -> Array:
    """Return the array of values.

    Args:
        repeats: whether the last value is repeated in place of missing ones.
    """
    size, count = math.prod(shape), len(values)
    most = _MAX_REPEATED_BYTES if count == 1 else _MAX_FILLED_BYTES
    is_short = repeats and 0 < count < size and size * dtype.itemsize <= most
    if count != size and not is_short:
        raise InvalidField(
            f"Expected {size} values for {dtype.name} of shape {list(shape)} in input '{name}'. "
            f"Received: {count}.",
            field="inputs",
        )
    try:
        array = array_of(values, dtype)
    except OverflowError:
        raise InvalidField(
            f"A value in input '{name}' is outside the range of {dtype.name}. Choose a larger datatype.",
            field="inputs",
        ) from None
    if count == 1:
        return np.broadcast_to(array, shape)
    if is_short:
        array = np.concatenate([array, np.full(size - count, array[-1])])
    return array.reshape(shape)


def array_of(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Return the array [n] of values. Raise OverflowError if one is outside of the range of the dtype."""
    array = np.empty(len(values), dtype)
    for start in range(0, len(values), _VALUES_AT_ONCE):
        part = np.array(values[start : start + _VALUES_AT_ONCE], dtype)
        array[start : start + len(part)] = part
    return array


def from_bfloat16(data: bytes, shape: Sequence[int], name: str) -> Array:
    """Return the array of the bytes of bfloat16, a type that numpy does not have, in float32."""
    halves = from_bytes(data, np.dtype(np.uint16), shape, name)
    # A bfloat16 is the upper half of a float32.
    wide = np.zeros((*shape, 2), "<u2")
    wide[..., 1] = halves
    return wide.view("<f4")[..., 0]


def rows_of(array: Array, name: str) -> list[Content]:
    """Return one input for each row of an array [n, ...]. Raise InvalidField if it has one dimension only."""
    if array.ndim < 2:
        raise InvalidField(
            f"Expected a shape of [n, size] for features, or [n, height, width, 3] for pixels, in input "
            f"'{name}'. Received: {list(array.shape)}.",
            field="inputs",
        )
    return list(array)


def contents_of(strings: Iterable[bytes], backbone: BackboneInfo, name: str) -> list[Content]:
    """Return one input for each byte string: an encoded image or, for a text backbone, a text in UTF-8."""
    if backbone.modality is not Modality.TEXT:
        return list(strings)
    texts: list[Content] = []
    for place, string in enumerate(strings):
        try:
            text = string.decode()
        except UnicodeDecodeError as error:
            raise UndecodableInput(
                f"Input {place} of '{name}': Expected a text in UTF-8. Received: byte "
                f"{string[error.start]:#04x} at {error.start}.",
                field=f"inputs[{place}]",
            ) from None
        check_text(text, f"inputs[{place}]")
        texts.append(text)
    return texts
