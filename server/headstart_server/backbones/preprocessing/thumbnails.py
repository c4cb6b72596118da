"""Thumbnails of examples."""

import io
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.contract.backbone import Content
from headstart_server.backbones.preprocessing.image_files import check_size
from headstart_server.backbones.preprocessing.jpeg import JpegHeader
from headstart_server.backbones.preprocessing.loaded_image import load_image, turn_upright
from headstart_server.backbones.preprocessing.pixels import is_pixels

#: Longer side of a thumbnail in a report, in pixels.
SIDE = 96
_QUALITY = 80
#: Modes in which Pillow can average pixels.
_REDUCIBLE = ("L", "LA", "RGB", "RGBA")


def thumbnail(content: Content, *, max_pixels: int, side: int = SIDE) -> bytes | None:
    """Return a file or pixels as a small upright JPEG file; None for other content."""
    try:
        if isinstance(content, bytes):
            image = _from_file(content, max_pixels, side)
        elif is_pixels(content):
            image = _from_pixels(content, max_pixels, side)
        else:
            return None
    except MemoryError:
        raise
    # As in `ImageDecoder`: Pillow raises nearly any exception on damaged bytes. An image was
    # decoded before it was trained on, so this error is not reported.
    except Exception:  # noqa: BLE001
        return None
    return _jpeg(image)


def _from_file(content: bytes, max_pixels: int, side: int) -> Image.Image:
    loaded = load_image(content, max_pixels=max_pixels, scale_of=partial(_scale, side))
    pixels = loaded.pixels
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    return turn_upright(_small(image, side), loaded.exif)


def _from_pixels(pixels: NDArray[np.uint8], max_pixels: int, side: int) -> Image.Image:
    check_size((pixels.shape[1], pixels.shape[0]), max_pixels=max_pixels)
    return _small(Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels), side)


def _small(image: Image.Image, side: int) -> Image.Image:
    small = _over_white(_reduced(image, side))
    small.thumbnail((side, side))
    return small


def _scale(side: int, header: JpegHeader) -> int:
    """Return the smallest fraction that leaves at least twice the needed side."""
    return next((scale for scale in (8, 4, 2) if max(header.scaled(scale)) >= 2 * side), 1)


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """Return an image with at least four times the side, because a copy of a large one takes much memory."""
    factor = max(image.size) // (4 * side)
    return image.reduce(factor) if factor > 1 and image.mode in _REDUCIBLE else image


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # gray of 16 bits, whose upper half is what can be seen
        values = np.clip(np.asarray(image), 0, 0xFFFF) >> 8
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    shown = image.convert("RGBA")
    canvas = Image.new("RGB", shown.size, "white")
    canvas.paste(shown, mask=shown)
    return canvas


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
