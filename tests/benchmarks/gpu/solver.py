"""The head solver: ridge with its settings by cross-validation, on the device and in numpy."""

import time

import numpy as np

from gpu.report import Row
from gpu.sizes import Options
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_matrices import KerasMatrices
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling
from headstart_server.learning.features.matrices import DeviceError, Matrices
from headstart_server.learning.heads import ridge
from headstart_server.learning.heads.split import folds_for

#: Goal in seconds.
GOAL = 1.0
FOLDS = 5


def solver(options: Options) -> list[Row]:
    """Measure the first solve, which compiles, one of other examples, and numpy; compare their heads."""
    count, size, classes = options.sizes.solver
    # As if the sizes were those of the goal: smaller problems are solved in numpy.
    other = count - 7
    ridge.LARGE = min(ridge.LARGE, other * size * min(other, size))
    load_keras()
    device = KerasMatrices(DeviceError)
    first, _ = _solved(device, count, size, classes)
    # A job of another size must not compile again.
    again, weights = _solved(device, other, size, classes)
    on_cpu, expected = _solved(ridge.NUMPY, other, size, classes)
    error = float(np.max(np.abs(weights - expected)) / np.max(np.abs(expected)))
    problem = f"head solver, {count:,} x {size:,} x {classes}"
    return [
        Row(measure=f"{problem}, first time", value=f"{first:.2f} s", number=first),
        Row(
            measure=f"{problem}, in total",
            value=f"{again:.2f} s",
            goal=f"≤ {GOAL:g} s",
            met=options.met(again <= GOAL),
            number=again,
        ),
        Row(measure=f"{problem}, numpy on the CPU", value=f"{on_cpu:.2f} s", number=on_cpu),
        Row(
            measure="weights of the device against numpy's",
            value=f"largest relative error {error:.1e}",
            goal="≤ 1e-4",
            met=error <= 1e-4,
            number=error,
        ),
    ]


def _solved(matrices: Matrices, count: int, size: int, classes: int) -> tuple[float, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    features = rng.normal(size=(count, size)).astype(np.float32)
    features += np.eye(classes, size, dtype=np.float32)[labels] * 3
    targets = Targets.of_labels(labels, tuple(f"{label:04d}" for label in range(classes)))
    folds = folds_for(targets, [f"{place:06d}" for place in range(count)], folds=FOLDS, seed=0)
    began = time.perf_counter()
    rows = FeatureMatrix({"last": features}, ("last",), Scaling.STANDARD)
    result = ridge.fit_ridge(rows, targets, folds, matrices=_strict(matrices))
    return time.perf_counter() - began, result.weights


def _strict(matrices: Matrices) -> Matrices:
    """Return matrices whose failure is an error here: a server would continue in numpy without a word."""
    if isinstance(matrices, KerasMatrices):
        return KerasMatrices(RuntimeError)
    return matrices
