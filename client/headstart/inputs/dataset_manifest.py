"""Files that list examples: CSV or TSV with a header, or JSONL; the server reads the same format."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import PurePath
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart.inputs.contents import path_id
from headstart.inputs.labels import IntegerLabels, is_integer_text
from headstart.inputs.records import (
    EXCERPT,
    INPUT_COLUMNS,
    RECORD_COLUMNS,
    TARGET_COLUMNS,
    Layout,
    check_named,
    check_spelling,
    feature_columns_of,
    input_of,
    is_number,
    meanings,
    settings_of,
)

LIST_COLUMNS: Final = tuple(name for name in RECORD_COLUMNS if name not in ("image", "input"))
"""Columns with a meaning."""

_HEAD_ROWS: Final = 1000  # to detect columns of numbers
_HEAD_CHARACTERS: Final = 2**22

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRow:
    """One example of a list: its input is a path, a text, or features."""

    line: int  # number of its last line, from 1
    path: str  # path of its content; may be empty
    text: str  # its text; may be empty
    features: NDArray[np.float64] | None  # its features; may be None
    settings: Mapping[str, Any]  # arguments of `Example`: ``id``, ``held_out``, ``weight``, and the target
    row: Row  # all cells, by the file's column names
    error: ValueError | None = None  # why the row is invalid; labeled rows raise it instead


class _LongRow(dict[str, str]):
    """A row with more cells than the header has columns, without those cells."""


def read_list(
    lines: Iterable[str],
    *,
    name: str,
    suffix: str,
    layout: Layout = Layout(),  # noqa: B008  # frozen
    row_ended: Callable[[], None] = lambda: None,
    loads: Callable[[str], Any] = json.loads,
) -> Iterator[ListedRow]:
    """Yield the examples of a list, in order; errors name the line.

    Args:
        lines: lines of the list, with line breaks.
        name: name of the list in errors.
        suffix: one of `LIST_SUFFIXES`.
        layout: meanings of the columns; the suffix determines `Layout.is_text`.
        row_ended: called after each row that was read.
        loads: reads the JSON of one row; raises ValueError if it is invalid.
    """
    layout = replace(layout, is_text=suffix != ".jsonl")
    read = partial(_json_rows, loads=loads) if suffix == ".jsonl" else _READERS[suffix]
    rows = read(lines, name, layout, row_ended)
    layout, rows = _with_features(name, layout, rows)
    yield from IntegerLabels(layout.task).checked(
        (row, _written_label(row, layout)) for row in _read(rows, name, layout)
    )


def _read(rows: Iterable[tuple[int, Row]], name: str, layout: Layout) -> Iterator[ListedRow]:
    paths: set[str] = set()
    for line, row in rows:
        try:
            listed = _listed(line, row, layout)
        except ValueError as error:
            located = ValueError(f"{name}, line {line}: {error}")
            if layout.labeled:
                raise located from None
            listed = ListedRow(
                line=line, path="", text="", features=None, settings={"id": ""}, row=row, error=located
            )
        if not listed.settings["id"] and listed.path and listed.path not in paths:
            paths.add(listed.path)
            listed = replace(listed, settings={**listed.settings, "id": _path_name(listed.path)})
        yield listed


def _with_features(
    name: str, layout: Layout, rows: Iterator[tuple[int, Row]]
) -> tuple[Layout, Iterator[tuple[int, Row]]]:
    """Find the feature columns in the first rows, unless they are named or there is another input."""
    first = next(rows, None)
    if first is None or layout.features is not None or _has_input(first[1], layout):
        return layout, chain([] if first is None else [first], rows)
    head, size = [first], 0
    while len(head) < _HEAD_ROWS and size < _HEAD_CHARACTERS and (row := next(rows, None)) is not None:
        head.append(row)
        size += sum(len(str(cell)) for cell in row[1].values())
    features = feature_columns_of([row for _, row in head], layout.names)
    if not features:
        raise _no_input(name, head[0][1])
    return replace(layout, features=features), chain(head, rows)


def _has_input(row: Row, layout: Layout) -> bool:
    return any(column in meanings(row, layout) for column in INPUT_COLUMNS)


def _no_input(name: str, columns: Row) -> ValueError:
    received = ", ".join(map(str, columns))
    separator = {".csv": "comma", ".tsv": "tab"}.get(PurePath(name).suffix)
    hint = f" Is the separator a {separator}?" if separator and len(columns) == 1 else ""
    return ValueError(
        f"{name} has the columns {received[:EXCERPT]}. Expected path, text, features or columns of numbers; "
        f"rename the column of texts to text, or name it with text_column (--text-column).{hint}"
    )


def _written_label(row: ListedRow, layout: Layout) -> object:
    """Return a row's label, as an integer if a file of texts contains digits."""
    label = row.settings.get("label")
    return int(label) if layout.is_text and isinstance(label, str) and is_integer_text(label) else label


def _listed(line: int, row: Row, layout: Layout) -> ListedRow:
    if isinstance(row, _LongRow):
        raise ValueError(
            "the row has more cells than the header has columns. Quote cells that contain the separator"
        )
    by_meaning = meanings(row, layout)
    kind, value = input_of(by_meaning, row, layout.features)
    if kind == "input" or (kind in ("path", "text", "image") and not isinstance(value, str)):
        raise ValueError(f"`{kind}` must be a text. Name the column `path`, `text` or `features`")
    path = value if kind in ("path", "image") else ""
    return ListedRow(
        line=line,
        path=path,
        text=value if kind == "text" else "",
        features=value if kind == "features" else None,
        settings=settings_of(by_meaning, layout),
        row=row,
    )


