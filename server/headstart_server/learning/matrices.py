"""Where the large products and solves of ridge are done: numpy, or a device behind the same few methods."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from headstart_server.learning.rows import Float64


class DeviceError(Exception):
    """The device could not do it, for lack of memory as a rule: numpy can."""


class Matrices(Protocol):
    """Does linear algebra in double precision on arrays of its own kind, which take +, - and *."""

    @property
    def is_device(self) -> bool:
        """Whether arrays live elsewhere than in the host's memory."""

    def session(self) -> Any:
        """A context in which alone the other methods, and operators on arrays, are used.

        Raises:
            DeviceError: the device could not do what was asked for within it.
        """

    def to_device(self, matrix: Float64) -> Any:
        """The array of a matrix."""

    def to_host(self, array: Any) -> Float64:
        """The matrix of an array."""

    def product(self, left: Any, right: Any, *, transposed: bool = False) -> Any:
        """The product of two arrays, [m, k] and [k, n]; `transposed` takes the first as [k, m]."""

    def solve(self, gram: Any, right: Any, regularization: float) -> Any:
        """The solution [D, C] of (gram + regularization I) X = right, `gram` positive semidefinite."""

    def eigen(self, gram: Any) -> tuple[Float64, Float64]:
        """Eigenvalues [N], ascending, and eigenvectors [N, N] of a symmetric array, as matrices."""


class NumpyMatrices:
    """The host's own linear algebra."""

    is_device = False

    @contextmanager
    def session(self) -> Iterator[None]:
        """Nothing to set up."""
        yield

    def to_device(self, matrix: Float64) -> Float64:
        """The matrix itself."""
        return matrix

    def to_host(self, array: Float64) -> Float64:
        """The matrix itself."""
        return array

    def product(self, left: Float64, right: Float64, *, transposed: bool = False) -> Float64:
        """The product."""
        result: Float64 = (left.T if transposed else left) @ right
        return result

    def solve(self, gram: Float64, right: Float64, regularization: float) -> Float64:
        """The solution."""
        system = gram.copy()
        system[np.diag_indices_from(system)] += least_regularization(regularization, float(np.trace(gram)))
        return np.linalg.solve(system, right).astype(np.float64, copy=False)

    def eigen(self, gram: Float64) -> tuple[Float64, Float64]:
        """Eigenvalues and eigenvectors."""
        values, vectors = np.linalg.eigh(gram)
        return values, vectors


def least_regularization(regularization: float, trace: float) -> float:
    """What is added to the diagonal: below the rounding of the sums there is nothing to solve for."""
    return max(regularization, float(np.finfo(np.float64).eps) * max(trace, float(np.finfo(np.float64).tiny)))
