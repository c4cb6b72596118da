"""The ranking of captured inputs: uncertain and representative ones first, similar ones apart."""

from typing import Any

import numpy as np
import pytest

from headstart_server.capture.ranking import Candidates, ReviewReason, rank
from headstart_server.learning.features.feature_matrix import normalized


def candidates(rows: np.ndarray[Any, Any], **changes: Any) -> Candidates:
    rows = rows.astype(np.float32)
    count = len(rows)
    fields = {
        "rows": rows,
        "labeled": rows[:0],
        "directions": normalized(rows),
        "near": 0.975,
        "margins": np.full(count, 0.5),
        "typicality": np.ones(count),
        "disagrees": np.zeros(count, np.bool_),
        "rare": np.zeros(count, np.bool_),
    }
    return Candidates(**(fields | changes))


def random_rows(count: int, size: int = 16, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(count, size))


def test_uncertain_inputs_come_before_certain_ones() -> None:
    margins = np.linspace(0.05, 0.95, 40)
    ranked = rank(candidates(random_rows(40), margins=margins), 40)
    first = np.mean([margins[each.index] for each in ranked[:10]])
    last = np.mean([margins[each.index] for each in ranked[-10:]])
    assert first < last - 0.3


def test_values_descend_from_one_and_each_input_is_listed_once() -> None:
    ranked = rank(candidates(random_rows(300), margins=np.random.default_rng(1).random(300)), 1000)
    values = [each.value for each in ranked]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert all(value >= 0 for value in values)
    assert sorted(each.index for each in ranked) == list(range(300))


def test_near_duplicates_are_listed_last_and_counted() -> None:
    rows = random_rows(30)
    copies = rows[0] + 1e-3 * random_rows(9, seed=2)
    margins = np.concatenate([[0.0], np.full(29, 0.6), np.full(9, 0.0)])
    ranked = rank(candidates(np.concatenate([rows, copies]), margins=margins), 100)
    same = {0, *range(30, 39)}
    places = [place for place, each in enumerate(ranked) if each.index in same]
    assert places[0] < 5
    assert places[1:] == list(range(30, 39))
    assert ranked[places[0]].near_duplicates == 9


def test_an_input_like_a_training_example_is_worth_less() -> None:
    rows = random_rows(20)
    without = {each.index: place for place, each in enumerate(rank(candidates(rows), 20))}
    labeled = np.repeat(rows[:1], 20, axis=0).astype(np.float32)
    given = {each.index: place for place, each in enumerate(rank(candidates(rows, labeled=labeled), 20))}
    assert given[0] > without[0] or given[0] == 19


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"margins": np.array([0.0] + [1.0] * 9)}, ReviewReason.UNCERTAIN),
        ({"margins": np.ones(10), "typicality": np.array([0.0] + [1.0] * 9)}, ReviewReason.NOVEL),
        ({"margins": np.ones(10), "disagrees": np.arange(10) == 0}, ReviewReason.DISAGREEMENT),
        ({"margins": np.ones(10), "rare": np.arange(10) == 0}, ReviewReason.RARE_CLASS),
    ],
)
def test_each_reason_puts_an_input_first_and_is_named(changes: Any, reason: ReviewReason) -> None:
    ranked = rank(candidates(random_rows(10), **changes), 10)
    assert (ranked[0].index, ranked[0].reason) == (0, reason)
    assert {each.reason for each in ranked[1:]} == {ReviewReason.REPRESENTATIVE}


def test_unknown_margins_and_typicality_are_no_reason_to_fail() -> None:
    unknown = np.full(10, np.nan)
    ranked = rank(candidates(random_rows(10), margins=unknown, typicality=unknown), 10)
    assert len(ranked) == 10
    assert all(np.isfinite(each.value) for each in ranked)


@pytest.mark.parametrize("rows", [np.zeros((5, 4)), np.ones((5, 4)), np.full((1, 4), 1e6)])
def test_equal_empty_and_extreme_features_are_ranked(rows: np.ndarray[Any, Any]) -> None:
    ranked = rank(candidates(rows), 10)
    assert sorted(each.index for each in ranked) == list(range(len(rows)))
    assert all(0 <= each.value <= 1 for each in ranked)


def test_no_inputs_have_an_empty_ranking() -> None:
    assert rank(candidates(np.zeros((0, 4))), 10) == []
