"""Checks of the parts of an example."""

import math
import re
from dataclasses import dataclass

from headstart_server.errors import InvalidField, InvalidLabel
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task

#: Characters that names may not have, as ranges of a regular expression: control characters, and those that
#: change the direction of the text after them, with which a name looks like another one.
CONTROL_CHARACTERS = "\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")
#: Maximum bytes of a label or an ID, in UTF-8.
MAX_LABEL_BYTES = 256
#: Tolerance of the sum of a soft label, for rounding.
SHARES_TOLERANCE = 1e-6
#: Maximum weight of an example.
MAX_WEIGHT = 1e6
#: Maximum absolute value of a number: outputs are in single precision, which ends at 3.4e38.
MAX_VALUE = 1e30
#: The contract's field of the label of each task.
FIELDS = {
    Task.SINGLE_LABEL: "label.class_name",
    Task.MULTI_LABEL: "label.classes",
    Task.REGRESSION: "label.number",
}


@dataclass(frozen=True, slots=True)
class ListKind:
    """The list of a request that a checked part is in: the noun of an entry, and the path of the field."""

    noun: str
    path: str


EXAMPLES = ListKind("example", "examples")
EDITS = ListKind("edit", "spec.edits")


def checked_target(target: Target, index: int, kind: ListKind = EXAMPLES) -> Target:
    """Return a label in its normal form: shares sum to 1, and no share is 0."""
    if target.task is Task.REGRESSION:
        if target.value is None or not abs(target.value) <= MAX_VALUE:
            raise InvalidField(
                f"Expected a finite number up to {MAX_VALUE:g} as the value of {kind.noun} {index}. "
                f"Received: {target.value}.",
                field=f"{kind.path}[{index}].label.number",
            )
        return target
    hard = all(share == 1.0 for share in target.shares.values())
    field = FIELDS[target.task] if hard else "label.probabilities"
    if target.task is Task.SINGLE_LABEL and not target.shares:
        check_label("", index, kind=kind)
    for name in target.shares:
        check_label(name, index, field, kind)
    if target.task is Task.MULTI_LABEL or (hard and len(target.shares) == 1):
        return target
    return _checked_shares(target, index, kind)


def _checked_shares(target: Target, index: int, kind: ListKind) -> Target:
    field = f"{kind.path}[{index}].label.probabilities"
    for name, share in target.shares.items():
        # Written so that NaN fails.
        if not 0 <= share < math.inf:
            raise InvalidField(
                f"Expected shares of 0 or more in the soft label of {kind.noun} {index}. "
                f"Received: {share} for {name!r}.",
                field=field,
            )
    total = math.fsum(target.shares.values())
    if abs(total - 1) > SHARES_TOLERANCE:
        raise InvalidField(
            f"Expected shares that sum up to 1 in the soft label of {kind.noun} {index}. "
            f"Received: {total:g}.",
            field=field,
        )
    return Target.of_shares({name: share / total for name, share in target.shares.items() if share})


def check_weight(weight: float, index: int, kind: ListKind = EXAMPLES) -> None:
    """Check the weight of an example. Raise InvalidField if it is not above 0, or too large."""
    # Written so that NaN fails.
    if not 0 < weight <= MAX_WEIGHT:
        raise InvalidField(
            f"Expected a weight above 0 and up to {MAX_WEIGHT:g} for {kind.noun} {index}. "
            f"Received: {weight}.",
            field=f"{kind.path}[{index}].weight",
        )


def check_label(label: str, index: int, name: str = "label.class_name", kind: ListKind = EXAMPLES) -> None:
    """Check a label in the field `name` of an example."""
    size = len(label.encode())
    field = f"{kind.path}[{index}].{name}"
    if not label.strip():
        problem = "an empty label" if not label else "a blank label"
        raise InvalidLabel(
            f"{kind.noun.capitalize()} {index} has no label. Expected the name of its class. "
            f"Received: {problem}.",
            field=field,
        )
    if size > MAX_LABEL_BYTES:
        raise InvalidLabel(
            f"The label of {kind.noun} {index} is too long. Expected at most {MAX_LABEL_BYTES} bytes. "
            f"Received: {size}, beginning with {label[:24]!r}.",
            field=field,
        )
    if has_control_characters(label):
        raise InvalidLabel(
            f"The label of {kind.noun} {index} has a control character. Received: {label!r}.", field=field
        )


def check_id(example_id: str, index: int) -> None:
    """Check the ID of an example."""
    size = len(example_id.encode())
    if size > MAX_LABEL_BYTES:
        raise InvalidField(
            f"The id of example {index} is too long. Expected at most {MAX_LABEL_BYTES} bytes. "
            f"Received: {size}.",
            field=f"examples[{index}].example_id",
        )
    if has_control_characters(example_id):
        raise InvalidField(
            f"The id of example {index} has a control character. Received: {example_id!r}.",
            field=f"examples[{index}].example_id",
        )


def has_control_characters(text: str) -> bool:
    """Return whether a text has control characters, including tabs, line breaks and changes of direction."""
    return _CONTROL.search(text) is not None
