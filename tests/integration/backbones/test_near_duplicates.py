"""Near-duplicates of real images: resized or cut a little; different parts of photographs stay apart."""

import io
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from headstart_server.backbones.catalog import Catalog
from headstart_server.learning.examples.near_duplicates import group_near_duplicates

#: Different parts of the two photographs that scikit-learn ships: left, upper and side in pixels.
PARTS = [(0, 0, 200), (210, 0, 200), (420, 0, 200), (0, 215, 200), (210, 215, 200), (420, 215, 200)]
#: The original and its copies.
_VERSIONS = 5


def _image(name: str) -> Image.Image:
    return Image.open(io.BytesIO(resources.files("sklearn.datasets.images").joinpath(name).read_bytes()))


def _again(image: Image.Image) -> list[Image.Image]:
    """The same image as JPEG of two qualities, smaller, and cut by 2 %."""
    saved = []
    for quality in (85, 60):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        saved.append(Image.open(file))
    width, height = image.size
    cut = image.crop((2, 2, width - 2, height - 2))
    return [*saved, image.resize((width * 4 // 5, height * 4 // 5)), cut]


@pytest.mark.timeout(300)
def test_resized_and_cut_images_join_their_original_and_different_images_do_not() -> None:
    backbone = Catalog().load()
    images, origins = [], []
    for label, name in enumerate(("china.jpg", "flower.jpg")):
        for left, upper, side in PARTS:
            part = _image(name).convert("RGB").crop((left, upper, left + side, upper + side))
            versions = [part, *_again(part)]
            images += versions
            origins += [(label, left, upper)] * len(versions)
    rows = np.stack([backbone.decode(np.asarray(image.convert("RGB"))) for image in images])
    features = np.concatenate([backbone.run(part)["last"] for part in np.split(rows, len(rows) // 12)])
    labels = np.array([label for label, _, _ in origins])
    groups = group_near_duplicates(features, labels, [f"{place:03d}" for place in range(len(images))])
    first, resized, cut = (groups[place::_VERSIONS] for place in (0, 3, 4))
    assert resized == first
    assert sum(group == original for group, original in zip(cut, first, strict=True)) >= 9
    of_origins = {(group, origin) for group, origin in zip(groups, origins, strict=True)}
    assert len({group for group, _ in of_origins}) == len(of_origins)
