"""Fast bicubic scaling gives what Pillow gives, for any size, crop and content."""

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.networks.golden import golden_image
from headstart_server.backbones.preprocessing import images
from headstart_server.backbones.preprocessing.images import ImageDecoder
from scenes import encode, scene

pytestmark = pytest.mark.skipif(not images.IS_FAST, reason="cykooz-resizer has no package for this system")
#: Largest difference of a value from Pillow's, and largest share of values that differ.
LEVELS, SHARE = 2, 0.05


def by_pillow(decoder: ImageDecoder, content: object, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """Return the row that a system without the package gives."""
    with monkeypatch.context() as patch:
        patch.setattr(images, "IS_FAST", False)
        return decoder.decode(content)


def check(row: NDArray[np.uint8], expected: NDArray[np.uint8]) -> None:
    """Check that two rows are equal except for a few roundings."""
    differences = np.abs(row.astype(int) - expected)
    assert row.shape == expected.shape
    assert row.dtype == np.uint8
    assert differences.max() <= LEVELS
    assert np.count_nonzero(differences) <= max(3, SHARE * differences.size)


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    side=st.sampled_from([32, 224, 260]),
    crop=st.sampled_from([0.1, 0.875, 0.9, 1.0]),
    kind=st.sampled_from(["noise", "black and white", "photograph"]),
)
@example(height=240, width=320, side=224, crop=0.875, kind="black and white")
@example(height=400, width=500, side=224, crop=0.875, kind="black and white")
@example(height=639, width=640, side=224, crop=1.0, kind="noise")
@example(height=1, width=1, side=224, crop=1.0, kind="noise")
@settings(max_examples=150, deadline=None)
def test_any_image_is_scaled_as_by_pillow(height: int, width: int, side: int, crop: float, kind: str) -> None:
    rng = np.random.default_rng(height * 1000 + width)
    pixels = {
        "noise": lambda: rng.integers(0, 256, (height, width, 3), np.uint8),
        "black and white": lambda: (255 * rng.integers(0, 2, (height, width, 3))).astype(np.uint8),
        "photograph": lambda: scene(height=max(height, 2), width=max(width, 2)),
    }[kind]()
    decoder = ImageDecoder(side, crop=crop)
    with pytest.MonkeyPatch.context() as patch:
        check(decoder.decode(pixels), by_pillow(decoder, pixels, patch))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_turned_as_by_pillow(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encode(Image.fromarray(scene(height=240, width=300)), "JPEG", exif=exif.tobytes())
    decoder = ImageDecoder(224)
    check(decoder.decode(file), by_pillow(decoder, file, monkeypatch))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_files_of_other_formats_are_scaled_as_by_pillow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = encode(Image.fromarray(scene(height=200, width=330)), kind)
    decoder = ImageDecoder(224)
    check(decoder.decode(file), by_pillow(decoder, file, monkeypatch))


def test_parts_of_arrays_are_scaled_as_copies() -> None:
    pixels = scene(height=480, width=640)
    decoder = ImageDecoder(224)
    np.testing.assert_array_equal(decoder.decode(pixels[::2, ::-2]), decoder.decode(pixels[::2, ::-2].copy()))


def test_the_golden_image_hardly_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = ImageDecoder(224)
    row, expected = decoder.decode(golden_image()), by_pillow(decoder, golden_image(), monkeypatch)
    assert np.abs(row.astype(int) - expected).mean() < 0.02


@pytest.mark.parametrize("height", [897, 1200, 1500])
def test_reducing_a_large_image_first_hardly_changes_it(height: int) -> None:
    pixels = scene(height=height, width=2 * height)
    row = ImageDecoder(224, crop=1.0).decode(pixels)
    box = (height // 2, 0, height // 2 + height, height)
    exact = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC, box))
    assert np.abs(row.astype(int) - exact).mean() < 1.0


def test_the_largest_image_is_scaled_in_milliseconds() -> None:
    # Other threads of Python wait meanwhile. Processor time does not depend on other processes.
    pixels = scene(height=640, width=640)
    started = time.thread_time()
    for _ in range(10):
        images.scale_bicubic(pixels, (40.0, 40.0, 560.0), 448)
    assert (time.thread_time() - started) / 10 < 0.01
