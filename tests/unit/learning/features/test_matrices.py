"""Ridge on a device gives what numpy gives, and numpy steps in where the device fails."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import FeatureMatrix, Scaling
from headstart_server.learning.features.matrices import DeviceError, NumpyMatrices
from headstart_server.learning.heads import ridge
from headstart_server.learning.heads.ridge import fit_ridge
from headstart_server.learning.heads.solver_result import SolverResult
from headstart_server.learning.heads.split import folds_for


class Device(NumpyMatrices):
    """Numpy, far away: arrays are counted as they come, and work is refused outside of a session."""

    is_device = True

    def __init__(self, *, fails_at: int = -1) -> None:
        self.put_count = 0
        self.shapes: set[tuple[int, ...]] = set()
        self.inside = False
        self._fails_at = fails_at

    @contextmanager
    def session(self) -> Iterator[None]:
        self.inside = True
        yield
        self.inside = False

    def to_device(self, matrix):
        assert self.inside
        self.put_count += 1
        self.shapes.add(matrix.shape)
        if self.put_count == self._fails_at:
            raise DeviceError("no memory is left")
        return matrix.astype(np.longdouble)

    def to_host(self, array):
        return array.astype(np.float64)

    def solve(self, gram, right, regularization):
        return super().solve(self.to_host(gram), self.to_host(right), regularization).astype(np.longdouble)

    def eigen(self, gram):
        return super().eigen(self.to_host(gram))


def solved(device: NumpyMatrices, n: int, d: int) -> SolverResult:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4
    features = rng.normal(size=(n, d)) + np.eye(4, d)[labels]
    targets = Targets.of_labels(labels, "abcd")
    folds = folds_for(targets, [f"{place:04d}" for place in range(n)], folds=3, seed=0)
    rows = FeatureMatrix({"last": features}, ("last",), Scaling.STANDARD)
    return fit_ridge(rows, targets, folds, matrices=device)


@pytest.mark.parametrize(("n", "d"), [(60, 12), (40, 80)], ids=["primal", "dual"])
@pytest.mark.parametrize("fails_at", [-1, 1, 2, 5])
def test_a_device_gives_what_numpy_gives_whether_it_holds_or_fails(
    monkeypatch: pytest.MonkeyPatch, n: int, d: int, fails_at: int
) -> None:
    monkeypatch.setattr(ridge, "LARGE", 0)
    device = Device(fails_at=fails_at)
    one, other = solved(device, n, d), solved(NumpyMatrices(), n, d)
    assert device.put_count > 0
    assert one.regularization == other.regularization
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.bias, other.bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5, atol=1e-6)


def test_a_device_gets_the_same_shapes_from_jobs_of_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "LARGE", 0)
    devices = [Device(), Device(), Device()]
    for device, count in zip(devices, (2000, 1987, 1601), strict=True):
        solved(device, count, 12)
    assert devices[0].shapes == devices[1].shapes == devices[2].shapes


def test_small_problems_stay_where_they_are() -> None:
    device = Device()
    solved(device, 60, 12)
    assert device.put_count == 0
