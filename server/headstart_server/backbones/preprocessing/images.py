"""Preprocessing of images: from a file or an array to the RGB square for a network."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.contract.backbone import Content, Truncation
from headstart_server.backbones.preprocessing.image_files import check_size, describe_bytes
from headstart_server.backbones.preprocessing.jpeg import JpegHeader
from headstart_server.backbones.preprocessing.loaded_image import load_image, transposition_of, turn_upright
from headstart_server.backbones.preprocessing.pixels import is_pixels
from headstart_server.errors import HeadstartError, UndecodableInput, WrongModality

try:
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer
    from cykooz_resizer.structs import CropBox
except ImportError:
    IS_FAST = False
else:
    IS_FAST = True

#: Maximum pixels of an image that is scaled here, during which other Python threads wait for a millisecond.
MAX_SCALED_PIXELS = 640 * 640


def scale_bicubic(pixels: NDArray[np.uint8], box: tuple[float, float, float], side: int) -> NDArray[np.uint8]:
    """Scale a square of an image. Requires `IS_FAST`.

    Args:
        pixels: uint8 [height, width, 3], at most `MAX_SCALED_PIXELS`.
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
        # Pillow's bicubic filter is Catmull and Rom's.
        resize_alg=ResizeAlg.convolution(FilterType.catmull_rom),
        crop_box=CropBox(*box),
        use_alpha=False,
    )
    Resizer().resize(image, scaled, options)
    return scaled


#: Default maximum pixels of an image: 8,000 x 8,000.
MAX_PIXELS = 64_000_000

#: Fraction of the shorter side that the center crop keeps in evaluations on ImageNet.
CROP = 0.875

#: JPEGs are decoded at the smallest of 1/1, 1/2, 1/4 and 1/8 at which the crop has this multiple of the side.
_JPEG_MARGIN = 0.9

#: A crop of at least twice this multiple of the side is first reduced by an integer factor, to at least this
#: multiple, because bicubic scaling alone would take longer than decoding.
_REDUCING_GAP = 2.0


def preprocessing(crop: float = CROP) -> str:
    """Return a description of the preprocessing that changes whenever the same content gives other pixels."""
    return (
        f"images/3: center crop {crop}, jpeg from {_JPEG_MARGIN}, bicubic with a gap of {_REDUCING_GAP}, "
        "alpha over white"
    )


