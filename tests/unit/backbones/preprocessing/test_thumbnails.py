import io
import time

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from headstart_server.backbones.preprocessing.thumbnails import SIDE, thumbnail
from pathological_images import comments, empty_chunks, fill_bytes, lossless, png, scans, small_segments

MAX_PIXELS = 1_000_000


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def small(content) -> Image.Image:
    made = thumbnail(content, max_pixels=MAX_PIXELS)
    assert made is not None
    return Image.open(io.BytesIO(made))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_image_is_made_small_and_keeps_its_shape(kind):
    made = small(encoded(Image.new("RGB", (640, 320), "red"), kind))

    assert (made.format, made.size) == ("JPEG", (SIDE, SIDE // 2))


def test_a_large_image_keeps_its_shape_and_colors() -> None:
    image = Image.new("RGB", (1600, 600), "red")
    image.paste("blue", (800, 0, 1600, 600))
    made = small(encoded(image, "PNG"))
    assert made.size == (SIDE, SIDE * 6 // 16)
    left, right = np.asarray(made)[:, 10].mean(axis=0), np.asarray(made)[:, -10].mean(axis=0)
    assert left[0] > 240 > 20 > left[2]
    assert right[2] > 240 > 20 > right[0]


def test_a_small_image_stays_as_it_is():
    assert small(encoded(Image.new("RGB", (8, 8), "red"), "PNG")).size == (8, 8)


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 200), ("P", 3), ("1", 1), ("CMYK", (0, 0, 0, 0)), ("I;16", 9)]
)
def test_an_image_of_any_colours_can_be_shown(mode, colour):
    kind = "JPEG" if mode == "CMYK" else "PNG"

    assert small(encoded(Image.new(mode, (200, 100), colour), kind)).mode == "RGB"


@pytest.mark.parametrize("side", [20, 997])
def test_what_is_transparent_is_white(side: int) -> None:
    made = small(encoded(Image.new("RGBA", (side, side), (255, 0, 0, 0)), "PNG"))

    assert min(np.asarray(made).min(axis=(0, 1))) > 250


def test_an_image_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    made = small(encoded(Image.new("RGB", (400, 200), "red"), "JPEG", exif=exif.tobytes()))

    assert made.size == (SIDE // 2, SIDE)


@pytest.mark.parametrize("shape", [(300, 150), (300, 150, 1), (300, 150, 3), (300, 150, 4)])
def test_an_array_of_pixels_is_an_image(shape):
    assert small(np.full(shape, 99, np.uint8)).size == (SIDE // 2, SIDE)


def test_what_is_transparent_in_an_array_is_white() -> None:
    assert np.asarray(small(np.zeros((40, 40, 4), np.uint8))).min() > 250


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        b"\x89PNG\r\n\x1a\n broken",
        "a text",
        np.zeros(5, np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((2000, 2000), np.uint8),
        encoded(Image.new("L", (2000, 2000)), "PNG"),
        encoded(Image.new("RGB", (90, 90)), "JPEG")[:200],
    ],
    ids=range(10),
)
def test_what_cannot_be_shown_is_left_out(content):
    assert thumbnail(content, max_pixels=MAX_PIXELS) is None


def test_a_lossless_jpeg_is_never_decoded_at_a_fraction_of_its_size(monkeypatch):
    """Decoders before libjpeg-turbo 3.2 write such a fraction past their memory."""
    drafted = []
    monkeypatch.setattr(JpegImageFile, "draft", lambda _, *size: drafted.append(size))
    for content in (lossless(600, 800), encoded(Image.new("CMYK", (600, 800)), "JPEG")):
        thumbnail(content, max_pixels=MAX_PIXELS)

    assert len(drafted) == 1, "the ordinary JPEG of four colors is drafted, the lossless one is not"


@pytest.mark.parametrize("make", [lossless, lambda *size: encoded(Image.new("RGB", size[::-1]), "JPEG")])
def test_a_jpeg_of_any_kind_is_made_small(make):
    assert small(make(600, 800)).size == (SIDE, SIDE * 3 // 4)


@pytest.mark.parametrize(
    "content",
    [fill_bytes(), scans(200), small_segments(), empty_chunks(), png(side=8000), comments()],
    ids=["fill bytes", "scans", "segments", "chunks", "no pixels", "comments"],
)
def test_files_made_to_cost_much_are_left_out_in_no_time(content):
    began = time.process_time()

    assert thumbnail(content, max_pixels=64_000_000) is None
    assert time.process_time() - began < 5.0
