"""Images of more parts than any has: refused before a decoder takes its time; and all others are not."""

import io

import numpy as np
import pytest
from PIL import Image

import pathological_images as made
from headstart_server.backbones.preprocessing.image_files import (
    MAX_FILL,
    MAX_PARTS,
    MAX_SCANS,
    check_jpeg_parts,
)
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.errors import UndecodableInput

DECODER = ImageDecoder(32)


def saved(kind: str, **settings: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **settings)
    return out.getvalue()


def between(content: bytes, place: int, more: bytes) -> bytes:
    return content[:place] + more + content[place:]


GREY = made.segment(0xFE, b"c")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (made.scans(MAX_SCANS, 64), "100 scans"),
        # Of a kind that only Pillow is given.
        (made.scans(MAX_SCANS, 64).replace(b"\xff\xc2", b"\xff\xca", 1), "100 scans"),
        (between(saved("JPEG"), 2, GREY * MAX_PARTS), "segments"),
        (between(saved("JPEG"), 2, b"\xff" * (MAX_FILL + 2)), "belong to no segment"),
        (b"\xff\xd8" + b"\xff" * 10_000, "belong to no segment"),
        (between(saved("PNG"), 33, made._chunk(b"aaAa") * MAX_PARTS), "chunks"),
        (made.comments(2 * MAX_PARTS + 1000), "pieces before its first frame"),
        (made.runs(1, b"\1\1\0\1", width=1001, height=1000), "pixels in run lengths"),
        (made.runs(2, bytes(2_000_000), width=8, height=8), "bytes in run lengths"),
    ],
)
def test_too_many_parts_are_refused(content: bytes, what: str) -> None:
    with pytest.raises(UndecodableInput, match=what):
        DECODER.decode(content)


@pytest.mark.parametrize(
    "content",
    [
        made.scans(MAX_SCANS - 1, 64),
        saved("JPEG", progressive=True),
        saved("JPEG", progressive=True, subsampling=0, quality=100),
        between(saved("JPEG", progressive=True), 2, GREY * 1000),
        between(saved("JPEG"), 2, b"\xff" * 100),
        # Data behind the image is not part of it: a film, a second image.
        saved("JPEG") + b"\xff\xda\0\2" * 1000,
        saved("JPEG", progressive=True) + b"\xff\xda\0\2" * 1000,
        between(saved("PNG"), 33, made._chunk(b"aaAa") * 1000),
        saved("PNG") + made._chunk(b"aaAa") * (MAX_PARTS + 1),
        made.comments(10_000),
        made.runs(1, b"\10\1\0\0" * 8 + b"\0\1", width=8, height=8),
        saved("BMP"),
        made.tiny_frames(1000),
    ],
)
def test_images_of_many_parts_are_decoded(content: bytes) -> None:
    assert DECODER.decode(content).shape == (32, 32, 3)


def test_an_image_within_an_image_is_no_part_of_it() -> None:
    thumbnail = b"Exif\0\0" + made.scans(MAX_SCANS, 8)[:60_000]
    check_jpeg_parts(between(saved("JPEG", progressive=True), 2, made.segment(0xE1, thumbnail)))
