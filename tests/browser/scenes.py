"""Folders of images for the tests of the console."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def image(color: tuple[int, int, int], seed: int) -> bytes:
    """Return a PNG of a color with noise, which a few examples are enough to learn."""
    noise = np.random.default_rng(seed).integers(-40, 40, (48, 48, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(np.array(color) + noise, 0, 255).astype("uint8")).save(file, "PNG")
    return file.getvalue()


COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (200, 40, 40),
    "blue": (40, 60, 200),
    "green": (40, 170, 70),
    "gray": (128, 128, 128),
}


def folders(parent: Path, names: Mapping[str, str], count: int = 20) -> Path:
    """Write a folder of images for each class.

    Args:
        parent: the folder that they are in.
        names: the color of each class.
        count: images of each class.
    """
    for place, (name, color) in enumerate(names.items()):
        (parent / name).mkdir(parents=True)
        for index in range(count):
            (parent / name / f"{index}.png").write_bytes(image(COLORS[color], 100 * place + index))
    return parent


def training_images(names: Mapping[str, str], count: int = 8) -> list[tuple[str, str, bytes]]:
    """Return images with their class and ID, to train on over the API."""
    return [
        (name, f"{name}/{index}.png", image(COLORS[color], 1000 + 100 * place + index))
        for place, (name, color) in enumerate(names.items())
        for index in range(count)
    ]
