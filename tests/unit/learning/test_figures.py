"""Reported figures and fresh examples: the quick version of `make bench-figures`."""

from itertools import product

import pytest

from benchmarks.figure_sets import row_pools
from benchmarks.figures import BEHIND_SKLEARN, Trial, behind_sklearn, grouped, run

#: Fine-tunes of each pool and setting: 2 percent points of coverage are one standard error of a row.
REPEATS = 25


@pytest.mark.parametrize("duplicates", [False, True])
def test_intervals_cover_the_true_accuracy_and_estimates_are_right_in_the_mean(duplicates: bool) -> None:
    pools = row_pools(3000)[:5]
    trials = [
        Trial(pool=pool, recipe="ridge", duplicates=duplicates, shots=20, seed=seed)
        for pool, seed in product(range(len(pools)), range(REPEATS))
    ]
    (row,) = grouped(run(pools, trials, workers=1), lambda _: ()).values()
    assert row.count == len(trials)
    assert row.coverage >= 0.9 - 0.03
    assert abs(row.bias) < 0.01 + 2.5 * row.bias_error
    assert row.calibration_error < 0.09


def test_a_network_learns_two_half_moons_as_well_as_that_of_scikit_learn() -> None:
    assert behind_sklearn(0, 200) < BEHIND_SKLEARN + 0.01
