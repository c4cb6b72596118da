"""Rounds of review against rounds of random inputs: which labels teach a model more?"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from docstrings import sentences
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone, Content, Modality
from headstart_server.backbones.contract.runtimes import RuntimeSettings, default_cache
from headstart_server.capture.predicted import directions_bytes, directions_of, margins_of
from headstart_server.capture.ranking import Candidates, rank
from headstart_server.capture.review_ranking import NEAR
from headstart_server.learning.analysis.typicality import fit_typicality_model
from headstart_server.learning.examples.target import Targets
from headstart_server.learning.features.feature_matrix import Float32, Ints
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto
from loop.measurement import Options, Result
from reviews import VERDICTS, reviews
from sample_images import digits

#: Labeled examples of each class at the beginning, rounds, and inputs that each round labels.
START, ROUNDS, LABELED = 5, 5, 20
#: Inputs that are captured; all others measure the accuracy.
CAPTURED = 800
SEEDS, QUICK_SEEDS = 10, 3
#: Datasets on which the gain must exceed its standard error.
_TARGET_SETS = 2
_BATCH = 32
_CACHE = Path(__file__).parents[3] / ".cache" / "loop"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabeledSet:
    """Labeled inputs with their features.

    Attributes:
        name: the name in the table.
        modality: the kind of input.
        views: features [N, D of the view] by view.
        labels: class index of each input, [N].
    """

    name: str
    modality: Modality
    views: dict[str, Float32]
    labels: Ints

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [f"class {index}" for index in range(int(self.labels.max()) + 1)]


def measure(options: Options) -> Result:
    """Measure the gain of reviewed inputs over random ones on each dataset."""
    seeds = range(QUICK_SEEDS if options.quick else SEEDS)
    values, better = [], 0
    for each in (image_set(), sentence_set(), text_set()):
        gains = np.array([_gain(each, seed) for seed in seeds])
        error = float(gains[:, 2].std(ddof=1) / np.sqrt(len(gains)))
        reviewed, random, gain = gains.mean(axis=0)
        values.append(
            f"{each.name} {100 * reviewed:.1f} % against {100 * random:.1f} %: "
            f"{100 * gain:+.2f} ± {100 * error:.2f} points"
        )
        better += int(gain > error)
    return Result(value="; ".join(values), met=better >= _TARGET_SETS)


def image_set() -> LabeledSet:
    """Return handwritten digits with features of the default backbone."""
    images = digits()
    names = sorted({image.label for image in images})
    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load()
    labels = np.array([names.index(image.label) for image in images])
    views = _features("digits", backbone, [image.png for image in images])
    return LabeledSet(name="digits", modality=Modality.IMAGE, views=views, labels=labels)


def text_set() -> LabeledSet:
    """Return sentences of film reviews with features of the text backbone."""
    texts = list({review.text: review for review in reviews()}.values())
    names = sorted(VERDICTS.values())
    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load("all-minilm-l6-v2")
    labels = np.array([names.index(review.label) for review in texts])
    views = _features("reviews", backbone, [review.text for review in texts])
    return LabeledSet(name="reviews", modality=Modality.TEXT, views=views, labels=labels)


def sentence_set() -> LabeledSet:
    """Return sentences of docstrings with features of the text backbone."""
    texts = sentences()
    names = sorted({sentence.label for sentence in texts})
    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load("all-minilm-l6-v2")
    labels = np.array([names.index(sentence.label) for sentence in texts])
    views = _features("docstrings", backbone, [sentence.text for sentence in texts])
    return LabeledSet(name="docstrings", modality=Modality.TEXT, views=views, labels=labels)


def _gain(data: LabeledSet, seed: int) -> tuple[float, float, float]:
    """Return the accuracy after the rounds with reviewed inputs and with random ones, and the difference."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.labels))
    start = np.concatenate([order[data.labels[order] == index][:START] for index in np.unique(data.labels)])
    others = order[~np.isin(order, start)]
    captured, measured = others[:CAPTURED], others[CAPTURED:]
    reviewed = _accuracy(data, _reviewed(data, start, captured), measured)
    random = _accuracy(data, np.concatenate([start, captured[: ROUNDS * LABELED]]), measured)
    return reviewed, random, reviewed - random


def _reviewed(data: LabeledSet, start: Ints, captured: Ints) -> Ints:
    """Return the examples after the rounds of review."""
    examples = start
    for _ in range(ROUNDS):
        left = captured[~np.isin(captured, examples)]
        fitted = _fitted(data, examples)
        ranked = rank(_candidates(data, fitted, examples, left), LABELED)
        examples = np.concatenate([examples, left[[each.index for each in ranked]]])
    return examples


def _candidates(data: LabeledSet, fitted: FittedHead, examples: Ints, left: Ints) -> Candidates:
    views = {name: rows[left] for name, rows in data.views.items()}
    names = sorted(views)
    outputs = fitted.head.outputs(views)
    digests = [f"{place}" for place in examples.tolist()]
    model = fit_typicality_model(
        {name: rows[examples] for name, rows in data.views.items()},
        names,
        digests,
        digests,
        modality=data.modality,
    )
    typicality = np.full(len(left), np.nan) if model is None else model.typicality(views)
    directions = directions_of(directions_bytes(views, names))
    return Candidates(
        rows=directions if model is None else model.references.prepared(views),
        labeled=directions[:0] if model is None else model.references.exact().astype(np.float32),
        directions=directions,
        near=NEAR,
        margins=margins_of(fitted.head, outputs),
        typicality=typicality.astype(np.float64),
        disagrees=np.zeros(len(left), np.bool_),
        rare=np.zeros(len(left), np.bool_),
    )


def _fitted(data: LabeledSet, examples: Ints) -> FittedHead:
    return fit(
        Auto(),
        {name: rows[examples] for name, rows in data.views.items()},
        Targets.of_labels(data.labels[examples], data.class_names),
        [f"{place}" for place in examples.tolist()],
        seed=0,
        modality=data.modality,
    )


def _accuracy(data: LabeledSet, examples: Ints, measured: Ints) -> float:
    head = _fitted(data, examples).head
    outputs = head.outputs({name: rows[measured] for name, rows in data.views.items()})
    return float((outputs.argmax(axis=1) == data.labels[measured]).mean())


def _features(name: str, backbone: Backbone, contents: list[Content]) -> dict[str, Float32]:
    """Return features by view; they are computed once."""
    key = sha256(f"{backbone.digest} {backbone.runtime}".encode())
    for content in contents:
        key.update(content if isinstance(content, bytes) else str(content).encode())
    path = _CACHE / f"{name}-{key.hexdigest()[:16]}.npz"
    if not path.exists():
        parts: dict[str, list[NDArray[np.float32]]] = {}
        for rows in _runs(backbone, contents):
            for view, values in backbone.run(rows).items():
                parts.setdefault(view, []).append(np.array(values))
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **{view: np.concatenate(rows) for view, rows in parts.items()})
    with np.load(path) as file:
        return {view: file[view] for view in backbone.info.views}


def _runs(backbone: Backbone, contents: list[Content]) -> Iterator[NDArray[np.generic]]:
    """Yield decoded contents in batches; rows of different shapes, as texts give, one by one."""
    for start in range(0, len(contents), _BATCH):
        rows = [backbone.decode(content) for content in contents[start : start + _BATCH]]
        if len({row.shape for row in rows}) == 1:
            yield np.stack(rows)
        else:
            yield from (row[None] for row in rows)
