"""Bicubic scaling of RGB pixels with vector instructions, in a fifth of Pillow's time.

It scales first the columns and then the rows in fixed point, as Pillow mostly does. Few values differ from
those of Pillow, by one or two of 255 levels. Where Pillow scales the rows of a tall image first, dithered
pixels differ by up to ten. Systems without the package use Pillow.
"""

import numpy as np
from numpy.typing import NDArray

try:
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
    from cykooz_resizer.structs import CropBox
except ImportError:
    IS_FAST = False
else:
    IS_FAST = True

#: Most pixels of an image that is scaled here: other threads of Python wait for a millisecond meanwhile.
MAX_PIXELS = 640 * 640


def scale_bicubic(pixels: NDArray[np.uint8], box: tuple[float, float, float], side: int) -> NDArray[np.uint8]:
    """Scale a square of an image. Requires `IS_FAST`.

    Args:
        pixels: uint8 [height, width, 3], at most `MAX_PIXELS`.
        box: left, top and side of the square within the image, in pixels.
        side: side of the result.

    Returns:
        uint8 [side, side, 3].
    """
    height, width = pixels.shape[:2]
    left, top, kept = box
    image = ImageData(width, height, PixelType.U8x3, pixels.tobytes())
    image = _scaled(image, (side, height), (left, 0.0, kept, float(height)))
    image = _scaled(image, (side, side), (0.0, top, float(side), kept))
    return np.frombuffer(image.get_buffer(), np.uint8).reshape(side, side, 3)


def _scaled(image: "ImageData", size: tuple[int, int], box: tuple[float, float, float, float]) -> "ImageData":
    scaled = ImageData(*size, PixelType.U8x3)
    options = ResizeOptions(
        # Catmull and Rom's is the filter that Pillow calls bicubic.
        resize_alg=ResizeAlg.convolution(FilterType.catmull_rom),
        crop_box=CropBox(*box),
        use_alpha=False,
    )
    Resizer().resize(image, scaled, options)
    return scaled
