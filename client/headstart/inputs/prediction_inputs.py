"""Prediction inputs in all supported types, with their names."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypedDict, cast

import numpy as np

from headstart.inputs.arrays import ARRAYS_SUFFIX, feature_rows
from headstart.inputs.contents import Content, content_name
from headstart.inputs.folders import files_of
from headstart.inputs.frames import (
    Indexed,
    Records,
    RowSource,
    is_frame,
    is_indexed,
    is_sparse,
    is_splits,
    rows_of,
    texts_of,
)
from headstart.inputs.records import Layout
from headstart.inputs.tables import TABLE_SUFFIXES, Table

Inputs: TypeAlias = Content | Iterable["Content | Sequence[float] | Mapping[str, Any] | NamedInput"]
"""Inputs of `predict` and `embed`.

One input, see `Content`, or many: a list, tuple, generator or other iterable of inputs; an array or tensor of
rows [n, size]; a DataFrame, a dataset of Hugging Face or PyTorch, or dicts, as in `Examples`; or a path: a
folder, whose files are the inputs, or a ``.csv``, ``.tsv``, ``.jsonl`` or ``.npz`` file.
"""


class InputSettings(TypedDict, total=False):
    """Arguments that describe the inputs.

    Attributes:
        texts: texts as inputs, instead of `inputs`.
        images: images as inputs (paths, bytes, arrays, Pillow images), instead of `inputs`.
        features: rows of numbers as inputs, such as an array [n, size], instead of `inputs`.
        text_column: name of the column ``text`` of a table.
        image_column: name of the column ``path`` (in a file) or ``image``.
        id_column: name of the column ``id``.
        label_column: name of a column that is not an input, such as the label.
        feature_columns: names of the columns of numbers, in the order of the fine-tune. None: all columns of
            numbers, if there are neither texts nor images.
    """

    texts: Iterable[str] | None
    images: Iterable[Content] | None
    features: Any
    text_column: str | None
    image_column: str | None
    id_column: str | None
    label_column: str | None
    feature_columns: Sequence[str] | None


_NAMES: Final = ("texts", "images", "features")
_COLUMNS: Final = ("text", "id", "label")


_NO_CELLS: Final[Mapping[str, Any]] = {}


class NamedInput(NamedTuple):
    """One input; a tuple for speed, because there may be millions."""

    name: str  # path of the input, or its row; empty if it has no name
    content: Any  # the input
    cells: Mapping[str, Any] = _NO_CELLS  # cells of its row, by column; empty if it is not a row of a file
    hint: str = ""  # remedy if the server rejects it; begins with a space unless empty


@dataclass(frozen=True, slots=True)
class OpenInputs:
    """Inputs, read lazily; `is_one` for a single input and not a collection of one."""

    items: Iterable[NamedInput]
    is_one: bool = False


def open_inputs(inputs: Any, settings: InputSettings | None = None) -> OpenInputs:
    """Return the inputs of `predict` or `embed`; None if the settings have them."""
    options = settings or {}
    named = [name for name in _NAMES if options.get(name) is not None]
    if len(named) + (inputs is not None) != 1:
        received = [*(["inputs"] if inputs is not None else []), *named]
        given = f" Received: {' and '.join(received)}" if received else ""
        raise TypeError(f"Give one of inputs, texts, images and features.{given}")
    if not named:
        return _open(inputs, options)
    values = options[named[0]]  # type: ignore[literal-required]
    if isinstance(values, str):
        raise TypeError(f"{named[0]} must be several, such as a list. Received: {values[:60]!r}")
    rows = texts_of(values) if named[0] == "texts" else rows_of(values)
    return OpenInputs(_named(rows))


def is_collection(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder, or a file of many inputs."""
    suffix = os.path.splitext(path)[1].lower()  # also of texts, which are not paths
    return suffix in (*TABLE_SUFFIXES, ARRAYS_SUFFIX) or os.path.isdir(path)


def _open(inputs: Any, settings: InputSettings) -> OpenInputs:
    if isinstance(inputs, Table):
        return OpenInputs(_rows_of_table(inputs, Layout()))
    if isinstance(inputs, str | os.PathLike):
        if is_collection(inputs):
            return OpenInputs(_stored(Path(inputs), settings))
        return OpenInputs([NamedInput(content_name(inputs), inputs)], is_one=True)
    return _open_value(inputs, settings)