class ImageDecoder:
    """Decode images for a network, in the same way for training and serving. Thread-safe.

    Args:
        side: height and width of the result, in pixels.
        crop: fraction of the shorter side that the center crop keeps.
    """

    def __init__(self, side: int, *, crop: float = CROP, max_pixels: int = MAX_PIXELS) -> None:
        self._side = side
        self._crop = crop
        self._max_pixels = max_pixels

    def decode(self, content: Content) -> NDArray[np.uint8]:
        """Decode, crop and scale one image.

        Args:
            content: bytes of a JPEG, PNG, WebP, GIF (first frame) or BMP file, or a uint8 array
                [height, width, 3] (RGB), [height, width, 4] (RGBA), [height, width, 1] or [height, width]
                (gray).

        Returns:
            RGB pixels, uint8 [side, side, 3].

        Raises:
            WrongModality: the content is neither bytes nor an array of pixels.
            UndecodableInput: the bytes are not an image, or the image is damaged.
            MemoryError: the server lacks memory for an image of an allowed size.
        """
        if isinstance(content, np.ndarray):
            return self._square(_checked(content, max_pixels=self._max_pixels))
        if not isinstance(content, bytes):
            kind = "a text" if isinstance(content, str) else type(content).__name__
            raise WrongModality(f"Expected an image: encoded bytes or pixels. Received: {kind}.")
        try:
            return self._decode_file(content)
        except (HeadstartError, MemoryError):
            raise
        # Pillow raises nearly any exception on damaged bytes: OSError, SyntaxError, struct.error,
        # ValueError, IndexError, OverflowError and more.
        except Exception as error:
            raise UndecodableInput(
                f"Expected a complete, readable image. Received: {describe_bytes(content)}, which cannot be "
                f"decoded: {error or type(error).__name__}"
            ) from error

    def decode_with_truncation(self, content: Content) -> tuple[NDArray[np.uint8], None]:
        """Return the row of `decode`, which is never truncated."""
        return self.decode(content), None

    def truncation(self, content: Content) -> Truncation | None:
        """Return None: images are never truncated."""

    def _decode_file(self, data: bytes) -> NDArray[np.uint8]:
        loaded = load_image(data, max_pixels=self._max_pixels, scale_of=self._jpeg_scale)
        pixels = loaded.pixels
        return self._square(
            pixels if isinstance(pixels, np.ndarray) else _resizable(pixels), exif=loaded.exif
        )

    def _jpeg_scale(self, header: JpegHeader) -> int:
        needed = _JPEG_MARGIN * self._side
        return next((scale for scale in (8, 4, 2) if self._crop * min(header.scaled(scale)) >= needed), 1)

    def _square(self, image: Image.Image | NDArray[np.uint8], *, exif: object = None) -> NDArray[np.uint8]:
        """Crop and scale in one pass, then rotate: the crop is central, so rotating last is equivalent."""
        if isinstance(image, np.ndarray):
            image = _central(image)
            height, width = image.shape[:2]
        else:
            width, height = image.size
        kept = self._crop * min(width, height)
        left, top = (width - kept) / 2, (height - kept) / 2
        is_reduced = kept >= 2 * _REDUCING_GAP * self._side
        if IS_FAST and not is_reduced and width * height <= MAX_SCALED_PIXELS and _is_opaque(image):
            scaled = scale_bicubic(_colors(np.asarray(image)), (left, top, kept), self._side)
            return _upright(scaled, exif)
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        square = image.resize(
            (self._side, self._side),
            Image.Resampling.BICUBIC,
            box=(left, top, left + kept, top + kept),
            reducing_gap=_REDUCING_GAP,
        )
        return np.asarray(turn_upright(_rgb(square), exif))


def _is_opaque(image: Image.Image | NDArray[np.uint8]) -> bool:
    return image.mode in {"RGB", "L"} if isinstance(image, Image.Image) else image.shape[2:] != (4,)


def _colors(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return gray pixels as RGB, so that an image has the same features in both forms."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)


def _upright(pixels: NDArray[np.uint8], exif: object) -> NDArray[np.uint8]:
    transposition = transposition_of(exif)
    return pixels if transposition is None else np.asarray(Image.fromarray(pixels).transpose(transposition))


def _checked(pixels: NDArray[np.generic], *, max_pixels: int) -> NDArray[np.uint8]:
    """Check the type and size of pixels; return them as [height, width], or [height, width, 3 or 4]."""
    if is_pixels(pixels):
        height, width = pixels.shape[:2]
        check_size((width, height), max_pixels=max_pixels)
        return pixels.reshape(height, width) if pixels.shape[2:] == (1,) else pixels
    hint = " Scale floats from 0 to 1 by 255, and convert them to uint8." if pixels.dtype.kind == "f" else ""
    raise WrongModality(
        "Expected pixels: uint8 of shape [height, width, 3], [height, width, 4], [height, width, 1] or "
        f"[height, width]. Received: {pixels.dtype} of shape {list(pixels.shape)}.{hint}"
    )


def _central(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the center square of pixels with the margin that resampling needs, without a copy."""
    height, width = pixels.shape[:2]
    top, left = max(0, height - width) // 2, max(0, width - height) // 2
    return pixels[top : height - top, left : width - left]


def _resizable(image: Image.Image) -> Image.Image:
    """Convert a loaded image to a mode whose values can be averaged: no palette, alpha as a band."""
    if image.mode.startswith("I"):
        return _gray_from_16_bits(image)
    if image.mode == "RGBA":
        # Converting would copy the image.
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "P":
        return image.convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image


def _gray_from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    return Image.fromarray((np.clip(values, 0, 0xFFFF) >> 8).astype(np.uint8))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGBA":
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image)
        return canvas
    return image if image.mode == "RGB" else image.convert("RGB")
