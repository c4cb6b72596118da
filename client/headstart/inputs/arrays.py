"""Precomputed features with their targets, in a file of numpy arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from headstart.inputs.inputs import Example
from headstart.inputs.npy import read_npz

ARRAYS_SUFFIX = ".npz"
"""Suffix of such files."""

_FEATURES, _LABELS, _VALUES, _IDS = "features", "labels", "values", "ids"


class Arrays:
    """The rows of an ``.npz`` file, in their order.

    Its arrays are ``features``, numbers of shape [n, size]; one of ``labels``, texts, integers or bools of
    shape [n], and ``values``, numbers of shape [n]; and optionally ``ids``, texts of shape [n]. Other arrays
    are ignored. Pickled objects are not loaded.
    """

    def __init__(self, path: Path) -> None:
        arrays = read_npz(path, (_FEATURES, _LABELS, _VALUES, _IDS))
        self._features = _matrix(path, arrays)
        targets = [name for name in (_LABELS, _VALUES) if name in arrays]
        if len(targets) != 1:
            raise ValueError(
                f"{path}: one of the arrays {_LABELS} and {_VALUES} is expected. Received: "
                f"{', '.join(arrays) or 'no arrays'}"
            )
        self._target = targets[0]
        self._targets = _column(path, arrays, self._target, len(self._features))
        self._ids = _column(path, arrays, _IDS, len(self._features)) if _IDS in arrays else None
        if self._target == _LABELS and self._targets.dtype.kind not in "Uiub":
            raise ValueError(
                f"{path}: texts, integers or bools are expected in {_LABELS}. "
                f"Received: {self._targets.dtype}. "
                f"Call the array {_VALUES} if its numbers are to be predicted"
            )
        if self._target == _VALUES and self._targets.dtype.kind not in "fiu":
            raise ValueError(f"{path}: numbers are expected in {_VALUES}. Received: {self._targets.dtype}")

    def __len__(self) -> int:
        return len(self._features)

    def __iter__(self) -> Iterator[Example]:
        for index, row in enumerate(self._features):
            target = self._targets[index]
            arguments: dict[str, Any] = (
                {"label": target.item()} if self._target == _LABELS else {"value": float(target)}
            )
            yield Example(row, id="" if self._ids is None else str(self._ids[index]), **arguments)


def feature_rows(path: Path) -> NDArray[Any]:
    """Return the array ``features`` of an ``.npz`` file, [n, size]."""
    return _matrix(path, read_npz(path, (_FEATURES,)))


def _matrix(path: Path, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    features = arrays.get(_FEATURES)
    if features is None or features.ndim != 2:
        received = "none" if features is None else f"shape {list(features.shape)}"
        raise ValueError(f"{path}: an array {_FEATURES} of shape [n, size] is expected. Received: {received}")
    return features


def _column(path: Path, arrays: dict[str, NDArray[Any]], name: str, count: int) -> NDArray[Any]:
    column = arrays[name]
    if column.shape != (count,):
        raise ValueError(
            f"{path}: {name} of shape [{count}] is expected, one for each row of {_FEATURES}. Received: "
            f"shape {list(column.shape)}"
        )
    return column
