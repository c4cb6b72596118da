"""Things to learn from or to predict, and how they become messages of the contract."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart import tensors
from headstart.v1 import input_pb2

__all__ = ["Content", "Example", "Text", "example_message", "input_message"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text, as opposed to a plain `str`, which is a path.

    Attributes:
        text: the text itself.
    """

    text: str


Content: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Text
"""One input: the path of a file, the bytes of a picture's file, an array, or a `Text`.

A file's ending tells what it holds: ``.txt`` a UTF-8 text, ``.npy`` an array, any other a picture. An array
is one decoded picture, uint8 of shape [height, width, 3], [height, width, 1] or [height, width], or a tensor
backbone's features.
"""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled input.

    Attributes:
        content: what is learned from.
        label: the name of its class, 1 to 256 bytes of UTF-8.
        id: your name for it, at most 256 bytes, used in reports and errors. Default: none.
        held_out: True keeps it out of training; accuracy is then measured on these examples alone.
    """

    content: Content
    label: str
    id: str = ""
    held_out: bool = False


def input_message(content: Content) -> input_pb2.Input:
    """Makes a content a message, reading it if it is a path.

    Raises:
        OSError: a file cannot be read.
        ValueError: an array or a file of one does not fit the contract.
        TypeError: the content is none of the kinds there are.
    """
    if isinstance(content, Text):
        return input_pb2.Input(text=content.text)
    if isinstance(content, bytes | bytearray | memoryview):
        return input_pb2.Input(image=bytes(content))
    if isinstance(content, np.ndarray):
        return input_pb2.Input(tensor=tensors.encode(content))
    if isinstance(content, str | os.PathLike):
        return _file_message(Path(content), is_text=isinstance(content, str))
    raise TypeError(
        f"An input must be a path, bytes, a numpy array or a Text. Received: {type(content).__qualname__}"
    )


def example_message(example: Example) -> input_pb2.Example:
    """Makes an example a message, reading its content if it is a path.

    Raises:
        OSError: a file cannot be read.
        ValueError: an array does not fit the contract.
        TypeError: the content is none of the kinds there are, or the label is no `str`.
    """
    if not isinstance(example.label, str):
        raise TypeError(f"A label must be a str. Received: {example.label!r}")
    return input_pb2.Example(
        input=input_message(example.content),
        label=example.label,
        id=example.id,
        held_out=example.held_out,
    )


def _file_message(path: Path, *, is_text: bool) -> input_pb2.Input:
    try:
        if path.suffix == ".npy":
            return input_pb2.Input(tensor=tensors.encode(np.load(path, allow_pickle=False)))
        if path.suffix == ".txt":
            return input_pb2.Input(text=path.read_text(encoding="utf-8"))
        return input_pb2.Input(image=path.read_bytes())
    except FileNotFoundError as error:
        hint = " (a str is a path; wrap a text as headstart.Text)" if is_text else ""
        raise FileNotFoundError(error.errno, f"No such file{hint}", str(path)) from None