def _open_value(inputs: Any, settings: InputSettings) -> OpenInputs:
    if is_splits(inputs):
        raise TypeError("These are the splits of a dataset. Give one of them, such as dataset['test']")
    if isinstance(inputs, Mapping):
        raise TypeError(
            "Give a row as a list of one dict, [row], and columns as a DataFrame. Received: a mapping"
        )
    if is_frame(inputs):
        return OpenInputs(_rows_of_records(RowSource(inputs), _layout(settings, is_file=False)))
    if is_sparse(inputs):
        return OpenInputs(_named(rows_of(inputs)))
    if _is_one(inputs):
        return OpenInputs([NamedInput(content_name(inputs), inputs)], is_one=True)
    if not isinstance(inputs, Iterable):
        return OpenInputs(_named(_without_targets(inputs)))
    return OpenInputs(_items(inputs, settings))


def _is_one(inputs: Any) -> bool:
    """Return whether a value is one input: a value that is not iterable, an image, or a row of numbers."""
    if isinstance(inputs, bytes | bytearray | memoryview) or hasattr(inputs, "read"):
        return True
    if hasattr(inputs, "__array__") and not isinstance(inputs, np.generic):
        if hasattr(inputs, "save") and hasattr(inputs, "mode"):
            return True
        array = inputs.detach().cpu().numpy() if hasattr(inputs, "detach") else np.asarray(inputs)
        is_pixels = array.dtype == np.uint8 and array.ndim in (2, 3)
        return is_pixels or (array.ndim not in (2, 4) and array.dtype.kind != "O")
    return not isinstance(inputs, Iterable) and not is_indexed(inputs)


def _stored(path: Path, settings: InputSettings) -> Iterator[NamedInput]:
    if path.is_dir():
        for file in files_of(path):
            yield NamedInput(str(file), file)
        return
    if path.suffix.lower() == ARRAYS_SUFFIX:
        for place, row in enumerate(feature_rows(path)):
            yield NamedInput(f"{path}[{place}]", row)
        return
    layout = _layout(settings, is_file=True)
    yield from _rows_of_table(Table(path, layout.names, features=layout.features), layout)


def _columns_hint(row: Mapping[str, Any], content: Any, layout: Layout) -> str:
    if layout.features is not None or not isinstance(content, np.ndarray) or len(row) < len(content):
        return ""
    columns = ", ".join(map(str, row))
    return f" The columns are {columns}: name the features with feature_columns (--feature-columns)."


def _rows_of_table(table: Table, layout: Layout) -> Iterator[NamedInput]:
    for row, content in table.inputs():
        hint = _columns_hint(row.row, content, layout)
        yield NamedInput(f"{table.path}, line {row.line}", content, row.row, hint)


def _rows_of_records(rows: Iterable[tuple[str, Mapping[str, Any]]], layout: Layout) -> Iterator[NamedInput]:
    for place, row, content in Records(rows=rows, layout=layout).inputs():
        yield NamedInput(place, content, hint=_columns_hint(row, content, layout))


def _layout(settings: InputSettings, *, is_file: bool) -> Layout:
    names = {name: settings.get(f"{name}_column") for name in _COLUMNS}
    names["path" if is_file else "image"] = settings.get("image_column")
    features = settings.get("feature_columns")
    return Layout(
        names={name: cast(str, column) for name, column in names.items() if column is not None},
        features=None if features is None else tuple([features] if isinstance(features, str) else features),
        labeled=False,
    )


def _items(inputs: Iterable[Any], settings: InputSettings) -> Iterator[NamedInput]:
    items = iter(inputs)
    first = next(items, None)
    if isinstance(first, Mapping):
        rows = _chained(first, items)
        located = ((f"inputs[{place}]", row) for place, row in enumerate(rows))
        yield from _rows_of_records(located, _layout(settings, is_file=False))
    elif first is not None:
        yield from _named(_chained(first, items))


def _chained(first: Any, remaining: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from remaining


def _named(contents: Iterable[Any]) -> Iterator[NamedInput]:
    for content in contents:
        yield content if isinstance(content, NamedInput) else NamedInput(content_name(content), content)


def _without_targets(dataset: Any) -> Iterator[Any]:
    """Return the inputs of a PyTorch dataset, whose items may be pairs of an input and a target."""
    for item in Indexed(dataset):
        yield item[0] if isinstance(item, tuple | list) and len(item) == 2 else item
