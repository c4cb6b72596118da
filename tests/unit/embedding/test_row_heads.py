"""Heads in the batches of their rows: one call for each head, and only for the rows that want it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import make_head
from headstart_server.embedding.row_heads import head_outputs
from headstart_server.learning.heads.head import MAX_SINGLE_ROWS, row_products


class Head:
    views: Sequence[str] = ("last",)

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.calls: list[int] = []

    def outputs(self, views: Mapping[str, NDArray[np.float32]], /) -> NDArray[np.float32]:
        self.calls.append(len(views["last"]))
        return views["last"] * np.float32(self.factor)


def test_each_head_is_called_once_for_its_rows() -> None:
    one, two = Head(2.0), Head(3.0)
    views = {"last": np.arange(8, dtype=np.float32).reshape(4, 2)}
    found = head_outputs(views, [[one], [one, two], [], [two]])
    assert (one.calls, two.calls) == ([2], [2])
    assert [set(each) for each in found] == [{one}, {one, two}, set(), {two}]
    np.testing.assert_array_equal(found[1][one], [4, 6])
    np.testing.assert_array_equal(found[1][two], [6, 9])
    np.testing.assert_array_equal(found[3][two], [18, 21])


@pytest.mark.parametrize("count", [2, 7, MAX_SINGLE_ROWS])
def test_the_prediction_of_a_row_does_not_depend_on_its_batch(count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 1280)).astype(np.float32)
    head = make_head(classes=10, size=1280)
    together = head.outputs({"last": rows})
    for place in range(count):
        alone = head.outputs({"last": rows[place : place + 1]})
        np.testing.assert_array_equal(together[place], alone[0])


def test_many_rows_are_one_product() -> None:
    rows = np.ones((MAX_SINGLE_ROWS + 1, 3), np.float32)
    np.testing.assert_array_equal(
        row_products(rows, np.eye(3, dtype=np.float32)), np.ones((MAX_SINGLE_ROWS + 1, 3), np.float32)
    )
