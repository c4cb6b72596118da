"""Examples in the types of other libraries, recognized without importing them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from headstart.inputs.contents import Content, Text, Unreadable
from headstart.inputs.inputs import Example
from headstart.inputs.records import (
    EXCERPT,
    INPUT_COLUMNS,
    TARGET_COLUMNS,
    Layout,
    check_named,
    check_spelling,
    feature_columns_of,
    input_of,
    is_missing,
    meanings,
    settings_of,
)

_HEAD_ROWS: Final = 1000  # to detect columns of numbers


def is_frame(source: object) -> bool:
    """Return whether a value is a DataFrame of pandas or polars, or a dataset of Hugging Face."""
    return hasattr(source, "iter_rows") or hasattr(source, "itertuples") or _is_dataset(source)


def is_splits(source: object) -> bool:
    """Return whether a value is a dictionary of Hugging Face dataset splits."""
    return isinstance(source, Mapping) and bool(source) and all(map(is_frame, source.values()))


def is_indexed(source: object) -> bool:
    """Return whether a value is a PyTorch dataset: it has a length and an index, but no iterator."""
    kind = type(source)
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__") and not isinstance(source, Mapping)


def rows_of(source: Any) -> Any:
    """Return the rows of an array [n, ...], a Series, a DataFrame of numbers or any iterable."""
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if is_sparse(source):
        return SparseRows(source)
    if is_frame(source) and not _is_dataset(source):
        return _numbers_of(source)
    return source.to_list() if hasattr(source, "to_list") else cast(Iterable[Any], source)


def is_sparse(source: object) -> bool:
    """Return whether a value is a SciPy sparse matrix."""
    return hasattr(source, "tocsr") and hasattr(source, "toarray")


class SparseRows:
    """The rows of a sparse matrix [n, size] as arrays, created lazily."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix.tocsr()

    def __len__(self) -> int:
        return int(self._matrix.shape[0])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for place in range(len(self)):
            yield self._matrix[[place]].toarray()[0]


def _numbers_of(frame: Any) -> NDArray[Any]:
    """Return the numbers of a DataFrame, [n, columns]."""
    array = np.asarray(frame)
    if array.dtype.kind in "fiub":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            "X must hold numbers only. Received: a DataFrame of the columns "
            f"{', '.join(map(str, frame.columns))}. Give texts as texts=df[column], or leave out y and "
            "name the columns with label_column and text_column or feature_columns"
        ) from None


def pairs(inputs: Any, targets: Any) -> Iterator[tuple[Any, Any]]:
    """Return inputs with their targets, such as scikit-learn's `X` and `y`."""
    rows, labels = rows_of(inputs), _targets_of(targets)
    counts = [len(each) for each in (rows, labels) if hasattr(each, "__len__")]
    if len(set(counts)) > 1:
        raise ValueError(
            f"There must be one target for each input. Received: {counts[0]} inputs and {counts[1]} targets"
        )
    return zip(rows, labels, strict=True)


def _targets_of(targets: Any) -> Any:
    labels = rows_of(targets)
    shape: tuple[int, ...] = getattr(labels, "shape", ())
    if len(shape) == 2 and shape[1] == 1:
        return labels.ravel()
    if len(shape) > 1:
        raise ValueError(
            f"Targets must be one-dimensional. Received: shape {list(shape)}. Give several labels of an "
            "example as a list of their names"
        )
    return labels


def texts_of(texts: Iterable[str]) -> Iterable[Text]:
    """Return texts as inputs; a list if they have a length."""
    rows = rows_of(texts)
    made = (_text(place, text) for place, text in enumerate(rows))
    return list(made) if hasattr(rows, "__len__") else made


def _text(place: int, text: str) -> Text:
    try:
        return Text(text)
    except TypeError as error:
        raise TypeError(f"texts[{place}]: {error}") from None


