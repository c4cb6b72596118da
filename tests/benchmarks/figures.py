"""Checks that reported figures are true: repeats fine-tunes on samples and compares with fresh examples.

For each recipe, with and without duplicates, and each number of examples of a class: how often the 95 %
interval of the reported accuracy covers the true accuracy, the mean error of the reported accuracy, and the
expected calibration error (ECE) on fresh examples. Exits with 1 if a target is missed.

The ECE of few examples is too large: chance moves the accuracy of each bin away from its confidence. So the
ECE that is judged is debiased bin by bin: see `debiased_ece`. Next to it stand the plain ECE, and its floor:
the plain ECE of a head whose probabilities are exact, with the same confidences and as many examples.
"""

import argparse
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import product
from math import erfc, exp, pi, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from benchmarks.figure_sets import Cut, Pool, Views, image_pools, moons_pool, row_pools, text_pools
from benchmarks.report import machine, print_table, software
from headstart_server.backbones.contract.backbone import LAST
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Ints
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.partial import TailTrainer
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, Ridge
from headstart_server.learning.metrics.class_predictions import ClassPredictions
from headstart_server.learning.metrics.metrics import MetricsSource, measure
from headstart_server.learning.metrics.reliability import Reliability, reliability

CACHE = Path(__file__).parents[2] / ".cache" / "recipes"
RECIPES: Mapping[str, Recipe] = {
    "auto": Auto(),
    "ridge": Ridge(),
    "logistic": Logistic(),
    "mlp": Mlp(),
    "partial": Partial(),
}
SHOTS = (5, 20, 100)
#: What is promised.
COVERAGE, BIAS, CALIBRATION_ERROR, BEHIND_SKLEARN = (0.90, 0.99), 0.01, 0.05, 0.02
#: Fresh examples for each trained one, and at least: with fewer the true accuracy is not known well enough.
FRESH, LEAST_FRESH, MOST_FRESH = 1.0, 100, 2000
#: Probability of 0, 1, 2 and 4 further copies of an example.
COPIES, COPY_SHARES = (0, 1, 2, 4), (0.6, 0.2, 0.1, 0.1)
#: Examples of the data set on which `mlp` is compared with scikit-learn's.
MOONS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One fine-tune to check.

    Attributes:
        pool: place of the pool.
        recipe: name of the recipe.
        duplicates: whether examples have copies.
        shots: number of different examples of each class.
        seed: seeds the sample and the fine-tune.
    """

    pool: int
    recipe: str
    duplicates: bool
    shots: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """Reported figures of a trial next to the true ones.

    Attributes:
        trial: the trial.
        reported: accuracy as reported.
        low: lower end of its interval.
        high: upper end.
        true: accuracy on fresh examples.
        calibration_error: debiased ECE on fresh examples.
        plain_calibration_error: ECE on fresh examples as it is.
        floor: plain ECE of a head whose probabilities are exact.
        reported_calibration_error: as reported.
    """

    trial: Trial
    reported: float
    low: float
    high: float
    true: float
    calibration_error: float
    plain_calibration_error: float
    floor: float
    reported_calibration_error: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """Examples to train on and fresh ones.

    Attributes:
        views: features to train on, by view.
        labels: their classes.
        digests: their content digests.
        places: their places in the pool.
        is_near: whether they are near-duplicates.
        fresh: places of the fresh examples in the pool.
    """

    views: Views
    labels: Ints
    digests: Sequence[str]
    places: Ints
    is_near: NDArray[np.bool_]
    fresh: Ints


def sampled(pool: Pool, shots: int, rng: np.random.Generator, *, duplicates: bool) -> Sample:
    """Draw so many different examples of each class, and copies of some of them; half of these are near."""
    places = np.concatenate(
        [rng.permutation(np.flatnonzero(pool.labels == label))[:shots] for label in range(pool.classes)]
    )
    fresh = np.setdiff1d(np.arange(len(pool.labels)), places)
    fresh = rng.permutation(fresh)[:MOST_FRESH]
    is_near = np.zeros(len(places), np.bool_)
    if duplicates:
        copies = np.repeat(places, rng.choice(COPIES, len(places), p=COPY_SHARES))
        places = np.append(places, copies)
        is_near = np.append(is_near, rng.random(len(copies)) < 0.5)
    views = {
        view: np.where(is_near[:, None], pool.near[view][places], rows[places])
        for view, rows in pool.views.items()
    }
    digests = [sha256(row.tobytes()).hexdigest() for row in next(iter(views.values()))]
    return Sample(
        views=views,
        labels=pool.labels[places],
        digests=digests,
        places=places,
        is_near=is_near,
        fresh=fresh,
    )


def is_possible(pool: Pool, recipe: str, shots: int) -> bool:
    """Return whether a recipe supports a pool, which has enough examples of each class, and fresh ones."""
    if recipe == "partial" and pool.cut is None:
        return False
    trained = shots * pool.classes
    fresh = len(pool.labels) - trained
    return bool(np.bincount(pool.labels).min() > shots and fresh >= max(FRESH * trained, LEAST_FRESH))


def checked(pools: Sequence[Pool], trial: Trial) -> Checked | None:
    """Fine-tune once and compare; None where nothing could be validated."""
    pool = pools[trial.pool]
    rng = np.random.default_rng([trial.seed, trial.shots, trial.pool])
    sample = sampled(pool, trial.shots, rng, duplicates=trial.duplicates)
    names = [f"class {label}" for label in range(pool.classes)]
    fitted = fit(
        RECIPES[trial.recipe],
        sample.views,
        Targets.of_labels(sample.labels, names),
        sample.digests,
        seed=trial.seed,
        modality=pool.modality,
        tails=None if pool.cut is None else tail_trainer(pool.cut, sample),
    )
    predicted = fitted.metrics
    if predicted.accuracy is None or predicted.accuracy_low is None or predicted.accuracy_high is None:
        return None
    fresh = {view: rows[sample.fresh] for view, rows in pool.views.items()}
    if pool.cut is not None and fitted.tail is not None:
        fresh[LAST] = pool.cut.backbone.tail(fitted.tail).run(pool.cut.of(pool.cut.rows[sample.fresh]))
    outputs = fitted.head.outputs(fresh)
    shown = Targets.of_labels(pool.labels[sample.fresh], names)
    true = measure(shown, outputs, fitted.head.thresholds, source=MetricsSource.HELD_OUT)
    drawn = (rng.random((len(outputs), 1)) > np.cumsum(outputs, axis=1)).sum(axis=1)
    as_predicted = Targets.of_labels(np.minimum(drawn, pool.classes - 1), names)
    floor = measure(as_predicted, outputs, fitted.head.thresholds, source=MetricsSource.HELD_OUT)
    found = reliability(shown, outputs, ClassPredictions.from_outputs(shown, outputs, fitted.head.thresholds))
    return Checked(
        trial=trial,
        reported=predicted.accuracy,
        low=predicted.accuracy_low,
        high=predicted.accuracy_high,
        true=true.accuracy or 0.0,
        calibration_error=debiased_ece(found),
        plain_calibration_error=found.calibration_error,
        floor=floor.calibration_error or 0.0,
        reported_calibration_error=predicted.calibration_error or 0.0,
    )


def tail_trainer(cut: Cut, sample: Sample) -> TailTrainer:
    """What trains the last block on a sample."""
    rows = cut.rows[sample.places]
    return TailTrainer(
        activations=cut.path,
        rows=np.where(sample.is_near, cut.near(rows), rows),
        train=partial(cut.backbone.train_tail, progress=lambda epoch: None, checkpoint=lambda: None),
    )


def debiased_ece(found: Reliability) -> float:
    """Return the ECE less what chance adds to it (after Kumar, Liang and Ma 2019).

    The accuracy of a bin deviates from the true one by a normal error, so the expected distance of accuracy
    and confidence is the mean of a folded normal distribution. Its excess over the distance is subtracted.
    With a thousand examples the result is 1.3 points too high where probabilities are exact (the plain ECE:
    2.0 points), and 0.3 points too low where the true ECE is 5 points.
    """
    total = 0.0
    for one in found.bins:
        distance = abs(one.confidence - one.accuracy)
        # Half an example each way: a bin whose answers are all right has an error too.
        accuracy = (one.accuracy * one.count + 0.5) / (one.count + 1)
        error = sqrt(accuracy * (1 - accuracy) / one.count)
        z = distance / error
        expected = error * sqrt(2 / pi) * exp(-z * z / 2) + distance * (1 - erfc(z / sqrt(2)))
        total += one.count * (2 * distance - expected)
    return max(total / sum(one.count for one in found.bins), 0.0)


def _single_threaded() -> None:
    threadpool_limits(1)


def run(pools: Sequence[Pool], trials: Sequence[Trial], workers: int) -> list[Checked]:
    """Check all trials."""
    one = partial(checked, pools)
    if workers < 2:
        return [found for found in map(one, trials) if found is not None]
    with ProcessPoolExecutor(workers, initializer=_single_threaded) as executor:
        return [found for found in executor.map(one, trials, chunksize=8) if found is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Figures of some trials.

    Attributes:
        count: number of trials.
        coverage: share of intervals that cover the true accuracy.
        bias: mean of the reported less the true accuracy.
        bias_error: standard error of that mean.
        width: mean width of the interval.
        true: mean true accuracy.
        calibration_error: mean debiased ECE on fresh examples.
        plain_calibration_error: mean ECE on fresh examples as it is.
        floor: mean ECE if all probabilities were exact.
        reported_calibration_error: mean as reported.
    """

    count: int
    coverage: float
    bias: float
    bias_error: float
    width: float
    true: float
    calibration_error: float
    plain_calibration_error: float
    floor: float
    reported_calibration_error: float

    @classmethod
    def of(cls, found: Sequence[Checked]) -> "Row":
        """Sum up trials."""
        errors = np.array([one.reported - one.true for one in found])
        return cls(
            count=len(found),
            coverage=float(np.mean([one.low <= one.true <= one.high for one in found])),
            bias=float(errors.mean()),
            bias_error=float(errors.std() / np.sqrt(len(errors))),
            width=float(np.mean([one.high - one.low for one in found])),
            true=float(np.mean([one.true for one in found])),
            calibration_error=float(np.mean([one.calibration_error for one in found])),
            plain_calibration_error=float(np.mean([one.plain_calibration_error for one in found])),
            floor=float(np.mean([one.floor for one in found])),
            reported_calibration_error=float(np.mean([one.reported_calibration_error for one in found])),
        )

    @property
    def missed(self) -> list[str]:
        """Targets that are missed."""
        return [
            name
            for name, is_missed in (
                ("coverage", not COVERAGE[0] <= self.coverage <= COVERAGE[1]),
                ("error", abs(self.bias) >= BIAS),
                ("ECE", self.calibration_error > CALIBRATION_ERROR),
            )
            if is_missed
        ]

    def cells(self) -> tuple[str, ...]:
        """The figures in percent, for a table."""
        return (
            str(self.count),
            f"{100 * self.true:.1f}",
            f"{100 * self.coverage:.1f}",
            f"{100 * self.width:.1f}",
            f"{100 * self.bias:+.2f} ± {100 * self.bias_error:.2f}",
            f"{100 * self.calibration_error:.1f}",
            f"{100 * self.plain_calibration_error:.1f}",
            f"{100 * self.floor:.1f}",
            f"{100 * self.reported_calibration_error:.1f}",
            ", ".join(self.missed),
        )


