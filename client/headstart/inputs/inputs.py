"""Examples and their messages."""

import math
import os
from collections.abc import Collection, Mapping, Set
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any, TypeAlias, cast

import numpy as np

from headstart.inputs.contents import URL, Content, Text, input_message, path_id
from headstart.v1 import input_pb2

__all__ = [
    "URL",
    "Content",
    "Example",
    "ExampleTarget",
    "Text",
    "as_example",
    "default_id",
    "example_message",
    "input_message",
    "is_array",
    "is_class_number",
    "write_target",
]


_TARGETS = ("label", "labels", "value", "probabilities")

ExampleTarget: TypeAlias = str | int | Collection[str] | Collection[int] | float | Mapping[str, float]
"""The target: a label, a list or set of labels, a float for regression, or classes with probabilities."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labeled input, with exactly one of `label`, `labels`, `value` and `probabilities`.

    All examples of a fine-tune have the same kind of label; `label` and `probabilities` may be mixed.

    Attributes:
        content: the input.
        label: name of its class, 1 to 256 bytes of UTF-8; an integer or a bool is converted to text.
        id: ID in reports and errors, at most 256 bytes. Default: the path, if the content is one and no
            earlier example has the same ID.
        held_out: True excludes it from training; accuracy is then measured on held-out examples only.
        labels: names of its classes, for a multi-label version; an empty list if no class applies.
        value: its number, for a regression.
        probabilities: probability of each possible class, if the label is uncertain; they sum to 1.
        weight: relative weight in training, above 0. None: 1.
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


def example_message(example: Example) -> input_pb2.Example:
    """Return the message of an example; read its content if it is a path."""
    message = input_pb2.Example(example_id=example.id, held_out=example.held_out)
    write_target(message, example)
    if example.weight is not None:
        message.weight = _number(example.weight, "weight")
        if message.weight <= 0:
            raise ValueError(f"weight must be above 0. Received: {example.weight!r}")
    message.input.CopyFrom(input_message(example.content))
    return message


def default_id(content: Content) -> str:
    """Return the default ID of an example: its path; empty if its content is not a path."""
    return path_id(PurePath(content)) if isinstance(content, str | os.PathLike) else ""


def is_class_number(label: object) -> bool:
    """Return whether a label is an integer or a bool, of Python or numpy, whose text names a class.

    A float is never a class: it is the value of a regression.
    """
    return isinstance(label, Integral | np.bool_)


def as_example(item: Example | tuple[Content, ExampleTarget]) -> Example:
    """Return an item of an iterable as an example."""
    match item:
        case Example():
            return item
        case (content, target):
            return _pair(content, _plain(target), item)
    raise _unknown(item)


def _pair(content: Content, target: object, item: object) -> Example:
    match target:
        case str():
            return Example(content, str(target))
        case _ if is_class_number(target):
            return Example(content, cast(int, target))
        case Mapping():
            return Example(content, probabilities=target)
        case list() | tuple() | set() | frozenset():
            return Example(content, labels=target)
        case Real() if target != target:  # noqa: PLR0124  # NaN differs from itself
            raise ValueError("the target is NaN, an empty cell. Drop such rows first")
        case Real():
            return Example(content, value=cast(float, target))
    raise _unknown(item)


def _plain(target: Any) -> Any:
    return target.item() if hasattr(target, "detach") and target.ndim == 0 else target


def _unknown(item: object) -> TypeError:
    hint = "; scikit-learn's X needs its y, as in fine_tune(X, y, model=...)" if is_array(item) else ""
    return TypeError(
        "Expected an Example or (content, target), the target a label (str, integer or bool), a list or set "
        f"of labels, a float or a mapping to probabilities; or a dict{hint}. Received: {_kinds(item)}"
    )


def is_array(value: object) -> bool:
    """Return whether a value is an array, a Series or a tensor, of at least one dimension."""
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0


def _kinds(item: object) -> str:
    kind = type(item).__qualname__
    return f"({', '.join(map(_kinds, item))})" if isinstance(item, tuple) else kind


def write_target(message: input_pb2.Example, example: Example) -> None:
    """Write the target of an example into its message."""
    targets = [name for name in _TARGETS if getattr(example, name) is not None]
    if len(targets) != 1:
        received = f". Received: {', '.join(targets)}" if targets else ""
        raise ValueError(f"An example must have exactly one of {', '.join(_TARGETS)}{received}")
    if example.label is not None:
        message.label.class_name = _label(example.label)
    elif example.labels is not None:
        message.label.classes.SetInParent()  # so that it is set without classes, too
        message.label.classes.class_names.extend(_labels(example.labels))
    elif example.value is not None:
        message.label.number = _number(example.value, "value")
    elif example.probabilities is not None:
        for name, probability in example.probabilities.items():
            key = _label(name)
            message.label.probabilities.probabilities[key] = _number(probability, f"probabilities[{key!r}]")


def _labels(labels: Collection[str | int]) -> list[str]:
    if isinstance(labels, str) or not isinstance(labels, Collection):
        raise TypeError(f"labels must be a list or a set of labels. Received: {labels!r}")
    names = [_label(label) for label in labels]
    # A set is unordered, but equal examples must have equal bytes.
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
