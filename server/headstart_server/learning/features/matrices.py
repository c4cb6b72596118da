"""Linear algebra of ridge, in numpy or on a device."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from headstart_server.learning.features.feature_matrix import Float64


class DeviceError(Exception):
    """A device failed, usually for lack of memory; numpy can compute the result."""


class Matrices(Protocol):
    """Linear algebra in double precision on arrays of one kind, which support +, - and *."""

    @property
    def is_device(self) -> bool:
        """Whether arrays are stored outside the host's memory."""

    def session(self) -> Any:
        """Return the context in which the other methods, and operators on arrays, may be used.

        Raise DeviceError if the device failed within the context.
        """

    def to_device(self, matrix: Float64) -> Any:
        """Return the array of a matrix."""

    def to_host(self, array: Any) -> Float64:
        """Return the matrix of an array."""

    def product(self, left: Any, right: Any, *, transposed: bool = False) -> Any:
        """Return the product of two arrays, [m, k] and [k, n]; `transposed` expects the first as [k, m]."""

    def solve(self, gram: Any, right: Any, regularization: float) -> Any:
        """Return the solution [D, C] of (gram + regularization I) X = right, `gram` positive semidefinite."""

    def eigen(self, gram: Any) -> tuple[Float64, Float64]:
        """Return eigenvalues [N], ascending, and eigenvectors [N, N] of a symmetric array, as matrices."""


class NumpyMatrices:
    """Linear algebra of the host."""

    is_device = False

    @contextmanager
    def session(self) -> Iterator[None]:
        yield

    def to_device(self, matrix: Float64) -> Float64:
        return matrix

    def to_host(self, array: Float64) -> Float64:
        return array

    def product(self, left: Float64, right: Float64, *, transposed: bool = False) -> Float64:
        result: Float64 = (left.T if transposed else left) @ right
        return result

    def solve(self, gram: Float64, right: Float64, regularization: float) -> Float64:
        system = gram.copy()
        system[np.diag_indices_from(system)] += least_regularization(regularization, float(np.trace(gram)))
        return np.linalg.solve(system, right).astype(np.float64, copy=False)

    def eigen(self, gram: Float64) -> tuple[Float64, Float64]:
        values, vectors = np.linalg.eigh(gram)
        return values, vectors


def least_regularization(regularization: float, trace: float) -> float:
    """Return the regularization, or the rounding error of the sums if that is larger."""
    return max(regularization, float(np.finfo(np.float64).eps) * max(trace, float(np.finfo(np.float64).tiny)))
