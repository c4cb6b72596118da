"""Images with a covered part, and maps overlaid on an image."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Float32 = NDArray[np.float32]

#: Standard deviation of the blur of a covered part, as a fraction of the longer side.
_BLUR = 0.1
#: Minimum shorter side of an overlay, in pixels.
_OVERLAY_SIDE = 448
#: Colors for and against the prediction, and the opacity of the largest value.
_FOR, _AGAINST, _STRONGEST = (255, 96, 0), (0, 92, 255), 0.75
#: Remaining color and contrast of the image, so that the map stands out.
_SATURATION, _CONTRAST = 0.25, 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Overlapping parts of an image, row by row."""

    rows: int = 7  # parts from top to bottom
    columns: int = 7  # parts from left to right
    reach: float = 3.0  # side of a part in cells of the grid: with 3 it covers its cell and the adjacent ones

    def __len__(self) -> int:
        return self.rows * self.columns

    def part(self, index: int, height: int, width: int) -> tuple[slice, slice]:
        """Return the pixels of a part by its index."""
        row, column = divmod(index, self.columns)
        return self._span(row, self.rows, height), self._span(column, self.columns, width)

    def _span(self, index: int, count: int, size: int) -> slice:
        center, half = (index + 0.5) * size / count, self.reach * size / count / 2
        return slice(max(round(center - half), 0), min(round(center + half), size))


def covered(image: Pixels, grid: Grid) -> Iterator[Pixels]:
    """Return copies of an image, uint8 [height, width, 3], each with one part of a grid blurred.

    A blur removes content but keeps color and light, so that the part has no visible edge, unlike a gray
    square.
    """
    height, width = image.shape[:2]
    blur = ImageFilter.GaussianBlur(_BLUR * max(height, width))
    blurred = np.asarray(Image.fromarray(image).filter(blur))
    for place in range(len(grid)):
        part = grid.part(place, height, width)
        row = image.copy()
        row[part] = blurred[part]
        yield row


def overlay(image: Pixels, values: Float32) -> bytes:
    """Return an image overlaid with a map, as PNG.

    Args:
        image: uint8 [height, width, 3].
        values: map over the whole image, [rows, columns]; positive values become orange, negative ones blue,
            the largest of either most opaque.
    """
    height, width = image.shape[:2]
    factor = max(1, -(-_OVERLAY_SIDE // min(height, width)))
    size = width * factor, height * factor
    base = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), np.float32)
    gray = base @ np.array([0.299, 0.587, 0.114], np.float32)
    base = gray[..., None] + _SATURATION * (base - gray[..., None])
    base = 255 - _CONTRAST * (255 - base)
    largest = max(float(np.abs(values).max()), float(np.finfo(np.float32).tiny))
    scaled = Image.fromarray((values / largest).astype(np.float32))
    wide = np.clip(np.asarray(scaled.resize(size, Image.Resampling.BICUBIC)), -1, 1)[..., None]
    colors = np.where(wide > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    strength = _STRONGEST * np.abs(wide)
    mixed = base * (1 - strength) + colors * strength
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
