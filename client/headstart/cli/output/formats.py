"""Output formats: tables for people; JSON, names and CSV for programs."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Format(StrEnum):
    """Output formats of -o."""

    TABLE = "table"
    JSON = "json"
    NAME = "name"
    CSV = "csv"


DOCUMENT = (Format.TABLE, Format.JSON)
"""Formats of a command that prints one document."""
RESULT = (*DOCUMENT, Format.NAME)
"""Formats of a command whose result has a name."""
LIST = (*RESULT, Format.CSV)
"""Formats of a command that prints a list."""


class TextOutput(Protocol):
    """A file that a text is written to."""

    def write(self, text: str, /) -> int:
        """Write a text."""


class LineFeeds:
    """The file of a `csv` writer whose rows end in a line feed.

    The writer itself ends rows in CR LF, and therefore puts cells with either character in quotes.
    """

    def __init__(self, file: TextOutput) -> None:
        self._file = file

    def write(self, row: str) -> int:
        """Write a row."""
        return self._file.write(row.removesuffix("\r\n") + "\n")


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as references that other commands accept, and as rows of cells."""

    names: Sequence[str]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    def csv(self) -> str:
        """Return the rows as CSV with a header."""
        text = io.StringIO()
        writer = csv.writer(LineFeeds(text))
        writer.writerow(self.columns)
        writer.writerows([_cell(each) for each in row] for row in self.rows)
        return text.getvalue()


def listing(
    items: Iterable[Item], name: Callable[[Item], str], columns: Mapping[str, Callable[[Item], Any]]
) -> Listing:
    """Return a list of items, whose cells are by column name."""
    rows = list(items)
    cells = [[column(each) for column in columns.values()] for each in rows]
    return Listing([name(each) for each in rows], list(columns), cells)


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
    return value
