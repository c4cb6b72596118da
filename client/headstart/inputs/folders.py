"""Examples in a folder: one sub-folder for each class, named like it."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from headstart.inputs.contents import path_id
from headstart.inputs.inputs import Example

_MAX_NAMED = 5
_TRAINING = frozenset({"train", "training", "trainset", "train_set", "train-set"})
_MEASURING = frozenset(
    {
        "test",
        "testing",
        "val",
        "valid",
        "validation",
        "dev",
        "eval",
        "evaluation",
        "holdout",
        "hold_out",
        "held_out",
    }
)
#: How to name classes that look like parts, for `check_classes`.
IN_TABLE = "list the examples in a CSV file with the columns path and label"
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})  # left by Windows and by ZIP files of macOS
_KINDS = {".txt": "text", ".npy": "array"}
_OTHER = "other file"
_OTHERS = frozenset(
    {
        *(
            ".csv",
            ".tsv",
            ".json",
            ".jsonl",
            ".xml",
            ".yaml",
            ".yml",
            ".toml",
            ".ini",
            ".log",
            ".db",
            ".xlsx",
        ),
        *(".md", ".rst", ".html", ".pdf", ".doc", ".docx", ".py", ".ipynb", ".zip", ".tar", ".gz"),
        *(".avi", ".mov", ".mp3", ".mp4", ".wav"),
    }
)


class Folder:
    """The examples of a folder with one sub-folder for each class, sorted by class and name.

    Names that begin with a dot, Thumbs.db and desktop.ini are skipped. Nested folders belong to the class. An
    example's ID is its relative path. Files of a minority kind, such as a text among images, and files
    outside the class folders are skipped; `warnings` names them.
    """

    def __init__(self, path: Path) -> None:
        classes = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and _visible(entry.name))
        if not classes:
            raise ValueError(
                f"{path} has no sub-folders. Put the files of each class into one sub-folder: {path}/CLASS/"
            )
        check_classes(classes, f"The sub-folders of {path}", IN_TABLE)
        self._path = path
        # Names only: a million of them take less memory than one batch of images.
        examples = [(file, label) for label in classes for file in files_of(path / label)]
        self._files, self.warnings = _without_foreign(path, examples)
        if not self._files:
            raise ValueError(
                f"Expected files in the sub-folders of {path}, one for each class. Received: "
                f"no file in {', '.join(classes[:_MAX_NAMED])}{', …' if len(classes) > _MAX_NAMED else ''}"
            )

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Example]:
        for file, label in self._files:
            yield Example(file, label, id=path_id(file.relative_to(self._path)))


def _without_foreign(
    folder: Path, examples: list[tuple[Path, str]]
) -> tuple[list[tuple[Path, str]], list[str]]:
    counts = Counter(kind for file, _ in examples if (kind := _kind(file)) != _OTHER)
    main = max(counts, key=lambda kind: (counts[kind], kind == "image"), default="image")
    main_files = [(file, label) for file, label in examples if _kind(file) == main]
    foreign = [str(file.relative_to(folder)) for file, _ in examples if _kind(file) != main]
    loose = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and _visible(entry.name))
    warnings = []
    if foreign:
        are = f"file that is no {main}" if len(foreign) == 1 else f"files that are no {main}s"
        warnings.append(f"{folder}: skipped {len(foreign)} {are}: {_listed(foreign)}")
    if loose:
        files = "file" if len(loose) == 1 else "files"
        warnings.append(
            f"{folder}: skipped {len(loose)} {files} outside of the class folders: {_listed(loose)}"
        )
    return main_files, warnings


def _kind(file: Path) -> str:
    suffix = file.suffix.lower()
    return _OTHER if suffix in _OTHERS else _KINDS.get(suffix, "image")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")


def check_classes(names: Collection[str], subject: str, remedy: str) -> None:
    """Check that names are classes and not splits of a dataset, such as train and test.

    Args:
        subject: the bearers of the names, for the error, such as "The sub-folders of pets".
        remedy: how to name such classes.

    Raises:
        ValueError: they look like splits.
    """
    if not names:
        return
    lowered = {name.lower() for name in names}
    parts = sorted(name for name in names if name.lower() in _TRAINING | _MEASURING)
    if lowered - _TRAINING - _MEASURING and not (lowered & _TRAINING and lowered & _MEASURING):
        return
    raise ValueError(
        f"{subject} look like the parts of a data set, not like classes: {', '.join(parts)}. Fine-tune on "
        f"the training part alone, and evaluate the version on the other. If these are classes, {remedy}."
    )


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder and its sub-folders, sorted, without hidden ones."""
    paths: list[Path] = []
    for where, folders, files in os.walk(folder, onerror=_stop):
        folders[:] = filter(_visible, folders)
        paths += (Path(where, name) for name in files if _visible(name))
    return sorted(paths)


def _stop(error: OSError) -> None:
    raise error


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _CLUTTER