def _path_name(path: str) -> str:
    """Return the ID of the first example of a path that has no other ID."""
    # PurePath would collapse the two slashes of a URI.
    scheme, mark, remainder = path.rpartition("://")
    return path_id(PurePath(remainder), before=f"{scheme}{mark}")


class _Source(Iterator[str]):
    """The lines of a CSV file. `csv` reads an unclosed quote to the end of the file, without an error."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._count = 0
        self._has_ended = False

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self._has_ended = self._count > 0
            raise StopIteration
        self._count += 1
        return line

    def check_closed(self) -> None:
        """Check, after each row, that it has ended before the file."""
        if self._has_ended:
            raise csv.Error('a quote is not closed. Close it, or write it twice within a quoted cell ("")')


def _csv_rows(
    lines: Iterable[str], name: str, layout: Layout, row_ended: Callable[[], None], dialect: str = "excel"
) -> Iterator[tuple[int, Row]]:
    source = _Source(_utf8(lines, name))
    reader, line = csv.reader(source, dialect=dialect), 0
    try:
        header = next(reader, [])
        source.check_closed()
        _check_has_header(name, header, layout)
        _check_header(name, dict.fromkeys(header), layout)
        _check_unique(name, header)
        line = reader.line_num
        for cells in reader:
            row_ended()
            source.check_closed()
            line = reader.line_num
            if cells:
                # Missing cells are left out: filling them in would take time for each column of the header.
                row = dict(zip(header, cells, strict=False))
                yield line, _LongRow(row) if any(cells[len(header) :]) else row
    except csv.Error as error:
        raise ValueError(f"{name}, line {line + 1}: {error}") from None


def _tsv_rows(
    lines: Iterable[str], name: str, layout: Layout, row_ended: Callable[[], None]
) -> Iterator[tuple[int, Row]]:
    return _csv_rows(lines, name, layout, row_ended, "excel-tab")


def _check_has_header(name: str, cells: Sequence[str], layout: Layout) -> None:
    """Check that the first line has names: the first row of a list without a header would be lost."""
    by_meaning = meanings(dict.fromkeys(cells), layout)
    if layout.features is not None or any(column in RECORD_COLUMNS for column in by_meaning):
        return
    names = [cell for cell in cells if cell]
    numbers = [cell for cell in names if is_number(cell)]
    # pandas names columns 0, 1, 2 and so on.
    is_counted = len(numbers) > 1 and numbers == [str(place) for place in range(len(numbers))]
    if len(numbers) > len(names) / 2 and not is_counted:
        raise ValueError(
            f"{name}, line 1: names of columns are expected. Received the numbers "
            f"{', '.join(numbers)[:EXCERPT]}. Add a line with the names above the first row; if these are "
            "the names, give those of the features as feature_columns (--feature-columns)"
        )


def _check_header(name: str, header: Row, layout: Layout) -> None:
    place = f"{name}, line 1"
    check_named(place, header, (*layout.names.values(), *(layout.features or ())))
    by_meaning = meanings(header, layout)
    check_spelling(place, by_meaning)
    if not header:
        raise ValueError(f"{name} has no columns. The first line must name them")
    if len(header) == 1 and layout.labeled:
        raise _no_input(name, header)
    targets = [column for column in TARGET_COLUMNS if column in by_meaning]
    if len(targets) != 1 and layout.labeled:
        raise ValueError(
            f"{name} has the columns {', '.join(header)[:EXCERPT]}. Expected one of label, labels and value; "
            "rename the column of labels to label, or name it with label_column (--label-column)"
        )


def _check_unique(name: str, header: Sequence[str]) -> None:
    twice = next((column for column, count in Counter(header).items() if column and count > 1), None)
    if twice is not None:
        raise ValueError(f"{name}, line 1: two columns are named {twice!r}. Rename or remove one of them")


def _json_rows(
    lines: Iterable[str],
    name: str,
    layout: Layout,
    row_ended: Callable[[], None],
    loads: Callable[[str], Any] = json.loads,
) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(_utf8(lines, name), start=1):
        row_ended()
        if not text.strip():
            continue
        place = f"{name}, line {line}"
        try:
            row = loads(text)
        except RecursionError:
            raise ValueError(f"{place}: the JSON is nested too deeply") from None
        except ValueError as error:
            # JSON errors, and integers with thousands of digits.
            raise ValueError(f"{place}: a JSON object is expected. {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{place}: a JSON object is expected. Received: {text.strip()[:EXCERPT]}")
        check_named(place, row, (*layout.names.values(), *(layout.features or ())))
        check_spelling(place, meanings(row, layout))
        yield line, row


def _utf8(lines: Iterable[str], name: str) -> Iterator[str]:
    """Yield lines; raise a clear error for bytes that are not UTF-8."""
    count = 0
    try:
        for line in lines:
            count += 1
            yield line
    except UnicodeDecodeError as error:
        # Files are decoded in blocks: `error.object` has the lines before the bad byte.
        bad = count + error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{name}, line {bad}: the text is not UTF-8. Save the file as UTF-8") from None


_Reader: TypeAlias = Callable[
    [Iterable[str], str, Layout, Callable[[], None]], Iterator[tuple[int, Mapping[str, Any]]]
]
_READERS: dict[str, _Reader] = {".csv": _csv_rows, ".tsv": _tsv_rows, ".jsonl": _json_rows}
LIST_SUFFIXES: Sequence[str] = tuple(_READERS)
"""Suffixes of files that list examples."""
