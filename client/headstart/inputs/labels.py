"""The rule that decides whether a label is a class or a number."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Final, TypeVar, cast

import numpy as np

from headstart.inputs.inputs import Example
from headstart.inputs.task import Task

LABEL_RULE: Final = (
    "Set the task to regression to predict numbers, or to single_label if each of them is a class "
    "(task=... in Python, --task on the command line)"
)
MAX_INTEGER_CLASSES: Final = 20
"""Maximum number of different integer labels that are always classes."""
MAX_INTEGER_SHARE: Final = 0.1
"""Maximum ratio of different integer labels to examples for which they are classes."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")

Item = TypeVar("Item")


class IntegerLabels:
    """Rejects integer labels that are probably numbers to predict: many different ones.

    The caller must then specify the task.
    """

    def __init__(self, task: Task | None) -> None:
        self._task = task
        self._different: set[int] = set()
        self._count = 0

    def note(self, label: object) -> None:
        """Count the label of one example."""
        if self._task is None and isinstance(label, Integral) and not isinstance(label, bool | np.bool_):
            self._different.add(int(label))
            self._count += 1

    def check(self) -> None:
        """Check the labels of all examples."""
        different = len(self._different)
        if different > MAX_INTEGER_CLASSES and different > MAX_INTEGER_SHARE * self._count:
            raise ValueError(
                f"The labels are {different:,} different integers among {self._count:,} examples, which "
                f"may be classes or numbers. {LABEL_RULE}"
            )

    def checked(self, items: Iterable[tuple[Item, object]]) -> Iterator[Item]:
        """Yield items, and check their labels at the end."""
        for item, label in items:
            self.note(label)
            yield item
        self.check()


def to_float(value: Any) -> float:
    """Return a number, or a text that contains one, as a float; infinity for a too large integer.

    Raise ValueError for another text.
    """
    try:
        return float(value)
    except OverflowError:
        return math.inf


def is_integer_text(text: str) -> bool:
    """Return whether a text contains an integer."""
    return _INTEGER.fullmatch(text) is not None


def class_or_number(
    label: object, task: Task | None, *, is_text: bool = False, column: str = "label"
) -> dict[str, Any]:
    """Return the argument of `Example` that a label means.

    Args:
        label: value of a column or a key called label.
        task: the caller's task. None: unspecified.
        column: name of the column.
        is_text: whether every label is a text in its source, as in a CSV file, so that texts may be numbers.
    """
    number = label
    if is_text and isinstance(label, str) and (_DECIMAL.fullmatch(label) or is_integer_text(label)):
        number = int(label) if is_integer_text(label) else float(label)
    if not isinstance(number, Real):
        return {"label": label}
    if task is Task.REGRESSION:
        return {"value": to_float(number)}
    if isinstance(number, Integral | np.bool_) or task is Task.SINGLE_LABEL:
        return {"label": label if is_text else _class_name(label)}
    raise ValueError(
        f"a label is expected in the column `{column}`. Received the number {label}. {LABEL_RULE}"
    )


def for_task(example: Example, task: Task | None) -> Example:
    """Return an example whose target has the type of the task: a number, or a class."""
    label, value = example.label, example.value
    if task is Task.REGRESSION and isinstance(label, Integral | np.bool_):
        return replace(example, label=None, value=to_float(label))
    if task is Task.SINGLE_LABEL and isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return replace(example, label=_class_name(value), value=None)
    return example


def _class_name(label: object) -> Any:
    if isinstance(label, Integral | np.bool_ | str):
        return label
    number = float(cast(float, label))
    if number.is_integer():
        return int(number)
    raise ValueError(
        f"The task is single_label. Expected a class. Received the number {label}. Give classes as texts, or "
        "set the task to regression"
    )
