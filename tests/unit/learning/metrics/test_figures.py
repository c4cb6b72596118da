"""Reported figures and fresh examples: the quick version of `make bench-figures`."""

from itertools import product

import numpy as np
import pytest

from benchmarks.figure_sets import row_pools
from benchmarks.figures import BEHIND_SKLEARN, Trial, behind_sklearn, debiased_ece, grouped, run
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.metrics.class_predictions import ClassPredictions
from headstart_server.learning.metrics.reliability import reliability

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
    assert row.calibration_error < 0.06


def test_a_network_learns_two_half_moons_as_well_as_that_of_scikit_learn() -> None:
    assert behind_sklearn(0, 200) < BEHIND_SKLEARN + 0.01


@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_chance_is_taken_off_the_calibration_error(shift: float) -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(100):
        confidence = rng.uniform(0.7, 0.95, 1000)
        labels = (rng.random(1000) > confidence - shift).astype(np.int64)
        outputs: Float32 = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
        targets = Targets.of_labels(labels, ["a", "b"])
        found = reliability(
            targets, outputs, ClassPredictions.from_outputs(targets, outputs, np.zeros(0, np.float32))
        )
        errors.append((found.calibration_error, debiased_ece(found)))
    plain, debiased = np.mean(errors, axis=0)
    assert debiased < plain
    # All of it cannot be taken off where the probabilities are exact.
    assert debiased == pytest.approx(shift, abs=0.007 if shift else 0.015)
    assert plain > shift - 0.002 if shift else plain > 0.018
