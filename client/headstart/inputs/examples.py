"""Labeled examples in all supported types."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict, cast

from headstart.inputs.arrays import ARRAYS_SUFFIX, Arrays
from headstart.inputs.contents import Content
from headstart.inputs.folders import Folder, check_classes
from headstart.inputs.frames import (
    Indexed,
    Records,
    RowSource,
    is_frame,
    is_indexed,
    is_sparse,
    is_splits,
    pairs,
    rows_of,
    texts_of,
)
from headstart.inputs.inputs import Example, ExampleTarget, as_example, default_id, example_message, is_array
from headstart.inputs.labels import IntegerLabels, for_task
from headstart.inputs.records import INPUT_COLUMNS, TARGET_COLUMNS, Layout
from headstart.inputs.tables import TABLE_SUFFIXES, Table
from headstart.inputs.task import Task, TaskName, parse_task
from headstart.inputs.zip_spool import Spool
from headstart.v1 import input_pb2

URI_BEGINNINGS = ("s3://", "gs://", "https://", "file://")
"""Prefixes of URIs of lists that the server reads."""


class ExampleWarning(UserWarning):
    """A warning about skipped files in a folder of examples."""


Examples: TypeAlias = (
    str
    | os.PathLike[str]
    | Table
    | Arrays
    | Mapping[str, Iterable[Content]]
    | Iterable[Example | tuple[Content, ExampleTarget] | Mapping[str, Any]]
)
"""Examples to train on.

- A path: a folder with one sub-folder for each class, including files in nested folders, but no hidden files;
  or a ``.csv``, ``.tsv`` or ``.jsonl`` file as `Table` describes it; or an ``.npz`` file with the arrays
  ``features`` [n, size], ``labels`` or ``values`` [n], and optionally ``ids`` [n].
- A `Table`: such a file, with the meanings of its columns.
- A `str` that begins with ``s3://``, ``gs://``, ``https://`` or ``file://``, for fine-tunes only: the URI of
  a ``.csv``, ``.tsv`` or ``.jsonl`` file that the server reads, if it allows the URI.
- A DataFrame of pandas or polars, or a dataset of Hugging Face, with columns as in `Table`; ``image`` may
  hold images, bytes or paths.
- A dataset of PyTorch of pairs of an input and a target.
- A mapping from labels to contents.
- Any iterable of `Example`, of ``(content, target)``, or of dicts with keys as in `Table`; an iterator is
  enough. A target is a label (a text, an integer or a bool), a list or set of labels, a float for regression,
  or a mapping from classes to their probabilities.
- Inputs, with their targets in a separate argument: scikit-learn's `X`, with its `y`.

Integers and bools are names of classes, floats are numbers to predict, unless `task` overrides that. Many
different integers raise an error unless the task is given.
"""


class ExampleSettings(TypedDict, total=False):
    """Arguments that describe the examples.

    Attributes:
        texts: texts as inputs, instead of `examples`; with `y`.
        images: images as inputs (paths, bytes, arrays, Pillow images), instead of `examples`.
        features: rows of numbers as inputs, such as an array [n, size], instead of `examples`.
        label_column: name of the column ``label``, in a file, a DataFrame or dicts.
        text_column: name of the column ``text``.
        image_column: name of the column ``path`` (in a file) or ``image``.
        value_column: name of the column ``value``, which contains numbers to predict.
        id_column: name of the column ``id``.
        feature_columns: names of the feature columns, in order. None: all columns of numbers, if there are
            neither texts nor images.
    """

    texts: Iterable[str] | None
    images: Iterable[Content] | None
    features: Any
    label_column: str | None
    text_column: str | None
    image_column: str | None
    value_column: str | None
    id_column: str | None
    feature_columns: Sequence[str] | None


_COLUMNS: Final = ("label", "text", "value", "id")
_INPUTS: Final = ("texts", "images", "features")
_ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleSource:
    """Examples as messages, which can be iterated several times; files are read lazily."""

    messages: Iterable[input_pb2.Example]  # the messages; each iteration returns the same ones
    total: int | None  # number of messages; None if unknown
    uri: str = ""  # URI that the server reads; empty if examples are sent

    def __iter__(self) -> Iterator[input_pb2.Example]:
        return iter(self.messages)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The messages of examples, whose errors name the example's location; `located` returns both."""

    located: Callable[[], Iterable[tuple[str, Any]]]
    task: Task | None
    has_path_ids: bool = True

    def __iter__(self) -> Iterator[input_pb2.Example]:
        integers = IntegerLabels(self.task)
        paths: set[str] = set()
        for place, item in self.located():
            try:
                example = for_task(as_example(item), self.task)
                message = example_message(example)
            except TypeError as error:
                raise TypeError(f"{place}: {error}") from error
            except OSError as error:
                raise type(error)(error.errno, f"{place}: {error.strerror}", error.filename) from None
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error
            integers.note(example.label)
            if self.has_path_ids and not message.example_id:
                path = default_id(example.content)
                message.example_id = "" if path in paths else path
                paths.add(path)
            yield message
        integers.check()


