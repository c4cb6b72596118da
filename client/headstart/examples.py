"""Labelled examples from wherever a caller has them: a folder, a table, a mapping or any iterable."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TypeAlias, cast

from headstart.arrays import ARRAYS_SUFFIX, Arrays
from headstart.folders import Folder
from headstart.inputs import Content, Example, ExampleTarget, example_message, is_class_number
from headstart.spool import Spool
from headstart.tables import TABLE_SUFFIXES, Table
from headstart.v1 import input_pb2

__all__ = ["URI_BEGINNINGS", "ExampleSource", "Examples", "open_examples"]

URI_BEGINNINGS = ("s3://", "gs://", "https://", "file://")
"""How URIs of lists begin that the server reads itself."""

Examples: TypeAlias = (
    str
    | os.PathLike[str]
    | Table
    | Arrays
    | Mapping[str, Iterable[Content]]
    | Iterable[Example | tuple[Content, ExampleTarget]]
)
"""Examples to learn from.

A path: a folder with one sub-folder for each class, whose files all count, those of its sub-folders too,
but no hidden ones; or a ``.csv``, ``.tsv`` or ``.jsonl`` file with the columns ``path`` (from the file's own
folder) or ``text``; one of ``label``, ``labels`` (several, separated by ``|``; in JSONL a list) and ``value``
(a number); and if you like ``id``, ``held_out`` (true or false) and ``weight``; or an ``.npz`` file with the
arrays ``features`` [n, size], ``labels`` or ``values`` [n], and if you like ``ids`` [n]. A `Table`: such a
file whose columns have other names. A `str` that begins with ``s3://``, ``gs://``, ``https://`` or
``file://``, for fine-tunes only: such a ``.csv``, ``.tsv`` or ``.jsonl`` file that the server reads, if it
allows the URI. A mapping from labels to contents. Or any iterable of `Example` or ``(content, target)``,
where the target is a label (a text, an integer or a bool, also of numpy), a list or set of labels, a float
for regression, or a mapping from classes to their probabilities; one that can be iterated only once will do.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleSource:
    """Examples as messages, as often as they are iterated; files are read when it is their turn.

    Attributes:
        messages: the messages; each iteration gives the same ones.
        total: how many there are; None if that is not known beforehand.
        uri: where the server reads them itself; empty if they are sent.
    """

    messages: Iterable[input_pb2.Example]
    total: int | None
    uri: str = ""

    def __iter__(self) -> Iterator[input_pb2.Example]:
        return iter(self.messages)


@dataclass(frozen=True, slots=True)
class _Encoded:
    examples: Iterable[Example | tuple[Content, ExampleTarget]]

    def __iter__(self) -> Iterator[input_pb2.Example]:
        for index, item in enumerate(self.examples):
            try:
                message = example_message(_example(item))
            except TypeError as error:
                raise TypeError(f"examples[{index}]: {error}") from error
            except ValueError as error:
                raise ValueError(f"examples[{index}]: {error}") from error
            yield message


@dataclass(frozen=True, slots=True)
class _EncodedTable:
    table: Table

    def __iter__(self) -> Iterator[input_pb2.Example]:
        for place, example in self.table.rows():
            try:
                message = example_message(example)
            except OSError as error:
                raise OSError(error.errno, f"{place}: {error.strerror}", error.filename) from None
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            yield message


@dataclass(frozen=True, slots=True)
class _ByLabel:
    contents: Mapping[str, Iterable[Content]]

    def __iter__(self) -> Iterator[Example]:
        for label, contents in self.contents.items():
            for content in contents:
                yield Example(content, label)


def open_examples(examples: Examples) -> ExampleSource:
    """Finds out what kind of examples these are.

    Raises:
        OSError: the path does not exist or cannot be read.
        ValueError: the folder has no sub-folders, or the table lacks a column.
        TypeError: the examples are none of the kinds there are.
    """
    if isinstance(examples, str) and examples.startswith(URI_BEGINNINGS):
        return ExampleSource(messages=(), total=None, uri=examples)
    if isinstance(examples, str | os.PathLike | Table):
        stored = examples if isinstance(examples, Table) else _open_path(Path(examples))
        messages = _EncodedTable(stored) if isinstance(stored, Table) else _Encoded(stored)
        return ExampleSource(messages=messages, total=len(stored))
    if isinstance(examples, Mapping):
        return _open_mapping(examples)
    if not isinstance(examples, Iterable) or isinstance(examples, bytes | bytearray | memoryview):
        raise TypeError(
            "examples must be a path, a mapping from labels to contents, or an iterable of Example or "
            f"(content, target). Received: {type(examples).__qualname__}"
        )
    if isinstance(examples, Iterator):
        return ExampleSource(messages=Spool(iter(_Encoded(examples))), total=None)
    return ExampleSource(messages=_Encoded(examples), total=_length(examples))


def _open_path(path: Path) -> Folder | Table | Arrays:
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no folder or file {path}")
    if path.suffix in TABLE_SUFFIXES:
        return Table(path)
    if path.suffix == ARRAYS_SUFFIX:
        return Arrays(path)
    raise ValueError(
        "Examples must be in a folder with one sub-folder for each class, or listed in a file that ends in "
        f"{', '.join(TABLE_SUFFIXES)} or {ARRAYS_SUFFIX}. Received: {path}"
    )


def _open_mapping(contents: Mapping[str, Iterable[Content]]) -> ExampleSource:
    encoded = _Encoded(_ByLabel(contents))
    lengths = [_length(each) for each in contents.values()]
    if any(isinstance(each, Iterator) for each in contents.values()):
        return ExampleSource(messages=Spool(iter(encoded)), total=None)
    known = [length for length in lengths if length is not None]
    return ExampleSource(messages=encoded, total=sum(known) if len(known) == len(lengths) else None)


def _example(item: Example | tuple[Content, ExampleTarget]) -> Example:
    match item:
        case Example():
            return item
        case (content, str(label)):
            return Example(content, label)
        case (content, label) if is_class_number(label):
            return Example(content, cast(int, label))
        case (content, Mapping() as probabilities):
            return Example(content, probabilities=probabilities)
        case (content, list() | tuple() | set() | frozenset() as labels):
            return Example(content, labels=labels)
        case (content, Real() as value):
            return Example(content, value=cast(float, value))
    raise TypeError(
        "Expected an Example or (content, target), the target a label (str, integer or bool), a list or set "
        f"of labels, a float or a mapping to probabilities. Received: {_kinds(item)}"
    )


def _kinds(item: object) -> str:
    kind = type(item).__qualname__
    return f"({', '.join(map(_kinds, item))})" if isinstance(item, tuple) else kind


def _length(iterable: object) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None
