"""Linear algebra by Keras equals numpy's, on each backend that is installed, in processes of their own."""

import importlib.util
import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from headstart_server.backbones.runtimes.keras_matrices import KerasMatrices
from headstart_server.learning.heads import ridge
from headstart_server.learning.features.matrices import DeviceError
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling
from headstart_server.learning.heads.split import folds_for
from headstart_server.learning.examples.target import Targets

ridge.LARGE = 0
rng = np.random.default_rng(0)
matrices = KerasMatrices(DeviceError)
for n, d in ((300, 40), (60, 90)):
    labels = np.arange(n) % 5
    features = (rng.normal(size=(n, d)) + np.eye(5, d)[labels]).astype(np.float32)
    targets = Targets.of_labels(labels, "abcde")
    folds = folds_for(targets, [f"{place:04d}" for place in range(n)], folds=3, seed=0)
    rows = FeatureMatrix({"last": features}, ("last",), Scaling.STANDARD)
    one, other = (ridge.fit_ridge(rows, targets, folds, matrices=each) for each in (matrices, ridge.NUMPY))
    assert one.regularization == other.regularization
    for name in ("weights", "bias", "scores"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-7)
    # Double precision all through: single leaves differences of 1e-4 and more. A small regularisation, which
    # may be chosen above, blows up rounding as well.
    one, other = (
        ridge.fit_ridge(rows, targets, folds, regularization=1e-2, matrices=each)
        for each in (matrices, ridge.NUMPY)
    )
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-8, atol=1e-10)
with matrices.session():
    try:
        matrices.product(matrices.to_device(np.ones((2, 3))), matrices.to_device(np.ones((2, 3))))
    except DeviceError:
        print("equal")
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.thorough)])
def test_ridge_by_keras_equals_ridge_by_numpy(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]