def open_examples(
    examples: Examples | None,
    y: Any = None,
    *,
    task: Task | TaskName | None = None,
    settings: ExampleSettings | None = None,
) -> ExampleSource:
    """Return the source of examples, or of the inputs in the settings with the targets `y`."""
    options = settings or {}
    if unknown := options.keys() - ExampleSettings.__annotations__.keys():
        known_names = ", ".join(ExampleSettings.__annotations__)
        raise TypeError(f"Examples are described by {known_names}. Received: {', '.join(sorted(unknown))}")
    parsed_task = None if task is None or task is Task.UNSPECIFIED else parse_task(task)
    inputs = _inputs(options)
    if inputs is not None and examples is not None:
        raise TypeError("Give either examples or one of texts, images and features, not both")
    if inputs is not None and y is None:
        raise TypeError("texts, images and features need their targets: y=[...], one for each")
    if y is not None:
        return _open_pairs(examples if inputs is None else inputs, y, parsed_task)
    if isinstance(examples, str | os.PathLike | Table):
        return _open_stored(examples, options, parsed_task)
    names, features = _names(options, is_file=False)
    return _open_values(examples, Layout(names=names, features=features, task=parsed_task))


def _open_values(examples: Any, layout: Layout) -> ExampleSource:
    if is_splits(examples):
        raise ValueError(
            f"These are the splits of a dataset: {', '.join(map(str, examples))}. Give one of "
            "them, such as dataset['train']"
        )
    if is_frame(examples):
        records = Records(rows=RowSource(examples), layout=layout)
        return ExampleSource(messages=_Encoded(lambda: records, layout.task), total=_length(examples))
    if isinstance(examples, Mapping):
        return _open_mapping(examples, layout)
    return _open_iterable(examples, layout)


def _inputs(settings: ExampleSettings) -> Any:
    named = [name for name in _INPUTS if settings.get(name) is not None]
    if len(named) > 1:
        raise TypeError(f"Give only one of texts, images and features. Received: {' and '.join(named)}")
    if not named:
        return None
    (name,) = named
    if name == "texts":
        texts = cast(Iterable[str], settings["texts"])
        if isinstance(texts, str):
            raise TypeError(f"texts must be several texts, such as a list. Received: the text {texts[:60]!r}")
        return texts_of(texts)
    return settings[name]  # type: ignore[literal-required]


def _names(settings: ExampleSettings, *, is_file: bool) -> tuple[dict[str, str], tuple[str, ...] | None]:
    names = {name: settings.get(f"{name}_column") for name in _COLUMNS}
    names["path" if is_file else "image"] = settings.get("image_column")
    features = settings.get("feature_columns")
    if isinstance(features, str):
        features = [features]
    return (
        {name: cast(str, column) for name, column in names.items() if column is not None},
        None if features is None else tuple(features),
    )


def _open_pairs(inputs: Any, targets: Any, task: Task | None) -> ExampleSource:
    if isinstance(inputs, str | os.PathLike | Table | Arrays):
        raise TypeError(
            f"y gives the targets of inputs in memory. Received: {inputs!r}, which names its own labels"
        )
    count = _length(targets)
    if count is not None and not isinstance(targets, Iterator):
        integers = IntegerLabels(task)
        for target in rows_of(targets):
            integers.note(target)
        integers.check()  # before the upload
    total = _length(inputs) if count is None else count
    pairs(inputs, targets)  # checks that the lengths agree
    encoded = _Encoded(lambda: _numbered(pairs(inputs, targets)), task)
    if isinstance(inputs, Iterator) or isinstance(targets, Iterator):
        return ExampleSource(messages=Spool(iter(encoded)), total=total)
    return ExampleSource(messages=encoded, total=total)


def _open_stored(
    source: str | os.PathLike[str] | Table, settings: ExampleSettings, task: Task | None
) -> ExampleSource:
    names, features = _names(settings, is_file=True)
    if isinstance(source, str) and source.startswith(URI_BEGINNINGS):
        _check_unnamed(settings, source)
        return ExampleSource(messages=(), total=None, uri=source)
    if isinstance(source, str) and "://" in source and not Path(source).exists():
        raise ValueError(
            f"A URI that the server reads begins with {', '.join(URI_BEGINNINGS)}. Received: {source}"
        )
    stored = source if isinstance(source, Table) else _open_path(Path(source), names, features)
    for warning in stored.warnings if isinstance(stored, Folder) else ():
        warnings.warn(warning, ExampleWarning, stacklevel=5)
    if not isinstance(stored, Table):
        _check_unnamed(settings, source)
        return ExampleSource(messages=_Encoded(lambda: _numbered(stored), task), total=len(stored))
    table = stored.for_task(task)
    return ExampleSource(messages=_Encoded(table.rows, task, has_path_ids=False), total=len(table))


