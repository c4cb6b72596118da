"""Examples listed in a file: CSV or TSV with a header, or one JSON object in each line."""

import csv
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from headstart.folders import path_id
from headstart.inputs import Content, Example, Text

__all__ = ["TABLE_SUFFIXES", "Table"]

_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no", ""})
_TARGETS = ("label", "labels", "value")
_COLUMNS = ("path", "text", *_TARGETS, "probabilities", "id", "held_out", "weight")
_SEPARATOR = "|"


class Table:
    """The examples a file lists, in its order; paths are from the file's own folder.

    Columns: one of ``path`` and ``text``; one of ``label``, ``labels`` and ``value``; if wanted ``id``,
    ``held_out`` (true or false) and ``weight``. Others are ignored, unless they look like one of these that
    is misspelt. An example without an id is called by its path, as it is listed. In a CSV file ``labels``
    are separated by ``|`` and may be empty, in a JSONL file they are a list; there an example may have
    ``probabilities`` instead, an object of classes and numbers.

    Args:
        path: the file, ending in ``.csv``, ``.tsv`` or ``.jsonl``.
        columns: what columns are called in the file, by the names above; those that are not named here are
            called so themselves.

    Raises:
        ValueError: a name is none of those above, or the file's ending is none of these.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._columns = dict(columns or {})
        unknown = [name for name in self._columns if name not in _COLUMNS]
        if unknown:
            raise ValueError(f"columns must be of {', '.join(_COLUMNS)}. Received: {unknown[0]!r}")
        if path.suffix not in _READERS:
            raise ValueError(f"A file that lists examples ends in {', '.join(_READERS)}. Received: {path}")
        self._read = _READERS[path.suffix]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.rows())

    def rows(self) -> Iterator[tuple[str, Example]]:
        """The examples, each with the place where it is listed, such as ``list.csv, line 3``."""
        for line, row in self._read(self._path, self._columns):
            place = f"{self._path}, line {line}"
            try:
                example = self._example(row)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
            yield place, example

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)  # reads the list, not what it names; so it also finds a bad row at once

    def _example(self, row: Mapping[str, Any]) -> Example:
        return Example(
            self._content(row),
            id=str(row.get("id") or self._listed_path(row)),
            held_out=_truth(row.get("held_out")),
            weight=None if row.get("weight") in (None, "") else _number(row["weight"], "weight"),
            **_target(row),
        )

    def _listed_path(self, row: Mapping[str, Any]) -> str:
        path = row.get("path")
        return path_id(PurePath(path)) if isinstance(path, str) and path else ""

    def _content(self, row: Mapping[str, Any]) -> Content:
        path, text = row.get("path"), row.get("text")
        if isinstance(path, str) and path and not text:
            return self._path.parent / path
        if isinstance(text, str) and text and not path:
            return Text(text)
        columns = ", ".join(str(name) for name in row)
        raise ValueError(f"either a `path` or a `text` is expected. Received the columns: {columns}")


def _csv_rows(
    path: Path, columns: Mapping[str, str], dialect: str = "excel"
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Spreadsheets begin their files with a byte order mark; utf-8-sig takes it off.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, dialect=dialect)
        try:
            header = dict.fromkeys(reader.fieldnames or ())
            _check_named(f"{path}, line 1", header, columns)
            _check_columns(path, _renamed(header, columns), "tab" if dialect == "excel-tab" else "comma")
            for row in reader:
                yield reader.line_num, _renamed(row, columns)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num + 1}: {error}") from None


def _tsv_rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return _csv_rows(path, columns, "excel-tab")


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


def _check_columns(path: Path, columns: Collection[str], separator: str) -> None:
    _check_spelling(f"{path}, line 1", columns)
    targets = [name for name in _TARGETS if name in columns]
    if len(targets) == 1 and ("path" in columns or "text" in columns):
        return
    received = f"the columns {', '.join(columns)}" if columns else "no columns"
    hint = f" Is the separator a {separator}?" if len(columns) == 1 else ""
    raise ValueError(
        f"{path} has {received}. Expected path (or text) and one of label, labels and value.{hint}"
    )


def _check_spelling(place: str, columns: Iterable[str | None]) -> None:
    # A misspelt column would be ignored like any other: weights, or what is held out, would not count.
    for name in columns:
        if name is None or name in _COLUMNS:
            continue
        meant = [column for column in _COLUMNS if _letters(column) == _letters(name)]
        if meant:
            raise ValueError(
                f"{place}: the column `{meant[0]}` is expected to be called so. Received: {name!r}. "
                "Rename it, or take it out"
            )


def _letters(name: str) -> list[str]:
    """A name's letters, sorted: equal in another order or case, with other separators and as a plural."""
    return sorted(filter(str.isalpha, name.lower().rstrip("s")))


def _json_rows(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {line}: a JSON object is expected. {error}") from None
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {line}: a JSON object is expected. Received: {text.strip()}")
            _check_named(f"{path}, line {line}", row, columns)
            row = _renamed(row, columns)
            _check_spelling(f"{path}, line {line}", row)
            yield line, row


def _target(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says that its input shows, as the argument of `Example` that takes it."""
    given = [name for name in (*_TARGETS, "probabilities") if row.get(name) is not None]
    if len(given) > 1:
        raise ValueError(f"only one of {', '.join(given)} is expected. Received: all of them")
    name = given[0] if given else "label"
    return {name: _READ_TARGETS[name](row.get(name))}


def _label(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a label is expected in the column `label`. Received: {value!r}")
    return value


def _labels(value: object) -> list[str]:
    """Several labels; in a CSV file they are one text, and spaces around them are none of theirs."""
    labels = [label.strip() for label in value.split(_SEPARATOR)] if isinstance(value, str) else value
    if labels == [""]:
        return []
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        raise ValueError(f"`labels` must be labels separated by {_SEPARATOR}, or a list. Received: {value!r}")
    return labels


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
_READERS: dict[str, Callable[[Path, Mapping[str, str]], Iterator[tuple[int, Mapping[str, Any]]]]] = {
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": _json_rows,
}
TABLE_SUFFIXES = tuple(_READERS)
"""The endings of files that list examples."""
