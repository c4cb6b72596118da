"""Contents as files: no step holds the interpreter for long, and no list is larger than a message."""

import io
import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from headstart_server.backbones.preprocessing import content_files
from headstart_server.backbones.preprocessing.content_files import MAX_LIST_BYTES, file_of, media_type_of
from headstart_server.errors import MessageTooLarge


def random_pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that `json` encoded, each of which holds the interpreter."""
    lengths: list[int] = []

    def dumps(values: Any) -> str:
        text = json.dumps(values)
        lengths.append(len(text))
        return text

    monkeypatch.setattr(content_files, "json", SimpleNamespace(dumps=dumps))
    return lengths


@pytest.mark.parametrize(
    ("shape", "mode"),
    [
        ((5, 7), "L"),
        ((5, 7, 1), "L"),
        ((5, 7, 3), "RGB"),
        ((5, 7, 4), "RGBA"),
        ((1, 1), "L"),
        ((1, 900, 3), "RGB"),
    ],
)
def test_pixels_are_a_png_file_without_loss(shape: tuple[int, ...], mode: str) -> None:
    pixels = random_pixels(*shape)
    assert media_type_of(pixels) == "image/png"
    image = Image.open(io.BytesIO(file_of(pixels)))
    image.load()
    assert (image.format, image.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(image), pixels[..., 0] if shape[2:] == (1,) else pixels)


@pytest.mark.parametrize(
    "pixels", [random_pixels(300, 200, 3).transpose(1, 0, 2), random_pixels(90, 90)[::-2, ::3]]
)
def test_pixels_in_any_order_are_a_png_file(pixels: NDArray[np.uint8]) -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file_of(pixels)))), pixels)


def test_the_largest_pixels_fit_into_a_message_and_need_little_memory() -> None:
    """A JSON list of them had 105 MB, took 866 MiB, and held the interpreter for 4 seconds."""
    pixels = random_pixels(2580, 2580, 3)
    tracemalloc.start()
    try:
        content = file_of(pixels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(content) < pixels.nbytes * 1.01
    assert peak < 5 * pixels.nbytes


@pytest.mark.parametrize(
    "array",
    [
        np.float32(1.5),
        np.zeros(0, np.float32),
        np.array([0.1, -2, 3e30, np.inf], np.float64),
        np.arange(3000),
        np.arange(65_536, dtype=np.float64) / 7,
        random_pixels(3000),
        random_pixels(40, 3, 2),
        np.arange(24.0).reshape(2, 3, 4),
        np.arange(6000).reshape(2, 3000),
        np.arange(6000).reshape(3000, 2, 1, 1),
        np.arange(12_000).reshape(3, 2, 2000),
        np.zeros((0, 5)),
        np.zeros((5, 0)),
        np.zeros((2, 3000, 0)),
        np.zeros((0, 5), np.uint8),
        np.zeros((5, 0), np.uint8),
    ],
    ids=lambda array: str(np.shape(array)),
)
def test_other_arrays_are_json_lists(array: Any) -> None:
    array = np.asarray(array)
    assert media_type_of(array) == "application/json"
    assert file_of(array) == json.dumps(array.tolist()).encode()


@pytest.mark.parametrize(
    "array",
    [
        random_pixels(20 << 20),
        np.zeros((1000, 1000, 5), np.float32),
        np.zeros((1 << 20, 1, 1, 1)),
        np.zeros((1 << 40, 0)),
        np.zeros((1 << 10, 1 << 40, 0)),
    ],
    ids=lambda array: str(array.shape),
)
def test_an_array_with_too_long_a_list_is_refused(array: NDArray[Any], encoded: list[int]) -> None:
    with pytest.raises(MessageTooLarge, match=str(MAX_LIST_BYTES)):
        file_of(array)
    assert sum(encoded) < 2 * MAX_LIST_BYTES
    assert max(encoded) < 64 << 10


def test_a_long_list_is_encoded_in_parts(encoded: list[int]) -> None:
    file_of(np.arange(65_536, dtype=np.float64) / 7)
    assert max(encoded) < 64 << 10


def test_texts_and_image_files_stay_as_they_are() -> None:
    assert (media_type_of("ä"), file_of("ä")) == ("text/plain; charset=utf-8", "ä".encode())
    assert (media_type_of(b"GIF89a"), file_of(b"GIF89a")) == ("image/gif", b"GIF89a")
    assert media_type_of(b"other") == "application/octet-stream"
