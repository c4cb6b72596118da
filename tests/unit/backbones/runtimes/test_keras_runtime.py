"""The batch sizes in which a row has the same features at each place."""

from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Views
from headstart_server.backbones.runtimes.keras_runtime import Executor, steady_sizes

ROW = np.array([[1.0, 2.0]], np.float32)


def executor(*, least: int = 1, most: int = 32, number: float = 0.5) -> Executor:
    """Return an executor whose small batches differ in the last bit, and the last row of large ones."""

    def execute(rows: NDArray[np.generic], unwanted: Collection[str]) -> Views:
        features = np.full((len(rows), 3), number, np.float32)
        if len(rows) < least:
            features[:, 1] = np.nextafter(features[:, 1], 1)
        if len(rows) > most:
            features[-1, 2] = np.nextafter(features[-1, 2], 1)
        return {"last": features}

    return Executor(execute=execute, sizes=range(1, 33))


@pytest.mark.parametrize(
    ("least", "most", "sizes"),
    [
        (1, 32, [1, 2, 3, 4, 5, 8, 16, 32]),
        (4, 32, [4, 5, 8, 16, 32]),
        (1, 16, [1, 2, 3, 4, 5, 8, 16]),
        (5, 31, [5, 8, 16]),
        (1, 1, [1]),
    ],
)
def test_batches_in_which_a_row_differs_are_not_used(least: int, most: int, sizes: list[int]) -> None:
    assert steady_sizes(executor(least=least, most=most), ROW) == sizes


def test_features_that_are_no_numbers_are_equal_everywhere() -> None:
    assert steady_sizes(executor(number=np.nan), ROW)[-1] == 32
