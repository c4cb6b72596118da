"""Lists of examples: CSV or TSV with a header, or a JSON object in each line; the server reads the same."""

import csv
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from headstart.folders import path_id

__all__ = ["LIST_COLUMNS", "LIST_SUFFIXES", "ListedRow", "read_list"]

_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no", ""})
_TARGETS = ("label", "labels", "value")
LIST_COLUMNS = ("path", "text", *_TARGETS, "probabilities", "id", "held_out", "weight")
_SEPARATOR = "|"
_SHOWN = 200  # characters of what was received


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRow:
    """One example of a list.

    Attributes:
        line: the number of its last line, from 1.
        path: where its content lies; empty if it has a text.
        text: its content; empty if it has a path.
        settings: of an `Example`: ``id``, ``held_out``, ``weight``, and what it shows.
    """

    line: int
    path: str
    text: str
    settings: Mapping[str, Any]


def read_list(
    lines: Iterable[str], *, name: str, suffix: str, columns: Mapping[str, str] | None = None
) -> Iterator[ListedRow]:
    """The examples of a list, in its order.

    Args:
        lines: of the list, with their ends.
        name: what the list is called in errors.
        suffix: one of `LIST_SUFFIXES`.
        columns: what columns are called, by the names in `LIST_COLUMNS`.

    Raises:
        ValueError: it is none; the line is named.
    """
    for line, row in _READERS[suffix](lines, name, columns or {}):
        try:
            yield _listed(line, row)
        except ValueError as error:
            raise ValueError(f"{name}, line {line}: {error}") from None


def _listed(line: int, row: Mapping[str, Any]) -> ListedRow:
    path, text = row.get("path"), row.get("text")
    path = path if isinstance(path, str) else ""
    text = text if isinstance(text, str) else ""
    if bool(path) == bool(text):
        columns = ", ".join(str(name) for name in row)
        raise ValueError(f"either a `path` or a `text` is expected. Received the columns: {columns[:_SHOWN]}")
    settings = {
        "id": str(row.get("id") or _path_name(path)),
        "held_out": _truth(row.get("held_out")),
        "weight": None if row.get("weight") in (None, "") else _number(row["weight"], "weight"),
        **_target(row),
    }
    return ListedRow(line=line, path=path, text=text, settings=settings)


def _path_name(path: str) -> str:
    """What an example without an id is called."""
    # Of a URI the two slashes stay.
    scheme, mark, rest = path.rpartition("://")
    return path_id(PurePath(rest), before=f"{scheme}{mark}") if path else ""


def _csv_rows(
    lines: Iterable[str], name: str, columns: Mapping[str, str], dialect: str = "excel"
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(lines, dialect=dialect)
    try:
        header = dict.fromkeys(reader.fieldnames or ())
        _check_named(f"{name}, line 1", header, columns)
        _check_columns(name, _renamed(header, columns), "tab" if dialect == "excel-tab" else "comma")
        for row in reader:
            yield reader.line_num, _renamed(row, columns)
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num + 1}: {error}") from None


def _tsv_rows(
    lines: Iterable[str], name: str, columns: Mapping[str, str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return _csv_rows(lines, name, columns, "excel-tab")


def _json_rows(
    lines: Iterable[str], name: str, columns: Mapping[str, str]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        place = f"{name}, line {line}"
        try:
            row = json.loads(text)
        except RecursionError:
            raise ValueError(f"{place}: a JSON object is expected. Received: one nested too deep") from None
        except ValueError as error:
            # Beside what is no JSON, integers of thousands of digits.
            raise ValueError(f"{place}: a JSON object is expected. {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{place}: a JSON object is expected. Received: {text.strip()[:_SHOWN]}")
        _check_named(place, row, columns)
        row = _renamed(row, columns)
        _check_spelling(place, row)
        yield line, row


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """A row with the names that are known here; what a chosen column takes the place of is left out."""
    if not columns:
        return row
    chosen = {name: row[column] for name, column in columns.items() if column in row}
    kept = {name: value for name, value in row.items() if name not in {*columns, *columns.values()}}
    return {**kept, **chosen}


def _check_named(place: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    missing = [column for column in columns.values() if column not in row]
    if missing:
        raise ValueError(
            f"{place}: a column `{missing[0]}` is expected. Received the columns: {', '.join(map(str, row))}"
        )


def _check_columns(list_name: str, columns: Collection[str], separator: str) -> None:
    _check_spelling(f"{list_name}, line 1", columns)
    targets = [name for name in _TARGETS if name in columns]
    if len(targets) == 1 and ("path" in columns or "text" in columns):
        return
    received = f"the columns {', '.join(columns)}" if columns else "no columns"
    hint = f" Is the separator a {separator}?" if len(columns) == 1 else ""
    raise ValueError(
        f"{list_name} has {received}. Expected path (or text) and one of label, labels and value.{hint}"
    )


def _check_spelling(place: str, columns: Iterable[str | None]) -> None:
    # A misspelt column would be ignored like any other: weights, or what is held out, would not count.
    for name in columns:
        if name is None or name in LIST_COLUMNS:
            continue
        meant = [column for column in LIST_COLUMNS if _letters(column) == _letters(name)]
        if meant:
            raise ValueError(
                f"{place}: the column `{meant[0]}` is expected to be called so. Received: {name!r}. "
                "Rename it, or take it out"
            )


def _letters(name: str) -> list[str]:
    """A name's letters, sorted: equal in another order or case, with other separators and as a plural."""
    return sorted(filter(str.isalpha, name.lower().rstrip("s")))


def _target(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says that its input shows, as the argument of `Example` that takes it."""
    given = [name for name in (*_TARGETS, "probabilities") if row.get(name) is not None]
    if len(given) > 1:
        raise ValueError(f"only one of {', '.join(given)} is expected. Received: all of them")
    name = given[0] if given else "label"
    return {name: _READ_TARGETS[name](row.get(name))}


def _label(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"a label is expected in the column `label`. Received: {value!r}")
    return value


def _labels(value: object) -> list[str]:
    """Several labels; in a CSV file they are one text, and spaces around them are none of theirs."""
    labels = [label.strip() for label in value.split(_SEPARATOR)] if isinstance(value, str) else value
    if labels == [""]:
        return []
    if not isinstance(labels, list) or not all(
        isinstance(label, str | int) and label != "" for label in labels
    ):
        raise ValueError(f"`labels` must be labels separated by {_SEPARATOR}, or a list. Received: {value!r}")
    return [str(label) for label in labels]


def _number(value: object, name: str) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(value)
    except ValueError:
        raise ValueError(f"`{name}` must be a number. Received: {value!r}") from None
    if not math.isfinite(number) or (name == "weight" and number <= 0):
        expected = "a number above 0" if name == "weight" else "a finite number"
        raise ValueError(f"`{name}` must be {expected}. Received: {value!r}")
    return number


def _probabilities(value: object) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError(f"`probabilities` must be an object of classes and numbers. Received: {value!r}")
    return {name: _number(each, f"probabilities.{name}") for name, each in value.items()}


def _truth(value: object) -> bool:
    word = str("" if value is None else value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"`held_out` must be true or false. Received: {value!r}")


_READ_TARGETS: dict[str, Callable[[object], Any]] = {
    "label": _label,
    "labels": _labels,
    "value": lambda value: _number(value, "value"),
    "probabilities": _probabilities,
}
_READERS: dict[
    str, Callable[[Iterable[str], str, Mapping[str, str]], Iterator[tuple[int, Mapping[str, Any]]]]
] = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _json_rows,
}
LIST_SUFFIXES = tuple(_READERS)
"""The endings of files that list examples."""
