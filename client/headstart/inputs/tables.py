"""Examples listed in a local file."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from headstart.inputs.contents import Unreadable
from headstart.inputs.dataset_manifest import LIST_COLUMNS, LIST_SUFFIXES, ListedRow, read_list
from headstart.inputs.inputs import Content, Example, Text
from headstart.inputs.records import Layout
from headstart.inputs.task import Task

TABLE_SUFFIXES = LIST_SUFFIXES
"""Suffixes of files that list examples."""


class Table:
    """The examples that a file lists, in order; paths are relative to the file's folder.

    Columns: one of ``path``, ``text`` and, in JSONL, ``features`` (a list of numbers); one of ``label``,
    ``labels`` and ``value``; optionally ``id``, ``held_out`` (true or false) and ``weight``. Without a path
    and a text, the columns of numbers are the features. Other columns are ignored, unless their name looks
    like a misspelling of one of these. The default ID of an example is its path in the file. In a CSV file,
    ``labels`` are separated by ``|`` and may be empty; in a JSONL file they are a list, and an example may
    have ``probabilities`` instead, an object of classes and numbers.

    Args:
        path: the file, ending in ``.csv``, ``.tsv`` or ``.jsonl``.
        columns: names of columns in the file, by the names above; other columns keep their names.
        features: names of the feature columns, in order. None: the columns of numbers.
        task: kind of label: in a regression, numbers in the column of labels are values. None: integers
            are classes, and decimal numbers raise an error.

    Raises:
        ValueError: a name or the file's suffix is unknown.
    """

    def __init__(
        self,
        path: Path,
        columns: Mapping[str, str] | None = None,
        *,
        features: Collection[str] | None = None,
        task: Task | None = None,
    ) -> None:
        self._path = path
        names = dict(columns or {})
        unknown = [name for name in names if name not in LIST_COLUMNS]
        if unknown:
            raise ValueError(f"columns must be of {', '.join(LIST_COLUMNS)}. Received: {unknown[0]!r}")
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise ValueError(
                f"A file that lists examples ends in {', '.join(TABLE_SUFFIXES)}. Received: {path}"
            )
        self._layout = Layout(names=names, features=None if features is None else tuple(features), task=task)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.rows())

    def for_task(self, task: Task | None) -> "Table":
        """Return the table for a task, unless it has a task."""
        table = Table(self._path)
        table._layout = replace(self._layout, task=self._layout.task or task)
        return table

    def rows(self) -> Iterator[tuple[str, Example]]:
        """Return the examples with their locations, such as ``list.csv, line 3``."""
        for row in self._read(self._layout):
            yield f"{self._path}, line {row.line}", Example(self._content(row), **row.settings)

    def inputs(self) -> Iterator[tuple[ListedRow, Content | Unreadable]]:
        """Return the rows with their contents, without targets."""
        for row in self._read(replace(self._layout, labeled=False)):
            yield row, self._content(row) if row.error is None else Unreadable(row.error)

    def _read(self, layout: Layout) -> Iterator[ListedRow]:
        # Spreadsheets write a byte order mark; utf-8-sig removes it.
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            yield from read_list(file, name=str(self._path), suffix=self._path.suffix.lower(), layout=layout)

    def _content(self, row: ListedRow) -> Content:
        if row.features is not None:
            return row.features
        return self._path.parent / row.path if row.path else Text(row.text)

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)  # reads the list, but not its files; so it also finds a bad row early
