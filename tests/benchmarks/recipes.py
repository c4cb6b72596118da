"""Measures the recipes on labeled images, and prints tables in Markdown that the documentation quotes.

Every head is fitted on the same features and the same splits: 60 % of each class to train on, of which so
many shots are taken, and 40 % to test on. Compared with heads fitted the usual ways on the `last` view,
and at five shots with the recipe of Keras' guides: images pass the frozen base in every epoch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import Precision, RuntimeSettings, default_cache
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32, Ints, normalized
from headstart_server.learning.heads.calibration import softmax
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.partial import TailTrainer
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, Ridge
from recipe_precisions import print_precisions
from recipe_sets import FeatureSet, feature_sets
from report import machine, print_table, software

CACHE = Path(__file__).parents[2] / ".cache" / "recipes"
#: Bins of the expected calibration error (Guo et al. 2017).
BINS = 15
SEEDS, ALL_SEEDS = 2, 8
#: The Keras recipe takes minutes: it is measured at so many shots, on so many seeds.
KERAS, KERAS_SHOTS, KERAS_SEEDS = "Keras recipe", 5, 1
#: With more examples to train on fewer seeds do: they differ less, and take longer.
MANY, SEEDS_OF_MANY = 600, 2
#: Accuracy in percent of the first experiments with `auto`, before the service had it: another choice of
#: images from the same packages.
BEFORE: Mapping[tuple[str, int], float] = {
    ("digits", 5): 84.7,
    ("digits", 20): 92.8,
    ("digits", 90): 97.6,
    ("mnist", 5): 80.5,
    ("mnist", 50): 95.2,
    ("emoji", 5): 48.9,
    ("emoji", 0): 69.5,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What a method is given.

    Attributes:
        one: the set.
        train: places to train on.
        test: places to answer.
        seed: seeds the method.
        backbone: what gave the features.
    """

    one: FeatureSet
    train: Ints
    test: Ints
    seed: int
    backbone: Backbone

    @property
    def views(self) -> Mapping[str, Float32]:
        """Features to train on."""
        return {view: rows[self.train] for view, rows in self.one.views.items()}

    @property
    def others(self) -> Mapping[str, Float32]:
        """Features to answer."""
        return {view: rows[self.test] for view, rows in self.one.views.items()}

    @property
    def labels(self) -> Ints:
        """Labels to train on."""
        return self.one.labels[self.train]


#: From a trial to probabilities [n, C] for its test places, and the seconds that fitting took.
Method = Callable[[Trial], tuple[NDArray[np.floating], float]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How well one head did.

    Attributes:
        accuracy: share of the test images classified right.
        calibration_error: expected calibration error.
        log_loss: mean negative log-likelihood of the right class, in nats.
        seconds: processor time of the fit; of the Keras recipe the time that passed, on all cores.
    """

    accuracy: float
    calibration_error: float
    log_loss: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The outcomes of one set at one number of shots, by method and seed."""

    name: str
    shots: int | None
    count: int
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.name} {self.shots or 'all'} ({self.count})"

    def mean(self, method: str, what: str) -> float:
        return float(np.mean([getattr(outcome, what) for outcome in self.outcomes[method]]))

    def shown(self, method: str, what: str, form: str, factor: float = 1.0) -> str:
        return form.format(factor * self.mean(method, what)) if method in self.outcomes else ""

    def spread(self, method: str) -> str:
        shares = [100 * outcome.accuracy for outcome in self.outcomes.get(method, ())]
        if len(shares) < 2:
            return "".join(f"{share:.1f}" for share in shares)
        return f"{np.mean(shares):.1f} ± {np.std(shares, ddof=1):.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{ALL_SEEDS} seeds instead of {SEEDS}")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for features and downloads")
    default = [name for name in METHODS if name not in SLOW]
    parser.add_argument("--methods", nargs="*", default=default, choices=list(METHODS))
    parser.add_argument("--sets", nargs="*", help="names of the sets to measure on; all by default")
    parser.add_argument("--shots", nargs="*", type=int, help="shots to measure at, 0 for all; default: each")
    parser.add_argument(
        "--precisions",
        nargs="*",
        type=Precision,
        help="measure auto in these precisions, images and texts, instead: float32 bfloat16 int8",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    # At one shot scikit-learn takes the labels for numbers to be predicted, and says so.
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
    print(f"Machine: {machine()}\nSoftware: {software()}\n", flush=True)
    seeds = ALL_SEEDS if options.full else SEEDS

    if options.precisions is not None:
        by_precision(options.precisions or list(Precision), options.cache, seeds, options.sets, options.shots)
        return
    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load()
    sets = feature_sets(backbone, options.cache, options.sets)
    with threadpool_limits(1, user_api="blas"):
        cells = [
            measured(one, shots, options.methods, seeds, backbone)
            for one in sets
            for shots in one.shots
            if (shots or 0) in (options.shots or [shots or 0])
        ]
    print_tables(cells, options.methods)


def by_precision(
    precisions: Sequence[Precision],
    cache: Path,
    seeds: int,
    names: Sequence[str] | None,
    shots: Sequence[int] | None,
) -> None:
    """Measure and print `auto` in some precisions."""

    def measure(
        one: FeatureSet, shots: int | None, backbone: Backbone
    ) -> tuple[str, list[tuple[float, float]]]:
        with threadpool_limits(1, user_api="blas"):
            cell = measured(one, shots, ["auto"], seeds, backbone)
        found = cell.outcomes["auto"]
        return cell.title, [(each.accuracy, each.calibration_error) for each in found]

    print_precisions(precisions, measure, cache=cache, names=names, shots=shots)


def measured(
    one: FeatureSet, shots: int | None, methods: Sequence[str], seeds: int, backbone: Backbone
) -> Cell:
    """Fit and test every method on the splits of some seeds."""
    count = len(one.split(shots, 0)[0])
    cell = Cell(name=one.name, shots=shots, count=count)
    for seed in range(min(seeds, SEEDS_OF_MANY) if count > MANY else seeds):
        train, test = one.split(shots, seed)
        trial = Trial(one=one, train=train, test=test, seed=seed, backbone=backbone)
        for method in methods:
            if method == KERAS and (shots != KERAS_SHOTS or seed >= KERAS_SEEDS):
                continue
            answered, seconds = METHODS[method](trial)
            cell.outcomes.setdefault(method, []).append(outcome(answered, one.labels[test], seconds))
    return cell


def outcome(probabilities: NDArray[np.floating], labels: Ints, seconds: float) -> Outcome:
    """How well probabilities [n, C] did on labels [n]."""
    right = probabilities.argmax(axis=1) == labels
    sure = probabilities.max(axis=1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(float(sure[bins == place].sum() - right[bins == place].sum())) for place in range(BINS)]
    likelihood = np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)
    return Outcome(
        accuracy=float(right.mean()),
        calibration_error=sum(gaps) / len(labels),
        log_loss=float(-np.log(likelihood).mean()),
        seconds=seconds,
    )