def _check_unnamed(settings: ExampleSettings, source: object) -> None:
    named = [name for name, column in settings.items() if column is not None]
    if named:
        raise ValueError(
            f"{named[0]} (--{named[0].replace('_', '-')}) names a column of a file of this machine that ends "
            f"in {', '.join(TABLE_SUFFIXES)}. Received: {source}"
        )


def _open_path(
    path: Path, names: dict[str, str], features: tuple[str, ...] | None
) -> Folder | Table | Arrays:
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise FileNotFoundError(f"No such folder or file: {path}")
    if path.suffix.lower() in TABLE_SUFFIXES:
        return Table(path, names, features=features)
    if path.suffix.lower() == ARRAYS_SUFFIX:
        return Arrays(path)
    raise ValueError(
        "Examples must be in a folder with one sub-folder for each class, or listed in a file that ends in "
        f"{', '.join(TABLE_SUFFIXES)} or {ARRAYS_SUFFIX}. Received: {path}"
        f"{'. Unpack the archive first' if path.suffix.lower() in _ARCHIVES else ''}"
    )


def _open_mapping(contents: Mapping[Any, Any], layout: Layout) -> ExampleSource:
    if contents.keys() & set(INPUT_COLUMNS) and contents.keys() & set(TARGET_COLUMNS):
        raise ValueError(
            f"A mapping must map labels to inputs. Its keys look like columns: {', '.join(contents)}. Give a "
            "list of dicts, or pandas.DataFrame(columns)"
        )

    for label, inputs in contents.items():
        if isinstance(inputs, str | os.PathLike | bytes):
            received = repr(inputs)[:60]
            raise TypeError(
                f"examples[{label!r}] must be several inputs, such as a list. Received: {received}"
            )

    check_classes(
        [label for label in contents if isinstance(label, str)],
        "The keys of the mapping",
        "give pairs of an input and its label",
    )

    def located() -> Iterator[tuple[str, Any]]:
        for label, inputs in contents.items():
            for place, content in enumerate(inputs):
                yield f"examples[{label!r}][{place}]", (content, label)

    encoded = _Encoded(located, layout.task)
    lengths = [_length(each) for each in contents.values()]
    if any(isinstance(each, Iterator) for each in contents.values()):
        return ExampleSource(messages=Spool(iter(encoded)), total=None)
    known_lengths = [length for length in lengths if length is not None]
    return ExampleSource(
        messages=encoded, total=sum(known_lengths) if len(known_lengths) == len(lengths) else None
    )


def _open_iterable(examples: Any, layout: Layout) -> ExampleSource:
    if isinstance(examples, bytes | bytearray | memoryview) or not (
        isinstance(examples, Iterable) or is_indexed(examples)
    ):
        raise TypeError(
            "examples must be a path, a DataFrame, a mapping from labels to inputs, or an iterable of "
            "Example or (content, target); scikit-learn's X needs its y, as in fine_tune(X, y, model=...). "
            f"Received: {type(examples).__qualname__}"
        )
    if not isinstance(examples, Iterable):
        items: Iterable[Any] = Indexed(examples)
    elif is_array(examples) or is_sparse(examples):
        raise TypeError(
            f"An array needs its targets, as in fine_tune(X, y, model=...). Received: X of shape "
            f"{list(examples.shape)} alone"  # type: ignore[attr-defined]
        )
    else:
        items = examples
    if isinstance(items, tuple) and len(items) == 2 and is_array(items[0]):
        raise TypeError("Give X and y as two arguments, as in fine_tune(X, y, model=...). Received: one pair")
    encoded = _Encoded(lambda: _items(items, layout), layout.task)
    if isinstance(items, Iterator):
        return ExampleSource(messages=Spool(iter(encoded)), total=None)
    return ExampleSource(messages=encoded, total=_length(items))


def _items(items: Iterable[Any], layout: Layout) -> Iterator[tuple[str, Any]]:
    located = _numbered(items)
    first = next(located, None)
    if first is None:
        return
    remaining = chain([first], located)
    if isinstance(first[1], Mapping):
        yield from Records(rows=remaining, layout=layout)
        return
    if layout.names or layout.features is not None:
        raise TypeError("Column names apply only to a DataFrame, a table or dicts. Omit them")
    yield from remaining


def _numbered(items: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"examples[{place}]", item) for place, item in enumerate(items))


def _length(iterable: object) -> int | None:
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None
