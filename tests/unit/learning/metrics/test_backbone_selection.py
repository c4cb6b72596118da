"""The rule by which one of several candidates is taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.learning.metrics.backbone_selection import CandidateRanking, rank_candidates

COSTS = st.sampled_from([1.0, 2.0, 2.0, 5.0, 40.0])


def right(*answers: str) -> list[np.ndarray]:
    """Scores of candidates on the same examples: 1 correct, 0 wrong, . unknown."""
    return [np.array([np.nan if sign == "." else float(sign) for sign in each]) for each in answers]


def ranked(
    scores: list[np.ndarray], costs: list[float], weights: np.ndarray | None = None
) -> CandidateRanking:
    return rank_candidates(scores, costs, np.ones(len(scores[0])) if weights is None else weights)


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    count, examples = draw(st.integers(1, 5)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = draw(st.booleans())
    scores = [
        -np.abs(rng.normal(size=examples)) * skill
        if numbers
        else (rng.uniform(size=examples) < skill).astype(np.float64)
        for skill in rng.uniform(0.2, 1.0, count)
    ]
    missing = rng.uniform(size=(count, examples)) < draw(st.sampled_from([0.0, 0.1]))
    for row, gone in zip(scores, missing, strict=True):
        row[gone] = np.nan
    weights = rng.uniform(0.1, 3, examples) if draw(st.booleans()) else np.ones(examples)
    return scores, draw(st.lists(COSTS, min_size=count, max_size=count)), weights


@given(candidates())
def test_the_selected_candidate_is_within_a_standard_error_of_the_best(
    drawn: tuple[list[np.ndarray], list[float], np.ndarray],
) -> None:
    scores, costs, weights = drawn
    found = ranked(scores, costs, weights)
    if not found.example_count:
        assert costs[found.chosen] == min(costs)
        return
    shared = np.isfinite(np.stack([each for each in scores if np.isfinite(each).any()])).all(axis=0)
    shares = weights[shared] / weights[shared].sum()
    differences = scores[found.best][shared] - scores[found.chosen][shared]
    behind = float(shares @ differences)
    count = int(shared.sum())
    spread = np.square(shares * (differences - behind)).sum() * count / max(count - 1, 1)
    assert behind <= np.sqrt(spread) + 1e-8 or count == 1
    assert behind == pytest.approx(found.standings[found.chosen].gap, abs=1e-9)
    assert found.example_count == count


@given(candidates())
def test_no_candidate_is_cheaper_and_as_good_as_the_selected_one(
    drawn: tuple[list[np.ndarray], list[float], np.ndarray],
) -> None:
    scores, costs, weights = drawn
    found = ranked(scores, costs, weights)
    for cost, standing in zip(costs, found.standings, strict=True):
        if standing is not None and standing.is_as_good:
            assert costs[found.chosen] <= cost
        if standing is not None:
            assert standing.gap >= 0
            assert standing.score <= found.standings[found.best].score + 1e-9
    best = found.standings[found.best]
    assert best is None or (best.gap, best.gap_standard_error) == (0, 0)


@given(candidates(), st.randoms())
def test_the_order_of_the_candidates_decides_only_between_equal_costs(
    drawn: tuple[list[np.ndarray], list[float], np.ndarray], random: object
) -> None:
    scores, costs, weights = drawn
    order = list(range(len(costs)))
    random.shuffle(order)
    one = ranked(scores, costs, weights)
    other = ranked([scores[place] for place in order], [costs[place] for place in order], weights)
    assert costs[one.chosen] == costs[order[other.chosen]]


@pytest.mark.parametrize("costs", [[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [3.0, 3.0, 1.0], [7.0, 7.0, 7.0]])
def test_the_cheapest_and_then_the_first_of_equals_is_selected(costs: list[float]) -> None:
    found = ranked(right("1101", "1101", "1101"), costs)
    assert found.chosen == costs.index(min(costs))
    assert [each.gap for each in found.standings] == [0, 0, 0]


def test_one_example_is_no_evidence_and_several_are() -> None:
    best = "1" * 40
    one, three = "0" + "1" * 39, "000" + "1" * 37
    assert ranked(right(one, best), [1.0, 9.0]).chosen == 0
    assert ranked(right(three, best), [1.0, 9.0]).chosen == 1


def test_errors_that_are_shared_do_not_excuse_a_worse_candidate() -> None:
    # Both fail on the second half. By the standard error of the best alone, 0.08, the first would do.
    worse, best = "000" + "1" * 17 + "0" * 20, "1" * 20 + "0" * 20
    found = ranked(right(worse, best), [1.0, 9.0])
    assert found.chosen == 1
    assert found.standings[0].gap == pytest.approx(0.075)
    assert found.standings[0].gap_standard_error < 0.05 < found.standings[1].error


def test_a_heavy_example_counts_as_it_weighs() -> None:
    scores = right("0111", "1110")
    assert ranked(scores, [5.0, 1.0], np.array([1.0, 1, 1, 50])).best == 0
    assert ranked(scores, [1.0, 5.0], np.array([50.0, 1, 1, 1])).best == 1


def test_an_unmeasured_candidate_is_selected_only_if_none_was_measured() -> None:
    assert ranked(right("....", "1100"), [1.0, 9.0]) == ranked(right("....", "1100"), [1.0, 2.0])
    found = ranked(right("....", "1100"), [1.0, 9.0])
    assert (found.chosen, found.example_count, found.standings[0]) == (1, 4, None)
    unmeasured = ranked(right("....", "....", "...."), [3.0, 1.0, 2.0])
    assert (unmeasured.chosen, unmeasured.example_count) == (1, 0)
    assert unmeasured.standings == (None, None, None)


def test_candidates_are_compared_on_examples_that_all_predicted() -> None:
    found = ranked(right("1110", "110."), [1.0, 2.0])
    assert found.example_count == 3
    assert [each.score for each in found.standings] == [1.0, pytest.approx(2 / 3)]
