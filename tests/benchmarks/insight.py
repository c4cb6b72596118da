"""Measures the evidence of predictions: unknown inputs, label issues, the learning curve, and its costs.

Tables in Markdown for docs/guides/label-issues.md and docs/understand/internals.md. Sets and features are
those of recipes.py.
"""

import argparse
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import RuntimeSettings, default_cache
from headstart_server.learning.analysis.analyzed_dataset import AnalyzedDataset
from headstart_server.learning.analysis.dataset_analysis import analyze_dataset
from headstart_server.learning.analysis.duplicates import near_duplicate_groups
from headstart_server.learning.analysis.label_issues import find_label_issues
from headstart_server.learning.analysis.learning_curve import learning_curve
from headstart_server.learning.analysis.neighbors import NeighborExample, index_neighbors
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.target import Target, Targets
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto
from recipe_sets import FeatureSet, feature_sets
from report import machine, print_table, software

CACHE = Path(__file__).parents[2] / ".cache" / "recipes"
#: The share of known inputs that may be predicted to be unknown.
RATE = 0.05
#: Inputs of each kind, at most.
ASKED = 400
Views = Mapping[str, Float32]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="choices of images for each row")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for features and downloads")
    options = parser.parse_args()
    print(f"Machine: {machine()}\nSoftware: {software()}\n", flush=True)
    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load()
    sets = feature_sets(backbone, options.cache)
    with threadpool_limits(1, user_api="blas"):
        print_typicality(sets, photographs(backbone), options.seeds)
        print_label_issues(sets, options.seeds)
        print_curves(sets, options.seeds)
        print_costs(sets)


def photographs(backbone: Backbone) -> Views:
    """Features of 100 parts of scikit-learn's two photographs."""
    rng, rows = np.random.default_rng(0), []
    for name in ("china", "flower"):
        content = resources.files("sklearn.datasets.images").joinpath(f"{name}.jpg").read_bytes()
        image = Image.open(io.BytesIO(content)).convert("RGB")
        for _ in range(50):
            side = int(rng.integers(120, 400))
            x, y = int(rng.integers(0, 640 - side)), int(rng.integers(0, 427 - side))
            rows.append(backbone.decode(np.asarray(image.crop((x, y, x + side, y + side)))))
    return {view: np.array(values) for view, values in backbone.run(np.stack(rows)).items()}


# Unknown inputs


def print_typicality(sets: Sequence[FeatureSet], photos: Views, seeds: int) -> None:
    """A quarter of the classes are left out; the other sets and photographs are foreign."""
    rows = []
    for one in sets:
        for shots in (5, 20, None):
            measured = [typicality_model_from_bytes(one, sets, photos, shots, seed) for seed in range(seeds)]
            count, size = measured[0][:2]
            values = np.mean([each[2:] for each in measured], axis=0)
            shares = (f"{100 * value:.1f}" for value in values[2:])
            rows.append(
                (
                    f"{one.name} {shots or 'all'} ({count})",
                    f"{size / 1024:.0f}",
                    *values[:2].round(3),
                    *shares,
                )
            )
    print_table(
        f"Typicality: ranking (AUROC), and fraction detected as unknown at a false-alarm rate of {RATE:.0%}",
        (
            "set, shots for each class (N)",
            "KiB",
            "AUROC, classes left out",
            "AUROC, other images",
            "known, %",
            "classes left out, %",
            "other images, %",
        ),
        rows,
    )