def print_tables(cells: Sequence[Cell], methods: Sequence[str]) -> None:
    """Print a table for each measure, and how `auto` compares."""
    head = ("set, shots for each class (N)", *methods)
    print_table(
        "Accuracy in percent: mean and standard deviation over seeds",
        head,
        [(cell.title, *(cell.spread(method) for method in methods)) for cell in cells],
    )
    for title, what, form in (
        (f"Expected calibration error in percent, {BINS} bins", "calibration_error", "{:.1f}"),
        ("Log loss in nats", "log_loss", "{:.3f}"),
        ("Seconds of processor time for a fit", "seconds", "{:.3f}"),
    ):
        factor = 100 if what == "calibration_error" else 1
        rows = [
            (cell.title, *(cell.shown(method, what, form, factor) for method in methods)) for cell in cells
        ]
        several = [cell for cell in cells if cell.shots is None or cell.shots >= 5]
        means = [
            form.format(factor * float(np.mean([cell.mean(method, what) for cell in several])))
            if all(method in cell.outcomes for cell in several)
            else ""
            for method in methods
        ]
        print_table(title, head, [*rows, ("mean, 5 shots and more", *means)])
    if "auto" in methods:
        others = [method for method in methods if method != "auto"]
        print_table(
            "Gain of `auto` in points: mean of the paired differences ± their standard error",
            ("set, shots for each class (N)", *others, "the first experiments"),
            [(cell.title, *(gain(cell, other) for other in others), gain_on_before(cell)) for cell in cells],
        )


def gain(cell: Cell, other: str) -> str:
    """What `auto` gains on another method on the same splits."""
    # The Keras recipe has the first seeds only.
    pairs = zip(cell.outcomes["auto"], cell.outcomes.get(other, ()), strict=False)
    return _with_error([100 * (ours.accuracy - theirs.accuracy) for ours, theirs in pairs])


def gain_on_before(cell: Cell) -> str:
    """What `auto` gains on the first experiments."""
    before = BEFORE.get((cell.name, cell.shots or 0))
    if before is None:
        return ""
    return _with_error([100 * one.accuracy - before for one in cell.outcomes["auto"]])


def _with_error(gains: Sequence[float]) -> str:
    if len(gains) < 2:
        return "".join(f"{gain:+.1f}" for gain in gains)
    return f"{np.mean(gains):+.1f} ± {np.std(gains, ddof=1) / np.sqrt(len(gains)):.1f}"


