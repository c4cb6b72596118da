"""Decoding of images: formats, modes, orientations, and everything that is no image."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart_server.backbones.preprocessing import loaded_image
from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.errors import InputTooLarge, UndecodableInput, WrongModality
from scenes import difference, encode, memory_of_decoding, scene

SIDE = 32
DECODER = ImageDecoder(SIDE)
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP"]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1000, 0, 0, 54) + info + bytes(1000)


def gif(width: int, height: int, frame: tuple[int, int] = (1, 1), *, extension: bytes = b"") -> bytes:
    image = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + extension + image + b";"


def jpeg(width: int, height: int) -> bytes:
    whole = encode(Image.new("RGB", (16, 16)), "JPEG")
    start = whole.index(b"\xff\xc0") + 5
    return whole[:start] + struct.pack(">HH", height, width) + whole[start + 4 :]


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_extended(width: int, height: int) -> bytes:
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return riff(
        b"VP8X" + struct.pack("<I", 10) + bytes(4) + sides, b"VP8L" + struct.pack("<I", 100) + bytes(100)
    )


def webp_lossy(width: int, height: int) -> bytes:
    return riff(
        b"VP8 "
        + struct.pack("<I", 100)
        + b"\x10\0\0\x9d\x01\x2a"
        + struct.pack("<HH", width, height)
        + bytes(90)
    )


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return riff(b"VP8L" + struct.pack("<I", 100) + b"\x2f" + struct.pack("<I", bits) + bytes(95))


BOMBS = {
    "png": png(50_000, 50_000),
    "bmp": bmp(50_000, 50_000),
    "bmp-upside-down": bmp(50_000, -50_000),
    "gif": gif(50_000, 50_000),
    "gif-frame": gif(1, 1, (60_000, 60_000)),
    "gif-frame-after-comment": gif(1, 1, (60_000, 60_000), extension=b"!\xfe\x02hi\x00"),
    "gif-frame-below-pillows-own-limit": gif(1, 1, (10_000, 10_000)),
    "jpeg": jpeg(50_000, 50_000),
    "webp-extended": webp_extended(16_384, 16_384),
    "webp-lossy": webp_lossy(16_383, 16_383),
    "webp-lossless": webp_lossless(16_384, 16_384),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_square(kind: str) -> None:
    expected = DECODER.decode(scene())
    row = DECODER.decode(encode(Image.fromarray(scene()), kind))
    assert row.shape == (SIDE, SIDE, 3)
    assert row.dtype == np.uint8
    assert difference(row, expected) < 8


def test_the_centre_of_the_shorter_side_is_kept() -> None:
    row = DECODER.decode(scene(height=320, width=640)).astype(float)
    # 0.875 of 320 is 280: rows 20 to 300 and columns 180 to 460 of the original.
    np.testing.assert_allclose(row[0, 0, :2], [255 * 184 / 640, 255 * 24 / 320], atol=3)
    np.testing.assert_allclose(row[-1, -1, :2], [255 * 456 / 640, 255 * 296 / 320], atol=3)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("JPEG", mode) for mode in ("L", "RGB", "CMYK", "YCbCr")],
        *[("PNG", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16")],
        *[("WEBP", mode) for mode in ("RGB", "RGBA")],
        *[("GIF", mode) for mode in ("1", "L", "P", "RGBA")],
        *[("BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")],
    ],
)
def test_every_mode_a_format_can_hold_is_decoded(kind: str, mode: str) -> None:
    colours = Image.fromarray(scene())
    image = (
        Image.fromarray(np.asarray(colours.convert("L")).astype(np.uint16) << 8)
        if mode == "I;16"
        else colours.convert(mode)
    )
    grey = mode in ("1", "L", "LA", "I;16")
    expected = DECODER.decode(np.asarray(colours.convert("L")) if grey else np.asarray(colours))
    assert difference(DECODER.decode(encode(image, kind)), expected) < (60 if mode == "1" else 12)


def test_sixteen_bit_grey_keeps_its_high_byte() -> None:
    grey = np.full((40, 40), 0x80FF, np.uint16)
    assert (DECODER.decode(encode(Image.fromarray(grey))) == 0x80).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_transparent_pixels_are_white(kind: str) -> None:
    transparent = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    assert (DECODER.decode(encode(transparent, kind)) == 255).all()


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 128))
    np.testing.assert_allclose(DECODER.decode(encode(half)), 127, atol=1)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (7, 8, 9)), ("P", 0)])
def test_a_colour_declared_transparent_is_white(mode: str, colour: object) -> None:
    image = Image.new(mode, (40, 40), colour)
    assert (DECODER.decode(encode(image, transparency=colour)) == 255).all()


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(DECODER.decode(data)[0, 0], [255, 0, 0], atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_a_camera_recorded_is_honoured(kind: str, orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = orientation
    exif[0x010F] = "camera"
    image = Image.fromarray(scene())
    data = encode(image, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert difference(DECODER.decode(data), DECODER.decode(upright)) < 2


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
    ],
)
def test_damaged_exif_leaves_the_image_as_it_is(exif: bytes) -> None:
    image = Image.fromarray(scene())
    with warnings.catch_warnings(record=True) as caught:
        row = DECODER.decode(encode(image, "JPEG", exif=exif))
    np.testing.assert_array_equal(row, DECODER.decode(encode(image, "JPEG")))
    assert not caught


def test_a_large_photograph_is_decoded_scaled_with_nearly_the_same_pixels() -> None:
    large = Image.fromarray(scene(height=1500, width=2000))
    assert (
        difference(DECODER.decode(encode(large, "JPEG", quality=95)), DECODER.decode(np.asarray(large))) < 2
    )


@pytest.mark.parametrize(
    "shape", [(50, 40, 3), (50, 40, 1), (50, 40), (1, 1), (3, 3), (4, 4), (3, 4), (1, 3), (5, 3, 1)]
)
def test_pixels_are_taken_as_an_array(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 77, np.uint8)
    assert (DECODER.decode(pixels) == 77).all()


def test_pixels_with_alpha_are_laid_over_white_like_those_of_a_file() -> None:
    pixels = np.full((4, 6, 4), 77, np.uint8)
    pixels[..., 3] = 100
    file = encode(Image.fromarray(pixels))
    np.testing.assert_array_equal(DECODER.decode(pixels), DECODER.decode(file))


def test_pixels_that_are_floats_are_refused_with_the_remedy() -> None:
    with pytest.raises(WrongModality, match="Scale floats from 0 to 1 by 255, and convert them to uint8"):
        DECODER.decode(np.zeros((4, 4, 3), np.float32))


def test_pixels_may_be_a_view_with_strides() -> None:
    flipped = scene()[:, ::-1]
    np.testing.assert_array_equal(DECODER.decode(flipped), DECODER.decode(flipped.copy()))


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(784, np.uint8),
        np.zeros((), np.uint8),
        "a text",
    ],
)
def test_content_that_is_no_image_is_of_the_wrong_modality(content: NDArray[np.generic] | str) -> None:
    with pytest.raises(WrongModality, match=r"Expected .* Received: "):
        DECODER.decode(content)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0), (0, 0, 1)])
def test_an_array_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UndecodableInput, match="with pixels"):
        DECODER.decode(np.zeros(shape, np.uint8))


def test_bytes_in_no_known_format_are_refused_with_their_beginning() -> None:
    with pytest.raises(UndecodableInput, match=r"Received: 12 bytes beginning with b'hello, world'\."):
        DECODER.decode(b"hello, world")
    with pytest.raises(UndecodableInput, match="no bytes"):
        DECODER.decode(b"")


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA", "PDF"])
def test_formats_beyond_the_five_are_refused(kind: str) -> None:
    with pytest.raises(UndecodableInput, match="JPEG, PNG, WebP, GIF or BMP"):
        DECODER.decode(encode(Image.fromarray(scene()), kind))


def test_a_truncated_jpeg_is_refused_with_its_reason() -> None:
    data = encode(Image.fromarray(scene(600, 800)), "JPEG")
    with pytest.raises(UndecodableInput, match=r"complete, readable image\. Received: .*truncated"):
        DECODER.decode(data[: len(data) // 2])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(UndecodableInput, match="Received: "):
        DECODER.decode(data[: int(len(data) * part)])


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_of_too_many_pixels_is_refused(name: str) -> None:
    with pytest.raises(InputTooLarge, match=r"at most 64,000,000 pixels\. Received: ") as refused:
        DECODER.decode(BOMBS[name])
    assert refused.value.metadata["max_pixels"] == "64000000"


def test_refusing_an_image_takes_little_memory() -> None:
    for name, bomb in BOMBS.items():
        assert memory_of_decoding(bomb) < 4 << 20, name


def test_the_limit_is_the_servers_to_choose() -> None:
    data = encode(Image.fromarray(scene(height=10, width=10)))
    assert ImageDecoder(SIDE, max_pixels=100).decode(data).shape == (SIDE, SIDE, 3)
    for content in (data, scene(height=10, width=10)):
        with pytest.raises(InputTooLarge):
            ImageDecoder(SIDE, max_pixels=99).decode(content)


def test_a_limit_above_pillows_own_warns_of_nothing() -> None:
    large = encode(Image.new("L", (9500, 9500)), compress_level=1)
    with warnings.catch_warnings(record=True) as caught:
        ImageDecoder(SIDE, max_pixels=100_000_000).decode(large)
    assert not caught


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_the_thinnest_images_are_decoded(kind: str, size: tuple[int, int]) -> None:
    row = DECODER.decode(encode(Image.new("RGB", size, (0, 128, 0)), kind))
    np.testing.assert_allclose(row[SIDE // 2, SIDE // 2], [0, 128, 0], atol=3)


@pytest.mark.parametrize("data", [png(0, 5), bmp(0, 5), gif(0, 0, (0, 0)), jpeg(0, 5), webp_lossy(0, 0)])
def test_a_file_without_pixels_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableInput):
        DECODER.decode(data)


def test_many_threads_get_the_same_pixels() -> None:
    images = [encode(Image.fromarray(scene()), kind) for kind in FORMATS] * 20
    expected = [DECODER.decode(data) for data in images]
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(DECODER.decode, images))
    assert all(np.array_equal(one, other) for one, other in zip(rows, expected, strict=True))


SEEDS = [encode(Image.fromarray(scene(20, 30)), kind) for kind in FORMATS] + [
    encode(Image.fromarray(scene(20, 30)).convert(mode), kind)
    for kind, mode in [
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("WEBP", "RGBA"),
        ("JPEG", "CMYK"),
        ("BMP", "P"),
        ("BMP", "1"),
    ]
]
SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"GIF89a", b"BM"]


def assert_decoded_or_refused(data: bytes) -> None:
    try:
        row = ImageDecoder(SIDE, max_pixels=1_000_000).decode(data)
    except (UndecodableInput, InputTooLarge):
        return
    assert row.shape == (SIDE, SIDE, 3)


@settings(max_examples=600, deadline=None)
@given(
    data=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_damaged_files_are_decoded_or_refused(data: bytes, edits: list[tuple[int, bytes]]) -> None:
    for position, replacement in edits:
        start = position % min(len(data), 200) if position % 2 else position % len(data)
        data = data[:start] + replacement + data[start + len(replacement) :]
    assert_decoded_or_refused(data)


@settings(max_examples=300, deadline=None)
@given(signature=st.sampled_from([b"", *SIGNATURES]), garbage=st.binary(max_size=200))
def test_garbage_is_refused(signature: bytes, garbage: bytes) -> None:
    assert_decoded_or_refused(signature + garbage)


def lack_memory(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("kind", FORMATS)
def test_a_lack_of_memory_is_no_fault_of_an_image_of_an_allowed_size(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Image.fromarray(scene()), kind)
    for opened in (ImageFile, WebPImageFile):
        monkeypatch.setattr(opened, "load", lack_memory)
    # Most JPEGs are decoded by another library.
    monkeypatch.setattr(loaded_image, "decode_jpeg", lack_memory)
    with pytest.raises(MemoryError):
        DECODER.decode(data)
    with pytest.raises(MemoryError):
        thumbnail(data, max_pixels=10_000)


def test_a_header_that_demands_too_much_memory_is_a_fault_of_the_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PngImageFile, "_open", lack_memory)
    with pytest.raises(UndecodableInput, match="readable header"):
        DECODER.decode(png(1, 1))
