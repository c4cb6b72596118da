"""Eigendecompositions are computed once for the same rows, with the same bits, within a limit."""

import numpy as np
import pytest

from headstart_server.learning.features.eigen_cache import ROWS, EigenCache
from headstart_server.learning.features.feature_matrix import Float64


def rows(count: int, seed: int = 0) -> Float64:
    return np.random.default_rng(seed).standard_normal((count, 8))


class Decomposer:
    """Decomposes, and counts."""

    def __init__(self, matrix: Float64) -> None:
        self.matrix, self.count = matrix, 0

    def __call__(self) -> tuple[Float64, Float64]:
        self.count += 1
        values, vectors = np.linalg.eigh(self.matrix @ self.matrix.T)
        return values, vectors


def test_the_same_rows_are_decomposed_once_and_other_rows_again() -> None:
    cache, matrix = EigenCache(), rows(ROWS[0])
    decompose = Decomposer(matrix)
    first, second = cache.get(matrix, decompose), cache.get(matrix.copy(), decompose)
    assert decompose.count == 1
    assert all((one == two).all() for one, two in zip(first, second, strict=True))
    assert all((one == two).all() for one, two in zip(first, decompose(), strict=True))
    for other in (matrix[::-1], matrix * (1 + 1e-15), rows(ROWS[0], 1), np.asfortranarray(matrix)[:, ::-1]):
        again = Decomposer(other)
        cache.get(other, again)
        assert again.count == 1
    cache.clear()
    cache.get(matrix, decompose)
    assert decompose.count == 3


@pytest.mark.parametrize("count", [ROWS[0] - 1, ROWS[1] + 1])
def test_few_or_very_many_rows_are_not_remembered(count: int) -> None:
    cache, matrix = EigenCache(), rows(count)
    calls = []

    def decompose() -> tuple[Float64, Float64]:
        calls.append(count)
        return np.zeros(1), np.zeros((1, 1))

    for _ in range(2):
        cache.get(matrix, decompose)
    assert len(calls) == 2


def test_beyond_the_limit_the_oldest_goes_and_what_is_found_cannot_be_changed() -> None:
    cache = EigenCache(max_bytes=ROWS[0] * (ROWS[0] + 1) * 8 * 2)
    makers = [Decomposer(rows(ROWS[0], seed)) for seed in range(3)]
    for maker in makers:
        _, vectors = cache.get(maker.matrix, maker)
        with pytest.raises(ValueError, match="read-only"):
            vectors[0] = 0.0
    for maker in makers[:0:-1]:
        cache.get(maker.matrix, maker)
    cache.get(makers[0].matrix, makers[0])
    assert [maker.count for maker in makers] == [2, 1, 1]