class Indexed:
    """The items of a PyTorch dataset, which can be iterated several times.

    Class indices are replaced by the names in the dataset's attribute ``classes``, if it exists.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        names = getattr(dataset, "classes", None)
        is_named = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        self._classes: Sequence[str] = cast(Sequence[str], names) if is_named else ()

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        for place in range(len(self._dataset)):
            item = self._dataset[place]
            match item:
                case (content, int(number)) if 0 <= number < len(self._classes):
                    yield content, self._classes[number]
                case _:
                    yield item


class RowSource:
    """The rows of a frame or dataset as dicts with their names, which can be iterated several times."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._classes = _class_names(source)

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        source = self._source
        if hasattr(source, "iter_rows"):
            rows: Iterable[Mapping[str, Any]] = source.iter_rows(named=True)
        elif hasattr(source, "itertuples"):
            columns = list(source.columns)
            rows = (dict(zip(columns, row, strict=True)) for row in source.itertuples(index=False, name=None))
            for label, row in zip(source.index, rows, strict=True):
                yield f"row {label}", row
            return
        else:
            rows = source
        for place, row in enumerate(rows):
            yield f"row {place}", self._named(row)

    def _named(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._classes:
            return row
        named = dict(row)
        for column, names in self._classes.items():
            number = row[column]
            if number is None or number < 0:  # unlabeled examples have the class index -1
                named[column] = None
            else:
                named[column] = names[number]
        return named


@dataclass(frozen=True, kw_only=True, slots=True)
class Records:
    """Rows with their names as examples, which can be iterated several times; errors name the row."""

    rows: Iterable[tuple[str, Mapping[str, Any]]]
    layout: Layout

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        for place, row, layout in self._located():
            try:
                by_meaning = meanings(row, layout)
                content = _content(*input_of(by_meaning, row, layout.features))
                example = Example(content, **settings_of(by_meaning, layout))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{place}: {error}") from None
            yield place, example

    def inputs(self) -> Iterator[tuple[str, Mapping[str, Any], Content | Unreadable]]:
        """Return the name, the row and the content of each row, without its target."""
        content: Content | Unreadable
        for place, row, layout in self._located():
            try:
                content = _content(*input_of(meanings(row, layout), row, layout.features))
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                content = Unreadable(kind(f"{place}: {error}"))
            yield place, row, content

    def _located(self) -> Iterator[tuple[str, Mapping[str, Any], Layout]]:
        rows = iter(self.rows)
        head = list(islice(rows, 1))
        if not head:
            return
        by_meaning = meanings(head[0][1], self.layout)
        check_spelling("the first row", by_meaning)
        check_named(head[0][0], head[0][1], self.layout.names.values())
        if self.layout.labeled and not any(name in by_meaning for name in TARGET_COLUMNS):
            raise ValueError(
                f"The columns are {', '.join(map(str, head[0][1]))[:EXCERPT]}. Expected one of "
                "label, labels, value and probabilities; name the column of labels with label_column"
            )
        layout = self.layout
        if layout.features is None and not any(
            name in meanings(head[0][1], layout) for name in INPUT_COLUMNS
        ):
            head += islice(rows, _HEAD_ROWS - 1)  # rows of images would not fit into memory
            layout = _with_features([row for _, row in head], layout)
        for place, row in chain(head, rows):
            check_named(place, row, (*layout.names.values(), *(layout.features or ())))
            yield place, row, layout


def _with_features(head: Sequence[Mapping[str, Any]], layout: Layout) -> Layout:
    features = feature_columns_of(head, layout.names)
    if not features:
        raise ValueError(
            f"The columns are {', '.join(map(str, head[0]))}. Expected text, image, path, features or "
            "columns of numbers. Name them with text_column, image_column or feature_columns"
        )
    return replace(layout, features=features)


def _content(kind: str, value: Any) -> Content:
    if kind == "text":
        return Text(value)
    if isinstance(value, Mapping) and "bytes" in value:  # an undecoded Hugging Face image
        return cast(Content, value["path"] if is_missing(value["bytes"]) else value["bytes"])
    return cast(Content, value)


def _is_dataset(source: object) -> bool:
    return isinstance(getattr(source, "features", None), Mapping) and hasattr(source, "column_names")


def _class_names(source: Any) -> dict[str, Sequence[str]]:
    """Return the class names of each column that a dataset stores as class indices."""
    if not _is_dataset(source):
        return {}
    kinds = source.features.items()
    return {column: kind.names for column, kind in kinds if hasattr(kind, "int2str")}
