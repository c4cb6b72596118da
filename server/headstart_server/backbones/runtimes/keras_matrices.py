"""Linear algebra on the device that Keras runs on."""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.runtimes.keras_import import load_keras

Matrix = NDArray[np.float64]


class KerasMatrices:
    """Linear algebra in double precision by `keras.ops`, on the active backend.

    In single precision, the rounding errors of sums over thousands of rows exceed small regularizations. JAX
    needs double precision enabled, so arrays are valid within `session` only.

    Args:
        failure: error to raise when the device fails.
    """

    is_device = True

    def __init__(self, failure: type[Exception]) -> None:
        self._failure = failure
        self._keras: Any = None

    @contextmanager
    def session(self) -> Iterator[None]:
        """Enable double precision; an error of the backend is raised as the failure."""
        # Not imported earlier, because the first use of Keras takes seconds.
        self._keras = load_keras()
        with _double_precision(self._keras.backend.backend()):
            yield

    def to_device(self, matrix: Matrix) -> Any:
        """Return the device array of a matrix."""
        with self._failing():
            return self._keras.ops.convert_to_tensor(matrix, dtype="float64")

    def to_host(self, array: Any) -> Matrix:
        """Return the matrix of a device array."""
        with self._failing():
            return np.array(self._keras.ops.convert_to_numpy(array), np.float64)

    def product(self, left: Any, right: Any, *, transposed: bool = False) -> Any:
        """Multiply two arrays, [m, k] and [k, n]; `transposed` takes the first as [k, m]."""
        # Not `ops.matmul`, because on PyTorch it computes in single precision.
        with self._failing():
            return (self._keras.ops.transpose(left) if transposed else left) @ right

    def solve(self, gram: Any, right: Any, regularization: float) -> Any:
        """Solve (gram + regularization I) X = right for X [D, C], with `gram` positive semidefinite."""
        ops = self._keras.ops
        with self._failing():
            # A regularization below the rounding errors of the sums would have no effect.
            trace = max(float(ops.convert_to_numpy(ops.trace(gram))), float(np.finfo(np.float64).tiny))
            added = max(regularization, float(np.finfo(np.float64).eps) * trace)
            system = gram + added * ops.eye(gram.shape[0], dtype="float64")
            return ops.solve(system, right)

    def eigen(self, gram: Any) -> tuple[Matrix, Matrix]:
        """Return eigenvalues [N], ascending, and eigenvectors [N, N] of a symmetric array, as matrices."""
        with self._failing():
            values, vectors = self._keras.ops.eigh(gram)
        return self.to_host(values), self.to_host(vectors)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except self._failure:
            raise
        except Exception as error:
            raise self._failure(f"The computation on the device failed: {error}") from error


def _double_precision(backend: str) -> AbstractContextManager[Any]:
    if backend != "jax":
        return nullcontext()
    jax: Any = importlib.import_module("jax")
    # JAX had it in `jax.experimental` before it became stable.
    home = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    context: AbstractContextManager[Any] = home.enable_x64(True)
    return context
