"""One example as a record: a row of a table, a line of a JSONL file, or a dict."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headstart.inputs.labels import class_or_number, to_float
from headstart.inputs.task import Task

INPUT_COLUMNS: Final = ("path", "text", "image", "input", "features")
"""Columns of inputs; `image` and `input` in Python only."""
TARGET_COLUMNS: Final = ("label", "labels", "value", "probabilities")
"""Columns of targets."""
RECORD_COLUMNS: Final = (*INPUT_COLUMNS, *TARGET_COLUMNS, "id", "held_out", "weight")
"""All columns with a meaning."""

EXCERPT: Final = 200  # characters of a received value in an error
_SEPARATOR: Final = "|"
_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no", ""})
_REMEDY: Final = "or name the columns to use with feature_columns (--feature-columns)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Meanings of the columns of a source."""

    # the source's column names, by the names in `RECORD_COLUMNS`
    names: Mapping[str, str] = field(default_factory=dict)
    # names of the feature columns, in order. None: the columns of numbers, if no other column is an input
    features: tuple[str, ...] | None = None
    task: Task | None = None  # kind of label. None: unknown
    labeled: bool = True  # whether each record has a target; False ignores targets
    is_text: bool = False  # whether all values are texts, as in a CSV file


def meanings(row: Mapping[str, Any], layout: Layout) -> Mapping[str, Any]:
    """Return a row by the names in `RECORD_COLUMNS`, without features and replaced columns."""
    names = layout.names
    if not names and layout.features is None:
        return row
    chosen = {name: row[column] for name, column in names.items() if column in row}
    dropped = {*names, *names.values(), *(layout.features or ())}
    return {**{name: value for name, value in row.items() if name not in dropped}, **chosen}