def typicality_model_from_bytes(
    one: FeatureSet, sets: Sequence[FeatureSet], photos: Views, shots: int | None, seed: int
) -> tuple[float, ...]:
    rng = np.random.default_rng(seed)
    classes = rng.permutation(int(one.labels.max()) + 1)
    left_out, known = classes[: len(classes) // 4], classes[len(classes) // 4 :]
    train, test = [], []
    for label in known:
        places = rng.permutation(np.flatnonzero(one.labels == label))
        part = places[: int(0.6 * len(places))]
        train += part[:shots].tolist()
        test += places[int(0.6 * len(places)) :].tolist()
    digests = digests_of(one, np.array(train))
    views = part_of(one.views, np.array(train))
    typicality_model = fit_typicality_model(views, sorted(views), digests, digests)
    assert typicality_model is not None

    def typical(views: Views, places: Sequence[int]) -> Float32:
        chosen = rng.permutation(np.array(places))[:ASKED]
        return typicality_model.typicality(part_of(views, chosen))

    of_known = typical(one.views, test)
    of_left_out = typical(one.views, np.flatnonzero(np.isin(one.labels, left_out)).tolist())
    foreign = [other.views for other in sets if other is not one] + [photos]
    of_foreign = np.concatenate([typical(views, range(len(views["last"]))) for views in foreign])
    return (
        len(train),
        typicality_model.nbytes,
        auroc(of_known, of_left_out),
        auroc(of_known, of_foreign),
        float((of_known < RATE).mean()),
        float((of_left_out < RATE).mean()),
        float((of_foreign < RATE).mean()),
    )


def auroc(known: Float32, unknown: Float32) -> float:
    truth = np.repeat([1, 0], [len(known), len(unknown)])
    return float(roc_auc_score(truth, np.concatenate([known, unknown])))


# Label issues


def print_label_issues(sets: Sequence[FeatureSet], seeds: int) -> None:
    """Labels are changed to another class at random; label_issues are compared with those that were."""
    rows = []
    for one in sets:
        for shots in (10, 40):
            for share in (0.05, 0.1, 0.2):
                measured = [label_issues_of(one, shots, share, seed) for seed in range(seeds)]
                precision, recall, ranking = np.mean(measured, axis=0)
                title = f"{one.name} {shots}, {share:.0%} changed"
                rows.append((title, f"{precision:.2f}", f"{recall:.2f}", f"{ranking:.2f}"))
    print_table(
        "Label issues against the labels that were changed",
        ("set, shots for each class", "precision", "recall", "average precision of all, ranked by odds"),
        rows,
    )


def label_issues_of(one: FeatureSet, shots: int, share: float, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    places = chosen_of(one, shots, rng)
    labels, classes = one.labels[places].copy(), int(one.labels.max()) + 1
    changed = rng.random(len(labels)) < share
    labels[changed] = (labels[changed] + rng.integers(1, classes, int(changed.sum()))) % classes
    looked_at = examined_of(one, places, labels)
    found, _ = find_label_issues(looked_at)
    named = np.zeros(len(labels), np.bool_)
    named[[suspect.example.index for suspect in found]] = True
    outputs = looked_at.fitted.outputs
    assert outputs is not None
    own = outputs[np.arange(len(labels)), labels]
    odds = np.log(outputs.max(axis=1)) - np.log(np.maximum(own, 1e-9))
    right = int((named & changed).sum())
    return (
        right / max(int(named.sum()), 1),
        right / max(int(changed.sum()), 1),
        float(average_precision_score(changed, odds)),
    )


# The learning curve


def print_curves(sets: Sequence[FeatureSet], seeds: int) -> None:
    """Print the accuracy predicted for twice as many examples next to the measured one."""
    rows = []
    for one in sets:
        for shots in (5, 10, 20, 40):
            measured = [m for seed in range(seeds) if (m := curve_of(one, shots, seed)) is not None]
            if not measured:
                continue
            now, predicted, twice = np.mean(measured, axis=0)
            error = np.mean([abs(each[1] - each[2]) for each in measured])
            values = (f"{100 * value:.1f}" for value in (now, predicted, twice, error))
            rows.append((f"{one.name} {shots} to {2 * shots}", *values))
    print_table(
        "The learning curve: accuracy in percent, out of fold",
        ("set, shots for each class", "with these", "predicted for twice", "with twice", "mean error"),
        rows,
    )


def curve_of(one: FeatureSet, shots: int, seed: int) -> tuple[float, float, float] | None:
    rng = np.random.default_rng(seed)
    many = chosen_of(one, 2 * shots, rng)
    few = np.concatenate([many[one.labels[many] == label][:shots] for label in np.unique(one.labels)])
    looked_at = examined_of(one, few, one.labels[few])
    curve = learning_curve(looked_at, near_duplicate_groups(looked_at), seed=0)
    now, then = looked_at.fitted.metrics.accuracy, fitted_on(one, many, one.labels[many]).metrics.accuracy
    if not curve or now is None or then is None:
        return None
    return now, curve[-1].score, then


# What it costs


def print_costs(sets: Sequence[FeatureSet]) -> None:
    """Seconds and bytes, on features made of those of the largest set."""
    largest = max(sets, key=lambda one: len(one.labels))
    rows = []
    for count in (100, 1_000, 10_000):
        rng = np.random.default_rng(0)
        places = rng.integers(0, len(largest.labels), count)
        # So that copies are others: what is equal would be one group.
        views = {
            view: rows_[places] * rng.uniform(0.6, 1.4, (count, rows_.shape[1]))
            for view, rows_ in largest.views.items()
        }
        made = replace(
            largest,
            views={view: matrix.astype(np.float32) for view, matrix in views.items()},
            labels=largest.labels[places],
        )
        rows.append(costs_of(made, np.arange(count)))
    print_table(
        "Seconds on one thread, and KiB of a version's files",
        ("N", "fit of `auto`", "findings", "evidence", "typicality, KiB", "neighbors, KiB"),
        rows,
    )


def costs_of(one: FeatureSet, places: Ints) -> tuple[object, ...]:
    began = time.perf_counter()
    looked_at = examined_of(one, places, one.labels)
    fitted = time.perf_counter()
    groups = near_duplicate_groups(looked_at)
    analyze_dataset(looked_at, groups, seed=0)
    found = time.perf_counter()
    names = sorted(looked_at.views)
    typicality_model = fit_typicality_model(looked_at.views, names, looked_at.digests, groups)
    examples = [NeighborExample(index=place, id="", target=Target.of_label("a")) for place in places.tolist()]
    index = index_neighbors(looked_at.views, names, examples, looked_at.digests)
    ended = time.perf_counter()
    assert typicality_model is not None
    sizes = (f"{part / 1024:,.0f}" for part in (typicality_model.nbytes, index.rows.nbytes))
    seconds = (f"{one:.2f}" for one in (fitted - began, found - fitted, ended - found))
    return (f"{len(places):,}", *seconds, *sizes)


# What they share


def chosen_of(one: FeatureSet, shots: int, rng: np.random.Generator) -> Ints:
    """So many examples of each class."""
    classes = np.unique(one.labels)
    return np.concatenate([rng.permutation(np.flatnonzero(one.labels == label))[:shots] for label in classes])


def part_of(views: Views, places: Ints) -> dict[str, Float32]:
    return {view: rows[places] for view, rows in views.items()}


def digests_of(one: FeatureSet, places: Ints) -> list[str]:
    return [sha256(row.tobytes()).hexdigest() for row in one.views["last"][places]]


def fitted_on(one: FeatureSet, places: Ints, labels: Ints) -> FittedHead:
    names = [f"{label:02d}" for label in range(int(one.labels.max()) + 1)]
    targets = Targets.of_labels(labels, names)
    return fit(Auto(), part_of(one.views, places), targets, digests_of(one, places), seed=0)


def examined_of(one: FeatureSet, places: Ints, labels: Ints) -> AnalyzedDataset:
    names = [f"{label:02d}" for label in range(int(one.labels.max()) + 1)]
    return AnalyzedDataset(
        views=part_of(one.views, places),
        targets=Targets.of_labels(labels, names),
        digests=digests_of(one, places),
        ids=[""] * len(places),
        indexes=np.arange(len(places)),
        held_out=np.zeros(len(places), np.bool_),
        fitted=fitted_on(one, places, labels),
    )


if __name__ == "__main__":
    main()
