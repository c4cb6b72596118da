"""What the EXIF of a picture says of how its camera was held."""

import struct

from PIL import Image

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


def turn_upright(picture: Image.Image, exif: object) -> Image.Image:
    """Turn and mirror a picture as its EXIF asks for.

    Args:
        picture: as it was stored.
        exif: the EXIF of its file, with or without the leading `Exif`; what is no bytes asks for nothing.
    """
    transposition = _TRANSPOSITIONS.get(_orientation(exif)) if isinstance(exif, bytes) else None
    return picture if transposition is None else picture.transpose(transposition)


def _orientation(exif: bytes) -> int:
    """How a camera was held, 1 (upright) to 8, or whatever else is written there; 1 where nothing is.

    Reads the one tag from the first directory of the embedded TIFF header (CIPA DC-008, section 4.6.4).
    Pillow would parse all directories, and warn of faults in them.
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
