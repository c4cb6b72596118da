"""Loading of image files for training, prediction and reports; the only module that calls decoders."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.preprocessing.image_files import check_jpeg_parts, check_size, open_image
from headstart_server.backbones.preprocessing.jpeg import JpegHeader, decode_jpeg, read_jpeg_header

_ORIENTATION = 0x0112

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_upright(image: Image.Image, exif: object) -> Image.Image:
    """Rotate and mirror an image by its EXIF orientation; `exif` is ignored unless it is bytes."""
    transposition = transposition_of(exif)
    return image if transposition is None else image.transpose(transposition)


def transposition_of(exif: object) -> Image.Transpose | None:
    """Return the transposition that makes an image upright; None if it is upright; see `turn_upright`."""
    return _TRANSPOSITIONS.get(_orientation(exif)) if isinstance(exif, bytes) else None


def _orientation(exif: bytes) -> int:
    """Return the orientation tag, 1 (upright) to 8 or an invalid value; 1 if missing.

    Read only this tag, from the first directory of the embedded TIFF header (CIPA DC-008, section 4.6.4).
    Pillow would parse all directories, and warn about faults in them.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, orientation = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return int(orientation)
    except struct.error:
        pass
    return 1


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """Pixels of an image file."""

    # Pillow image in any mode, or uint8 [height, width, 3] (RGB) or [height, width] (gray)
    pixels: Image.Image | NDArray[np.uint8]
    exif: object  # data of its EXIF segment, or None


def load_image(data: bytes, *, max_pixels: int, scale_of: Callable[[JpegHeader], int]) -> LoadedImage:
    """Decode an image file.

    Only an ordinary JPEG is decoded at a fraction of its size: for a fraction of another kind, such as a
    lossless JPEG, a decoder may write past its memory.

    Args:
        data: the bytes of a JPEG, PNG, WebP, GIF (its first frame) or BMP file.
        scale_of: returns 1, 2, 4 or 8 for a JPEG that may be decoded at that fraction of its size.

    Raises:
        UndecodableInput: the bytes are not an image in one of these formats, or it has too many parts.
        MemoryError: the server lacks memory for an image of an allowed size.
        Exception: any other error of Pillow for damaged bytes, such as struct.error.
    """
    header = read_jpeg_header(data)
    if header is None:
        image = open_image(data, max_pixels=max_pixels)
        image.load()
        return LoadedImage(image, image.info.get("exif"))
    check_jpeg_parts(data)
    check_size((header.width, header.height), max_pixels=max_pixels)
    scale = scale_of(header)
    pixels = decode_jpeg(data, header, scale)
    if pixels is not None:
        return LoadedImage(pixels, header.exif)
    image = open_image(data, max_pixels=max_pixels)
    image.draft(None, (header.width // scale, header.height // scale))
    image.load()
    return LoadedImage(image, header.exif)
