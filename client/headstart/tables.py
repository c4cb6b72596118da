"""Examples listed in a file of this machine."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from headstart.inputs import Example, Text
from headstart.listing import LIST_COLUMNS, LIST_SUFFIXES, read_list

__all__ = ["TABLE_SUFFIXES", "Table"]

TABLE_SUFFIXES = LIST_SUFFIXES
"""The endings of files that list examples."""


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
        unknown = [name for name in self._columns if name not in LIST_COLUMNS]
        if unknown:
            raise ValueError(f"columns must be of {', '.join(LIST_COLUMNS)}. Received: {unknown[0]!r}")
        if path.suffix not in TABLE_SUFFIXES:
            raise ValueError(
                f"A file that lists examples ends in {', '.join(TABLE_SUFFIXES)}. Received: {path}"
            )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        return (example for _, example in self.rows())

    def rows(self) -> Iterator[tuple[str, Example]]:
        """The examples, each with the place where it is listed, such as ``list.csv, line 3``."""
        # Spreadsheets begin their files with a byte order mark; utf-8-sig takes it off.
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            for row in read_list(file, name=str(self._path), suffix=self._path.suffix, columns=self._columns):
                content = self._path.parent / row.path if row.path else Text(row.text)
                yield f"{self._path}, line {row.line}", Example(content, **row.settings)

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)  # reads the list, not what it names; so it also finds a bad row at once
