"""Loading of image files for training, prediction and reports: the only caller of decoders."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.preprocessing.image_files import check_size, open_picture
from headstart_server.backbones.preprocessing.image_parts import check_jpeg_parts
from headstart_server.backbones.preprocessing.jpeg import JpegHeader, decode_jpeg, read_jpeg_header


@dataclass(frozen=True, slots=True)
class LoadedPicture:
    """Pixels of an image file.

    Attributes:
        pixels: Pillow image in any mode, or uint8 [height, width, 3] (RGB) or [height, width] (gray).
        exif: data of its EXIF segment, or None.
    """

    pixels: Image.Image | NDArray[np.uint8]
    exif: object


def load_picture(data: bytes, *, max_pixels: int, scale_of: Callable[[JpegHeader], int]) -> LoadedPicture:
    """Decode an image file.

    Only an ordinary JPEG is decoded at a fraction of its size: for a fraction of another kind,
    such as a lossless JPEG, a decoder may write past its memory.

    Args:
        data: the bytes of a JPEG, PNG, WebP, GIF (its first frame) or BMP file.
        max_pixels: the most pixels it may have.
        scale_of: returns 1, 2, 4 or 8 for a JPEG that may be decoded at that fraction of its size.

    Raises:
        UndecodableInput: the bytes are not an image in one of these formats, or one of too many parts.
        InputTooLarge: the image has too many pixels.
        Exception: whatever Pillow raises for damaged bytes, from struct.error to MemoryError.
    """
    header = read_jpeg_header(data)
    if header is None:
        picture = open_picture(data, max_pixels=max_pixels)
        picture.load()
        return LoadedPicture(picture, picture.info.get("exif"))
    check_jpeg_parts(data)
    check_size((header.width, header.height), max_pixels=max_pixels)
    scale = scale_of(header)
    pixels = decode_jpeg(data, header, scale)
    if pixels is not None:
        return LoadedPicture(pixels, header.exif)
    picture = open_picture(data, max_pixels=max_pixels)
    picture.draft(None, (header.width // scale, header.height // scale))
    picture.load()
    return LoadedPicture(picture, header.exif)