def cpu_seconds() -> float:
    """Processor time of this process and of its children that ended: what else runs does not count."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def timed(fit_and_answer: Callable[[Trial], NDArray[np.floating]]) -> Method:
    """A method whose seconds are those of all it does: answering takes none to speak of."""

    def method(trial: Trial) -> tuple[NDArray[np.floating], float]:
        began = cpu_seconds()
        answered = fit_and_answer(trial)
        return answered, cpu_seconds() - began

    return method


def by_recipe(recipe: Recipe) -> Method:
    """A recipe of the service."""

    def method(trial: Trial) -> tuple[NDArray[np.floating], float]:
        names = tuple(str(label) for label in range(int(trial.labels.max()) + 1))
        groups = [f"{place:06d}" for place in trial.train]
        train = partial(trial.backbone.train_tail, progress=lambda epoch: None, checkpoint=lambda: None)
        tails = TailTrainer(activations=trial.one.activations, rows=trial.train, train=train)
        targets = Targets.of_labels(trial.labels, names)
        began = cpu_seconds()
        fitted = fit(
            recipe,
            trial.views,
            targets,
            groups,
            seed=trial.seed,
            tails=tails,
            modality=trial.backbone.info.modality,
        )
        seconds = cpu_seconds() - began
        others = dict(trial.others)
        if fitted.tail is not None:
            cut = np.load(trial.one.activations, mmap_mode="r")[trial.test].astype(np.float32)
            others["last"] = trial.backbone.tail(fitted.tail).run(cut)
        return fitted.head.outputs(others), seconds

    return method


def by_scikit_learn(trial: Trial) -> NDArray[np.floating]:
    """Logistic regression on features of length 1, with scikit-learn's own settings but for its patience."""
    model = LogisticRegression(max_iter=300).fit(normalized(trial.views["last"]), trial.labels)
    return model.predict_proba(normalized(trial.others["last"]))


def by_adam(epochs: int) -> Callable[[Trial], NDArray[np.floating]]:
    """A dense layer on the features as they are, by Adam (Kingma and Ba 2015) with Keras' settings."""

    def method(trial: Trial) -> NDArray[np.floating]:
        rng = np.random.default_rng(trial.seed)
        ones = [
            np.hstack([part["last"], np.ones((len(part["last"]), 1), np.float32)])
            for part in (trial.views, trial.others)
        ]
        one_hot = np.eye(int(trial.labels.max()) + 1, dtype=np.float32)[trial.labels]
        shape = ones[0].shape[1], one_hot.shape[1]
        limit = np.sqrt(6 / (shape[0] - 1 + shape[1]))
        layer = rng.uniform(-limit, limit, shape).astype(np.float32)
        layer[-1] = 0
        first, second, step = np.zeros_like(layer), np.zeros_like(layer), 0
        for _ in range(epochs):
            order = rng.permutation(len(one_hot))
            for start in range(0, len(order), 32):
                part, step = order[start : start + 32], step + 1
                gradient = ones[0][part].T @ (softmax(ones[0][part] @ layer) - one_hot[part]) / len(part)
                first += 0.1 * (gradient - first)
                second += 0.001 * (gradient * gradient - second)
                layer -= 1e-3 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
        return softmax(ones[1] @ layer)

    return method


def by_keras(trial: Trial) -> tuple[NDArray[np.floating], float]:
    """The Keras recipe with flips, rotations and dropout, in a separate process, on all cores."""
    one = trial.one
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        rows = {
            name: np.stack([trial.backbone.decode(one.images[place]) for place in places])
            for name, places in (("train_rows", trial.train), ("test_rows", trial.test))
        }
        np.savez(path, **rows, train_labels=one.labels[trial.train], test_labels=one.labels[trial.test])
        program = [sys.executable, str(Path(__file__).with_name("keras_recipe.py")), str(path), "augment"]
        done = subprocess.run(program, check=True, capture_output=True, text=True)
        seconds = float(json.loads(done.stdout.splitlines()[-1])["seconds"])
        return np.load(path.with_suffix(".npy")), seconds


#: Measured only when named: they take from seconds to minutes for a fit.
SLOW = ("mlp", "partial")
METHODS: Mapping[str, Method] = {
    "auto": by_recipe(Auto()),
    "logistic": by_recipe(Logistic()),
    "ridge, last": by_recipe(Ridge()),
    "mlp": by_recipe(Mlp()),
    "partial": by_recipe(Partial()),
    "scikit-learn logistic": timed(by_scikit_learn),
    "Adam 20": timed(by_adam(20)),
    "Adam 100": timed(by_adam(100)),
    KERAS: by_keras,
}

if __name__ == "__main__":
    main()
