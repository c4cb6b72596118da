"""JPEGs of all kinds, sizes and states of damage: what their headers tell, their pixels at every scale."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from headstart_server.backbones.preprocessing.images import ImageDecoder
from headstart_server.backbones.preprocessing.jpeg import JpegHeader, decode_jpeg, read_jpeg_header
from headstart_server.errors import InputTooLarge, UndecodableInput
from pathological_images import lossless, segment
from scenes import difference, encode, memory_of_decoding, scene

SIDE = 32
DECODER = ImageDecoder(SIDE)

#: Heights that a decoder of this side decodes at 1/1, 1/2, 1/4 and 1/8; none is a multiple of 8.
HEIGHTS = {1: 61, 2: 90, 4: 201, 8: 331}

SUBSAMPLINGS = ["444", "422", "420", "440", "411"]
KINDS = ["grey", "progressive", "restarts", "rgb", "cmyk", *SUBSAMPLINGS]


def jpeg(kind: str = "420", height: int = 61, width: int = 0, **options: object) -> bytes:
    """A scene as a JPEG of one of the kinds; it is a little wider than high. Options are Pillow's."""
    pixels = scene(height, width or height + 23)
    if kind in SUBSAMPLINGS and not options:
        return simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling=kind)
    image = Image.fromarray(pixels).convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"))
    special: dict[str, dict[str, object]] = {
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_rows": 1},
        "rgb": {"keep_rgb": True},
    }
    return encode(image, "JPEG", quality=95, **special.get(kind, {}), **options)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def by_pillow(data: bytes, scale: int) -> NDArray[np.uint8]:
    with JpegImageFile(io.BytesIO(data)) as image:
        image.draft(None, (image.width // scale, image.height // scale))
        return np.asarray(image)


def edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Damaged at some places; half of them lie in the header."""
    for position, replacement in edits:
        start = position % min(len(data), 700) if position % 2 else position % len(data)
        data = data[:start] + replacement + data[start + len(replacement) :]
    return data


EDITS = st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), min_size=1, max_size=4)
DAMAGED = st.sampled_from([jpeg(kind) for kind in KINDS])


@given(
    kind=st.sampled_from(["grey", "progressive", "420", "cmyk", "rgb"]),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    orientation=st.none() | st.integers(1, 8),
    comment=st.binary(max_size=20),
    profile=st.sampled_from([None, bytes(100), bytes(70_000)]),
)
def test_the_header_is_the_one_pillow_reads(
    kind: str, size: tuple[int, int], orientation: int | None, comment: bytes, profile: bytes | None
) -> None:
    tags = {} if orientation is None else {"exif": exif(orientation)}
    data = jpeg(kind, *size, comment=comment, icc_profile=profile, **tags)
    with JpegImageFile(io.BytesIO(data)) as image:
        assert read_jpeg_header(data) == JpegHeader(
            width=image.width,
            height=image.height,
            components=len(image.getbands()),
            exif=image.info.get("exif", b""),
        )


@settings(max_examples=200)
@given(data=DAMAGED, edits=EDITS)
def test_libjpeg_sees_no_other_size_than_the_header_that_was_read(
    data: bytes, edits: list[tuple[int, bytes]]
) -> None:
    data = edited(data, edits)
    header = read_jpeg_header(data)
    if header is None:
        return
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # a damaged header, or a subsampling that it has no name for
        return
    assert (width, height) == (header.width, header.height)
    assert (colours in ("CMYK", "YCCK"), colours == "Gray") == (
        header.components == 4,
        header.components == 1,
    )


@pytest.mark.parametrize("length", [0, 2, 3, 4, 10, 20, 150, 400])
def test_a_header_truncation_is_harmless(length: int) -> None:
    assert read_jpeg_header(jpeg()[:length]) is None


@pytest.mark.parametrize("marker", [0x01, 0xC3, 0xC5, 0xC9, 0xCC, 0xD0, 0xD8, 0xD9, 0xDC, 0xFF])
def test_a_header_with_unusual_segments_is_left_to_pillow(marker: int) -> None:
    data = jpeg()
    assert read_jpeg_header(data) is not None
    assert read_jpeg_header(data[:2] + segment(marker, b"ab") + data[2:]) is None


def test_a_second_frame_is_left_to_pillow() -> None:
    data = jpeg()
    frame = data[data.index(b"\xff\xc0") :][:19]
    assert read_jpeg_header(data.replace(frame, frame + frame)) is None


@pytest.mark.parametrize("scale", HEIGHTS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cmyk"])
def test_the_pixels_are_those_pillow_decodes(kind: str, scale: int) -> None:
    data = jpeg(kind, height=150, width=211)
    header = read_jpeg_header(data)
    assert header is not None
    pixels = decode_jpeg(data, header, scale)
    assert pixels is not None
    expected = by_pillow(data, scale)
    assert pixels.shape == expected.shape
    assert difference(pixels, expected) < 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("height", HEIGHTS.values())
def test_every_kind_at_every_scale_shows_the_scene(kind: str, height: int) -> None:
    grey = kind == "grey"
    pixels = scene(height, height + 23)
    expected = DECODER.decode(np.asarray(Image.fromarray(pixels).convert("L")) if grey else pixels)
    assert difference(DECODER.decode(jpeg(kind, height)), expected) < 6


@given(size=st.tuples(st.integers(1, 400), st.integers(1, 400)), subsampling=st.sampled_from(SUBSAMPLINGS))
def test_a_jpeg_of_any_size_keeps_its_place(size: tuple[int, int], subsampling: str) -> None:
    pixels = scene(*size)
    pixels[:] = pixels.mean(axis=-1, keepdims=True)  # colours would bleed in thin images
    data = simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling=subsampling)
    assert difference(DECODER.decode(data), DECODER.decode(pixels)) < 6


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (7, 9), (1, 65_500), (65_500, 1), (40, 65_500)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_and_the_thinnest_are_decoded(kind: str, size: tuple[int, int]) -> None:
    grey = Image.new({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"), size)
    data = (
        simplejpeg.encode_jpeg(np.asarray(grey), colorsubsampling=kind)
        if kind in SUBSAMPLINGS
        else encode(grey, "JPEG", progressive=kind == "progressive", keep_rgb=kind == "rgb")
    )
    np.testing.assert_allclose(DECODER.decode(data), 255 if kind == "cmyk" else 0, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["grey", "420", "cmyk"])
@pytest.mark.parametrize("height", HEIGHTS.values())
def test_the_orientation_turns_what_is_decoded(kind: str, orientation: int, height: int) -> None:
    upright = DECODER.decode(jpeg(kind, height, optimize=True))
    turned = Image.fromarray(upright)
    turned.getexif()[0x0112] = orientation
    data = jpeg(kind, height, optimize=True, exif=exif(orientation))
    np.testing.assert_array_equal(DECODER.decode(data), np.asarray(ImageOps.exif_transpose(turned)))


def test_lossless_jpegs_are_decoded_at_their_full_size() -> None:
    assert (DECODER.decode(lossless(height=600, width=800)) == 128).all()


@pytest.mark.parametrize("scale", HEIGHTS)
def test_what_libjpeg_doubts_is_what_pillow_makes_of_it(scale: int) -> None:
    whole = jpeg(height=HEIGHTS[scale])
    middle = len(whole) * 2 // 3
    faulty = whole[:middle] + b"\xff\xd1" + whole[middle:]  # the marker of a restart that was not announced
    header = read_jpeg_header(faulty)
    assert header is not None
    assert decode_jpeg(faulty, header, scale) is None
    np.testing.assert_array_equal(DECODER.decode(faulty), DECODER.decode(by_pillow(faulty, scale)))


def test_bytes_between_the_segments_are_left_to_pillow() -> None:
    whole = jpeg()
    start = whole.index(b"\xff\xdb")
    faulty = whole[:start] + bytes(3) + whole[start:]
    assert read_jpeg_header(faulty) is None
    assert difference(DECODER.decode(faulty), DECODER.decode(whole)) < 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_jpeg_of_any_kind_is_refused(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (331, 352, 3), dtype=np.uint8)
    mode = {"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB")
    data = encode(Image.fromarray(noise).convert(mode), "JPEG", progressive=kind == "progressive")
    with pytest.raises(UndecodableInput, match="truncated"):
        DECODER.decode(data[: int(part * len(data))])


@settings(max_examples=300)
@given(
    data=DAMAGED | st.sampled_from([jpeg(height=331), lossless(90, 90)]),
    edits=EDITS,
    cut=st.none() | st.integers(0, 5000),
)
def test_a_damaged_jpeg_is_decoded_or_refused(
    data: bytes, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    data = edited(data, edits)[:cut]
    decoder = ImageDecoder(SIDE, max_pixels=1_000_000)
    try:
        row = decoder.decode(data)
    except (UndecodableInput, InputTooLarge):
        return
    assert row.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(decoder.decode(data), row)


def test_threads_get_the_same_pixels() -> None:
    files = [jpeg(kind, height) for kind in KINDS for height in HEIGHTS.values()] * 3
    expected = [DECODER.decode(data) for data in files]
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(DECODER.decode, files))
    for row, pixels in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row, pixels)


def test_a_jpeg_takes_no_more_memory_than_four_bytes_for_each_pixel_allowed() -> None:
    small = jpeg()
    place = small.index(b"\xff\xc0") + 5
    announced = small[:place] + struct.pack(">HH", 4400, 4500) + small[place + 4 :]
    narrow = encode(Image.new("RGB", (50_000, 400)), "JPEG")
    slack, allowed = 8 << 20, 20_000_000
    assert memory_of_decoding(announced, max_pixels=allowed) < slack
    for data in (narrow, lossless(4400, 4500)):
        assert memory_of_decoding(data, max_pixels=allowed) < 4 * allowed + slack
