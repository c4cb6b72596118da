"""Made examples for what looks at datasets."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.examples.task import Task
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Auto

CLASSES = 4


def features(labels: Ints, *, seed: int = 0, spread: float = 0.5, size: int = 40) -> dict[str, Float32]:
    """Features around a center for each class."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(77).normal(size=(CLASSES, size))
    rows = centers[labels] + spread * rng.normal(size=(len(labels), size))
    return {"last": rows.astype(np.float32), "taps": (rows[:, :9] * 2).astype(np.float32)}


def labels_of(count: int) -> Ints:
    return np.arange(count) % CLASSES


def of_labels(labels: Ints) -> Targets:
    return Targets.of_labels(labels, [f"class {place}" for place in range(CLASSES)])


def of_several(matrix: np.ndarray) -> Targets:
    return Targets(
        task=Task.MULTI_LABEL,
        matrix=matrix.astype(float),
        weights=np.ones(len(matrix)),
        class_names=tuple(f"class {place}" for place in range(matrix.shape[1])),
    )


def of_numbers(values: np.ndarray) -> Targets:
    return Targets(task=Task.REGRESSION, matrix=values[:, None], weights=np.ones(len(values)), class_names=())


def analyzed(
    views: dict[str, Float32], targets: Targets, held_out: Sequence[int] = (), **fields: Any
) -> AnalyzedDataset:
    """Examples as findings look at them, with a head fitted on those that are not held out."""
    count = len(targets)
    digests = [sha256(row.tobytes()).hexdigest() for row in views["last"]]
    out = np.isin(np.arange(count), held_out)
    fitted = fit(
        Auto(),
        {name: rows[~out] for name, rows in views.items()},
        targets.subset(~out),
        [digest for digest, kept in zip(digests, ~out, strict=True) if kept],
        seed=0,
    )
    return AnalyzedDataset(
        **{
            "views": views,
            "targets": targets,
            "digests": digests,
            "ids": [f"id {place}" for place in range(count)],
            "indexes": np.arange(count),
            "held_out": out,
            "fitted": fitted,
            **fields,
        }
    )
