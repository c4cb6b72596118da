"""Things to learn from or to predict, and how they become messages of the contract."""

import math
import os
from collections.abc import Collection, Mapping, Set
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart import tensors
from headstart.v1 import input_pb2

__all__ = ["Content", "Example", "ExampleTarget", "Text", "example_message", "input_message"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text, as opposed to a plain `str`, which is a path.

    Attributes:
        text: the text itself.
    """

    text: str


_TARGETS = ("label", "labels", "value", "probabilities")

Content: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Text
"""One input: the path of a file, the bytes of a picture's file, an array, or a `Text`.

A file's ending tells what it holds: ``.txt`` a UTF-8 text, ``.npy`` an array, any other a picture. An array
is one decoded picture, uint8 of shape [height, width, 3], [height, width, 1] or [height, width], or a tensor
backbone's features.
"""


ExampleTarget: TypeAlias = str | int | Collection[str] | Collection[int] | float | Mapping[str, float]
"""The target: a label, a list or set of labels, a float for regression, or classes with probabilities."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled input: exactly one of `label`, `labels`, `value` and `probabilities` says what it shows.

    All examples of a fine-tune show the same kind of thing; `label` and `probabilities` may be mixed.

    Attributes:
        content: what is learned from.
        label: the name of its class, 1 to 256 bytes of UTF-8; an integer or a bool counts as its text.
        id: your name for it, at most 256 bytes, used in reports and errors. Default: none.
        held_out: True keeps it out of training; accuracy is then measured on these examples alone.
        labels: the names of its classes, for a multi-label version; an empty list where none applies.
        value: its number, for a version that tells numbers.
        probabilities: its possible classes and the probability of each, where you are not certain; they sum
            to 1.
        weight: how much it counts beside the others, above 0. None: 1.
    """

    content: Content
    label: str | int | None = None
    id: str = ""
    held_out: bool = False
    _: KW_ONLY
    labels: Collection[str | int] | None = None
    value: float | None = None
    probabilities: Mapping[str, float] | Mapping[int, float] | None = None
    weight: float | None = None


def input_message(content: Content) -> input_pb2.Input:
    """Makes a content a message, reading it if it is a path.

    Raises:
        OSError: a file cannot be read.
        ValueError: an array or a file of one does not fit the contract.
        TypeError: the content has an unknown type.
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
        ValueError: an array does not fit the contract, it shows nothing or several things, or a number is
            out of its range.
        TypeError: the content has an unknown type, a label is not a `str`, integer or bool, or a value is not
            a number.
    """
    message = input_pb2.Example(id=example.id, held_out=example.held_out)
    write_target(message, example)
    if example.weight is not None:
        message.weight = _number(example.weight, "weight")
        if message.weight <= 0:
            raise ValueError(f"weight must be above 0. Received: {example.weight!r}")
    message.input.CopyFrom(input_message(example.content))
    return message


def is_class_number(label: object) -> bool:
    """Return whether a label is an integer or a bool, of Python or numpy, whose text names a class.

    A float never names a class: it is the value of a regression.
    """
    return isinstance(label, Integral | np.bool_)


def write_target(message: input_pb2.Example, example: Example) -> None:
    """Writes what an example shows into its message.

    Raises:
        ValueError: it shows nothing or several things, or a number is out of its range.
        TypeError: a label is no `str`, integer or bool, or a number none.
    """
    given = [name for name in _TARGETS if getattr(example, name) is not None]
    if len(given) != 1:
        raise ValueError(
            f"An example must have exactly one of {', '.join(_TARGETS)}. "
            f"Received: {', '.join(given) or 'none'}"
        )
    if example.label is not None:
        message.label = _label(example.label)
    elif example.labels is not None:
        message.label_set.SetInParent()  # so that it is there without any label, too
        message.label_set.labels.extend(_labels(example.labels))
    elif example.value is not None:
        message.value = _number(example.value, "value")
    elif example.probabilities is not None:
        for name, probability in example.probabilities.items():
            key = _label(name)
            message.soft_label.probabilities[key] = _number(probability, f"probabilities[{key!r}]")


def _labels(labels: Collection[str | int]) -> list[str]:
    if isinstance(labels, str) or not isinstance(labels, Collection):
        raise TypeError(f"labels must be a list or a set of labels. Received: {labels!r}")
    names = [_label(label) for label in labels]
    # A set is unordered, and the same examples must give the same bytes.
    return sorted(names) if isinstance(labels, Set) else names


def _label(label: object) -> str:
    if isinstance(label, str):
        return str(label)
    if is_class_number(label):
        return str(label)
    raise TypeError(
        f"A label must be a str, an integer or a bool. Received: {label!r}. For regression, pass a value"
    )


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a number. Received: {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number. Received: {value!r}")
    return float(value)


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