COLUMNS = (
    "fine-tunes",
    "true accuracy",
    "covered",
    "interval width",
    "mean error",
    "ECE",
    "plain ECE",
    "its floor",
    "reported ECE",
    "missed",
)


def grouped(
    found: Iterable[Checked], key: Callable[[Trial], tuple[object, ...]]
) -> dict[tuple[object, ...], Row]:
    """Sum up trials by a key."""
    parts: dict[tuple[object, ...], list[Checked]] = defaultdict(list)
    for one in found:
        parts[key(one.trial)].append(one)
    return {name: Row.of(part) for name, part in parts.items()}


def behind_sklearn(seed: int, count: int = MOONS) -> float:
    """By how much scikit-learn's MLP is more accurate than `mlp` on two half moons."""
    pool = moons_pool()
    sample = sampled(pool, count // 2, np.random.default_rng(seed), duplicates=False)
    targets = Targets.of_labels(sample.labels, ["a", "b"])
    fitted = fit(Mlp(), sample.views, targets, sample.digests, seed=seed, modality=pool.modality)
    fresh, labels = pool.views["last"][sample.fresh], pool.labels[sample.fresh]
    own = float((fitted.head.outputs({"last": fresh}).argmax(axis=1) == labels).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = MLPClassifier(max_iter=1000, random_state=seed).fit(sample.views["last"], sample.labels)
    return float(other.score(fresh, labels)) - own


def main() -> None:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="fine-tunes of each pool in each row")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--recipes", nargs="+", default=["ridge", "logistic", "mlp"], choices=list(RECIPES))
    parser.add_argument("--shots", nargs="+", type=int, default=list(SHOTS))
    parser.add_argument("--kinds", nargs="+", default=["rows", "images", "texts"])
    parser.add_argument("--details", action="store_true", help="also a row for each pool")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for features")
    options = parser.parse_args()
    print(f"Machine: {machine()}\nSoftware: {software()}\n", flush=True)
    pools = [
        *(row_pools() if "rows" in options.kinds else []),
        *(image_pools(options.cache, cut="partial" in options.recipes) if "images" in options.kinds else []),
        *(text_pools(options.cache) if "texts" in options.kinds else []),
    ]
    trials = [
        Trial(pool=place, recipe=recipe, duplicates=duplicates, shots=shots, seed=seed)
        for recipe, duplicates, shots, place, seed in product(
            options.recipes, (False, True), options.shots, range(len(pools)), range(options.repeats)
        )
        if is_possible(pools[place], recipe, shots)
    ]
    # A backbone stays in its process, and trains on all cores.
    found = run(pools, trials, 1 if "partial" in options.recipes else options.workers)
    rows = grouped(found, lambda trial: (trial.recipe, trial.duplicates, trial.shots))
    print_rows("Reported figures and fresh examples, in percent", ("recipe", "duplicates", "shots"), rows)
    if options.details:
        names = [pool.name for pool in pools]
        by_pool = grouped(found, lambda one: (one.recipe, one.duplicates, one.shots, names[one.pool]))
        print_rows("By pool, in percent", ("recipe", "duplicates", "shots", "pool"), by_pool)
    missed = sum(len(row.missed) for row in rows.values())
    if "mlp" in options.recipes:
        behind = float(np.mean([behind_sklearn(seed) for seed in range(5)]))
        print(f"scikit-learn's MLP is {100 * behind:+.1f} points more accurate on {MOONS} rows of two moons.")
        missed += behind > BEHIND_SKLEARN
    print(f"{missed} targets are missed.")
    sys.exit(1 if missed else 0)


def print_rows(title: str, key: Sequence[str], rows: Mapping[tuple[object, ...], Row]) -> None:
    """Print a table."""
    print_table(title, (*key, *COLUMNS), [(*map(str, name), *row.cells()) for name, row in rows.items()])


if __name__ == "__main__":
    main()
