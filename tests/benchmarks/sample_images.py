"""Images that packages ship: scikit-learn's handwritten digits, and its photograph of a temple."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import sklearn.datasets
from PIL import Image


@dataclass(frozen=True, kw_only=True, slots=True)
class LabeledImage:
    """One labeled image.

    Attributes:
        png: its PNG file.
        label: its class.
        id: its name.
    """

    png: bytes
    label: str
    id: str


@cache
def digits() -> tuple[LabeledImage, ...]:
    """All 1,797 digits, each 8 x 8 with a margin, enlarged to 96 x 96 pixels."""
    data = sklearn.datasets.load_digits()
    return tuple(
        LabeledImage(png=_png(grey), label=str(label), id=f"digit-{index}")
        for index, (grey, label) in enumerate(zip(data.images, data.target, strict=True))
    )


def split(
    images: Sequence[LabeledImage], *, train: int, test: int, seed: int = 0
) -> tuple[list[LabeledImage], list[LabeledImage]]:
    """Choose images to train on and others to test on, as many of each class.

    Args:
        images: to choose from.
        train: number for each class to train on.
        test: number for each class to test on.
        seed: seeds the choice.
    """
    rng = np.random.default_rng(seed)
    chosen: tuple[list[LabeledImage], list[LabeledImage]] = ([], [])
    for label in sorted({image.label for image in images}):
        members = [image for image in images if image.label == label]
        order = rng.permutation(len(members))
        chosen[0].extend(members[place] for place in order[:train])
        chosen[1].extend(members[place] for place in order[train : train + test])
    return chosen


def photographs(count: int, size: tuple[int, int] = (640, 480), *, start: int = 0) -> list[bytes]:
    """JPEG files of a photograph, each cut a little differently so that no two are equal.

    Args:
        count: number of files.
        size: width and height in pixels.
        start: number of the first cut; files of different numbers differ.
    """
    path = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
    photograph = Image.open(path).convert("RGB")
    files = []
    for index in range(start, start + count):
        inset = 1 + index % 64
        box = (inset, index // 64, photograph.width - inset, photograph.height - index // 64)
        file = io.BytesIO()
        photograph.resize(size, Image.Resampling.BICUBIC, box=box).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _png(grey: np.ndarray) -> bytes:
    pixels = np.pad(np.uint8(np.round(grey * (255 / 16))), 2)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()
