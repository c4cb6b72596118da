"""Camera orientation in the EXIF of an image."""

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
    """Rotate and mirror an image as its EXIF says.

    Args:
        picture: stored image.
        exif: EXIF of its file, with or without the leading `Exif`; anything except bytes is ignored.
    """
    transposition = _TRANSPOSITIONS.get(_orientation(exif)) if isinstance(exif, bytes) else None
    return picture if transposition is None else picture.transpose(transposition)


def _orientation(exif: bytes) -> int:
    """Return the orientation tag, 1 (upright) to 8 or an invalid value; 1 if missing.

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