def feature_columns_of(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns most of whose first values are numbers, without those with another meaning.

    So a typing error in a cell is an error of its row, and does not drop the column. A column without a name
    is skipped: it is the index that pandas writes.
    """
    skipped = {*RECORD_COLUMNS, *names, *names.values(), "", "Unnamed: 0"}
    # The numbers of a column minus its other values. Each cell is read once, because rows of a JSONL file can
    # have thousands of different columns.
    surplus: dict[str, int] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(name, str) and name not in skipped:
                surplus.setdefault(name, 0)
                if not is_missing(value):
                    surplus[name] += -1 if _feature(value) is None else 1
    return tuple(name for name, count in surplus.items() if count > 0)


def input_of(
    by_meaning: Mapping[str, Any], row: Mapping[str, Any], features: Sequence[str] | None
) -> tuple[str, Any]:
    """Return the kind of the input, of `INPUT_COLUMNS`, and its value.

    Args:
        by_meaning: the row by the names in `RECORD_COLUMNS`.
        row: the row by the source's column names.
        features: the feature columns. None: no feature columns.
    """
    kinds = [name for name in INPUT_COLUMNS if not is_missing(by_meaning.get(name))]
    if features is not None and not kinds:
        return "features", _numbers({name: row.get(name) for name in features})
    if len(kinds) != 1 or features is not None:
        columns = ", ".join(map(str, row))
        raise ValueError(
            "exactly one of `path`, `text` and features is expected, and not empty. Received "
            f"{' and '.join([*kinds, *(['columns of features'] if features else [])]) or 'nothing'} in the "
            f"columns: {columns[:EXCERPT]}"
        )
    (kind,) = kinds
    return kind, _feature_list(by_meaning[kind]) if kind == "features" else by_meaning[kind]


def settings_of(row: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """Return the arguments of `Example` except its content."""
    number = row.get("id")
    settings = {
        "id": "" if is_missing(number) else str(number),
        "held_out": _truth(row.get("held_out")),
        "weight": None if is_missing(row.get("weight")) else _number(row["weight"], "weight"),
    }
    return settings | _target(row, layout) if layout.labeled else settings


def is_missing(value: object) -> bool:
    """Return whether a cell is empty: None, an empty text, NaN, or pandas' NA and NaT."""
    if value is None or (isinstance(value, str) and not value):
        return True
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def is_number(cell: str) -> bool:
    """Return whether a cell of a table is a number as a feature."""
    return _feature(cell) is not None


def _feature(value: object) -> float | None:
    if isinstance(value, str):
        word = value.strip()
        if word.lower() in ("true", "false"):
            return float(word.lower() == "true")
        try:
            return None if "_" in word else float(word)
        except ValueError:
            return None
    return to_float(value) if isinstance(value, Real | np.bool_) else None


def _numbers(cells: Mapping[str, Any]) -> NDArray[np.float64]:
    numbers = []
    for name, value in cells.items():
        number = None if is_missing(value) else _feature(value)
        if number is None or not math.isfinite(number):
            received, remedy = repr(value)[:EXCERPT], "Correct it"
            if is_missing(value):
                received, remedy = "an empty cell", "Fill it in"
            raise ValueError(f"`{name}` must be a finite number. Received: {received}. {remedy}, {_REMEDY}")
        numbers.append(number)
    return np.array(numbers, dtype=np.float64)


def _feature_list(value: Any) -> NDArray[np.float64]:
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiub":
        return value.astype(np.float64)
    if not isinstance(value, list | tuple):
        raise ValueError(f"`features` must be a list of numbers. Received: {repr(value)[:EXCERPT]}")
    return _numbers({f"features[{place}]": each for place, each in enumerate(value)})


def _target(row: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    targets = [name for name in TARGET_COLUMNS if row.get(name) is not None]
    if len(targets) > 1:
        raise ValueError(f"only one of {', '.join(targets)} is allowed. Remove the others")
    name = targets[0] if targets else "label"
    if name == "label":
        return _label(row.get(name), layout)
    return {name: _READ_TARGETS[name](row.get(name))}


def _label(value: object, layout: Layout) -> dict[str, Any]:
    column = layout.names.get("label", "label")
    if layout.is_text and isinstance(value, str):
        value = value.strip()
    if is_missing(value) or isinstance(value, list | tuple | Mapping):
        remedy = ". Fill it in, or remove the row" if is_missing(value) else ""
        raise ValueError(f"a label is expected in the column `{column}`. Received: {value!r}{remedy}")
    return class_or_number(value, layout.task, is_text=layout.is_text, column=column)


def _labels(value: object) -> list[Any]:
    """Return several labels, without surrounding spaces; a CSV file has them in one text."""
    labels = [label.strip() for label in value.split(_SEPARATOR)] if isinstance(value, str) else value
    if labels == [""]:
        return []
    if isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list | tuple) or not all(
        isinstance(label, str | int) and label != "" for label in labels
    ):
        raise ValueError(f"`labels` must be labels separated by {_SEPARATOR}, or a list. Received: {value!r}")
    return list(labels)


def _number(value: object, name: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | Real):
            raise ValueError
        number = to_float(value)
    except ValueError:
        raise ValueError(f"`{name}` must be a number. Received: {value!r}") from None
    if not math.isfinite(number) or (name == "weight" and number <= 0):
        expected = "a number above 0" if name == "weight" else "a finite number"
        raise ValueError(f"`{name}` must be {expected}. Received: {value!r}")
    return number


def _probabilities(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(f"`probabilities` must be an object of classes and numbers. Received: {value!r}")
    return {name: _number(each, f"probabilities.{name}") for name, each in value.items()}


def _truth(value: object) -> bool:
    word = "" if is_missing(value) else str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"`held_out` must be true or false. Received: {value!r}")


_READ_TARGETS: dict[str, Callable[[object], Any]] = {
    "labels": _labels,
    "value": lambda value: _number(value, "value"),
    "probabilities": _probabilities,
}


def check_spelling(place: str, columns: Iterable[object]) -> None:
    """Check that no column is misspelled: an ignored column loses weights or held-out examples."""
    for name in columns:
        if not isinstance(name, str) or name in RECORD_COLUMNS:
            continue
        if meant := _SPELLINGS.get(_letters(name)):
            raise ValueError(
                f"{place}: the column {name!r} is misspelled. Rename it to `{meant}`, or remove it"
            )


def check_named(place: str, columns: Collection[object], wanted: Iterable[str]) -> None:
    """Check that the columns that the caller names exist."""
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise ValueError(
            f"{place}: a column `{missing[0]}` is expected. Received the columns: "
            f"{', '.join(map(str, columns))[:EXCERPT]}"
        )


def _letters(name: str) -> str:
    """Return a name's letters, sorted: equal for other orders, cases, separators and the plural."""
    return "".join(sorted(filter(str.isalpha, name.lower().rstrip("s"))))


#: The columns by their letters; the first one of several with the same letters.
_SPELLINGS = {_letters(name): name for name in reversed(RECORD_COLUMNS)}
