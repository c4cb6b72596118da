"""Accuracy and calibration of the recipe `auto` on features of each precision, for images and texts."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from docstrings import sentences
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.runtimes import (
    Precision,
    RuntimeKind,
    RuntimeSettings,
    default_cache,
)
from headstart_server.backbones.sources.sentence_bert import MINILM
from recipe_sets import FeatureSet, feature_sets
from report import print_table
from reviews import VERDICTS, reviews

#: Texts of each class of the film reviews.
REVIEWS = 400
#: Rows of the tables: a set, its shots and its examples, and by precision the outcomes of its seeds.
Cells = Mapping[tuple[str, str], Mapping[Precision, Sequence[tuple[float, float]]]]
#: Fits and tests `auto` on a set at some shots: the title, and accuracy and ECE by seed.
Measure = Callable[[FeatureSet, int | None, Backbone], tuple[str, Sequence[tuple[float, float]]]]


def print_precisions(
    precisions: Sequence[Precision],
    measure: Measure,
    *,
    cache: Path,
    names: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
) -> None:
    """Measure `auto` in each precision and print a table of the accuracy and one of the calibration.

    Args:
        precisions: the precisions, the first to compare the others with.
        measure: fits and tests.
        cache: folder for features and downloads.
        names: names of the sets; None for all.
        shots: shots to measure at, 0 for all examples; None for each.
    """
    cells: dict[tuple[str, str], dict[Precision, Sequence[tuple[float, float]]]] = {}
    for name, sets in ((DEFAULT, feature_sets), (MINILM.name, text_sets)):
        for precision in precisions:
            backbone = backbone_of(name, precision)
            for one in sets(backbone, cache, names):
                for count in one.shots:
                    if shots and (count or 0) not in shots:
                        continue
                    title, outcomes = measure(one, count, backbone)
                    cells.setdefault((name, title), {})[precision] = outcomes
    for title, place in (("Accuracy in percent", 0), ("Expected calibration error in percent", 1)):
        print_table(
            f"{title} of `auto` by precision: mean over seeds, and the mean paired difference of the last",
            ("backbone", "set, shots for each class (N)", *(each.value for each in precisions), "difference"),
            [(*key, *_values(found, precisions, place)) for key, found in cells.items()],
        )


def backbone_of(name: str, precision: Precision) -> Backbone:
    """Load a backbone in a precision; in 8 bits it is quantized first, unless done before."""
    floating = None if precision is Precision.INT8 else precision
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=floating, cache=default_cache())
    catalog = Catalog(runtimes=settings)
    return catalog.load_quantized(name) if precision is Precision.INT8 else catalog.load(name)


def text_sets(backbone: Backbone, cache: Path, names: Sequence[str] | None = None) -> list[FeatureSet]:
    """Return the labeled texts whose packages are installed, as features; see `feature_sets`."""
    found = []
    if names is None or "docstrings" in names:
        texts = [(each.text, each.label) for each in sentences()]
        found.append(_text_set("docstrings", texts, (5, 50, None), backbone, cache))
    if names is None or "reviews" in names:
        try:
            listed = reviews()
        except FileNotFoundError as error:
            print(f"Without reviews: {error}")
        else:
            texts = [
                (each.text, each.label)
                for label in VERDICTS.values()
                for each in [each for each in listed if each.label == label][:REVIEWS]
            ]
            found.append(_text_set("reviews", texts, (5, 50, None), backbone, cache))
    return found


def _text_set(
    name: str,
    texts: Sequence[tuple[str, str]],
    shots: Sequence[int | None],
    backbone: Backbone,
    cache: Path,
) -> FeatureSet:
    cache.mkdir(parents=True, exist_ok=True)
    key = sha256(f"{backbone.digest} {backbone.runtime} {texts}".encode()).hexdigest()
    path = cache / f"{name}-{key[:16]}.npz"
    if not path.exists():
        # Each alone: rows of texts have several lengths.
        rows = [backbone.run(backbone.decode(text)[None]) for text, _ in texts]
        np.savez(path, **{view: np.concatenate([row[view] for row in rows]) for view in backbone.info.views})
    with np.load(path) as file:
        views = {view: file[view] for view in file.files}
    names = sorted({label for _, label in texts})
    return FeatureSet(
        name=name,
        views=views,
        labels=np.array([names.index(label) for _, label in texts], np.int64),
        groups=[f"{name}-{place:05d}" for place in range(len(texts))],
        shots=shots,
        images=(),
        activations=path,
    )


def _values(
    found: Mapping[Precision, Sequence[tuple[float, float]]], precisions: Sequence[Precision], place: int
) -> list[str]:
    columns = [100 * np.array([outcome[place] for outcome in found[each]]) for each in precisions]
    difference = columns[-1] - columns[0]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else float("nan")
    return [*(f"{column.mean():.1f}" for column in columns), f"{difference.mean():+.1f} ± {error:.1f}"]
