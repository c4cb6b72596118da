"""Tensors as other protocols have them, a shape and values apart, become inputs."""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.api.grpc.requests.request_checks import check_text
from headstart_server.backbones.contract.backbone import BackboneInfo, Content, Modality
from headstart_server.errors import InvalidField, UndecodableInput

#: Values that are turned into an array in the event loop; more are in a thread, this many at a time, so that
#: other threads get the interpreter in between.
_VALUES_AT_ONCE = 50_000
#: Most bytes that a value may be repeated to.
_MAX_REPEATED_BYTES = 64 << 20
#: Most dimensions of a tensor: no input has more than three, and arrays cannot have any number.
_MAX_DIMENSIONS = 8

Array = NDArray[np.generic]


def check_shape(shape: Sequence[int], name: str, max_inputs: int) -> int:
    """The number of inputs that a shape says.

    Args:
        shape: [n, ...].
    """
    if not 1 <= len(shape) <= _MAX_DIMENSIONS or min(shape) < 1:
        raise InvalidField(
            f"Expected a shape of [n, ...], {_MAX_DIMENSIONS} dimensions of 1 or more at most, for input "
            f"'{name}'. Received: {list(shape)[:16]}.",
            field="inputs",
        )
    if shape[0] > max_inputs:
        raise InvalidField(
            f"Expected 1 to {max_inputs} inputs in '{name}'. Received: {shape[0]}.", field="inputs"
        )
    return shape[0]


def check_strings_shape(shape: Sequence[int], name: str, max_inputs: int) -> int:
    """The number of images or texts that a shape says."""
    count = check_shape(shape, name, max_inputs)
    if math.prod(shape) != count or len(shape) > 2:
        raise InvalidField(
            f"Expected a shape of [n] or [n, 1] for the images or texts of input '{name}'. "
            f"Received: {list(shape)[:16]}.",
            field="inputs",
        )
    return count


def from_bytes(data: bytes, dtype: np.dtype[Any], shape: Sequence[int], name: str) -> Array:
    """The array whose little-endian bytes these are; it shares them."""
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidField(
            f"Expected {expected} bytes for {dtype.name} of shape {list(shape)} in input '{name}'. "
            f"Received: {len(data)}.",
            field="inputs",
        )
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)


async def from_values(
    values: Sequence[Any], dtype: np.dtype[Any], shape: Sequence[int], name: str, *, repeats: bool = False
) -> Array:
    """The array of these values.

    Args:
        repeats: whether the last value stands for all that are missing.
    """
    size, count = math.prod(shape), len(values)
    is_short = repeats and 0 < count < size and size * dtype.itemsize <= _MAX_REPEATED_BYTES
    if count != size and not is_short:
        raise InvalidField(
            f"Expected {size} values for {dtype.name} of shape {list(shape)} in input '{name}'. "
            f"Received: {count}.",
            field="inputs",
        )
    try:
        if count <= _VALUES_AT_ONCE:
            array = np.array(values, dtype)
        else:
            array = await asyncio.to_thread(_in_parts, values, dtype)
    except OverflowError:
        raise InvalidField(
            f"Expected values of {dtype.name} in input '{name}'. Received: one out of its range.",
            field="inputs",
        ) from None
    if is_short:
        array = np.concatenate([array, np.full(size - count, array[-1])])
    return array.reshape(shape)


def rows_of(array: Array, name: str) -> list[Content]:
    """One input for each row of an array [n, ...]. Raise InvalidField if it has no further dimension."""
    if array.ndim < 2:
        raise InvalidField(
            f"Expected a shape of [n, size] for features, or [n, height, width, 3] for pixels, in input "
            f"'{name}'. Received: {list(array.shape)}.",
            field="inputs",
        )
    return list(array)


def contents_of(strings: Iterable[bytes], backbone: BackboneInfo, name: str) -> list[Content]:
    """One input for each string of bytes: an encoded image or, for a backbone of texts, a text in UTF-8."""
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


def _in_parts(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    parts = range(0, len(values), _VALUES_AT_ONCE)
    return np.concatenate([np.array(values[start : start + _VALUES_AT_ONCE], dtype) for start in parts])
