"""Images made by arithmetic: a machine with a GPU has no package that ships photographs."""

import io
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image

#: Classes, each with a separate pattern, and different images of a class before they repeat.
CLASSES, VARIANTS = 20, 8


def jpegs(count: int, start: int = 0, size: tuple[int, int] = (640, 480)) -> Iterator[tuple[bytes, str]]:
    """Yield JPEG files with their class names; files of different numbers differ, and cost as much to decode.

    Args:
        count: number of files.
        start: number of the first.
        size: width and height in pixels.
    """
    for number in range(start, start + count):
        label = number % CLASSES
        image = _jpeg(label, number // CLASSES % VARIANTS, size)
        comment = str(number).encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        yield image[:2] + marker + image[2:], f"class-{label:02d}"


@cache
def _jpeg(label: int, variant: int, size: tuple[int, int]) -> bytes:
    """Return waves in the direction and color of a class, under noise with details of all sizes."""
    width, height = size
    rng = np.random.default_rng([label, variant])
    y, x = np.mgrid[0:height, 0:width] / height
    angle, phase = np.pi * label / CLASSES, rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * (4 + label % 5) * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    color = np.array([np.cos(label), np.cos(label + 2), np.cos(label + 4)])
    pixels = 128 + 40 * wave[..., None] * color
    for side in (8, 32, 128):
        noise = np.uint8(rng.uniform(0, 255, (side, side, 3)))
        pixels += (np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)) - 127.5) * 0.25
    pixels += rng.normal(0, 8, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(pixels, 0, 255))).save(file, "JPEG", quality=85)
    return file.getvalue()
