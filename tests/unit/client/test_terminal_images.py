"""Images in a terminal: each protocol shows the pixels, within the given size."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from headstart.cli.prediction.terminal_images import ImageProtocol, detect, encode

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


@pytest.fixture
def quarters() -> bytes:
    """An image of four colors, 40 by 40 pixels."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    for place, color in enumerate(COLORS):
        row, column = divmod(place, 2)
        pixels[row * 20 : row * 20 + 20, column * 20 : column * 20 + 20] = color
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, ImageProtocol.KITTY),
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-256color"}, ImageProtocol.KITTY),
        ({"TERM_PROGRAM": "iTerm.app"}, ImageProtocol.ITERM2),
        ({"TERM_PROGRAM": "WezTerm"}, ImageProtocol.ITERM2),
        ({"TERM": "foot"}, ImageProtocol.SIXEL),
        ({"TERM": "xterm-256color"}, ImageProtocol.BLOCKS),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, ImageProtocol.BLOCKS),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, ImageProtocol.BLOCKS),
        ({}, ImageProtocol.BLOCKS),
    ],
)
def test_the_environment_names_the_terminal(environment: dict[str, str], protocol: ImageProtocol) -> None:
    assert detect(environment) is protocol


def test_half_blocks_have_the_colors_of_two_rows_of_pixels(quarters: bytes) -> None:
    shown = encode(quarters, ImageProtocol.BLOCKS, columns=10, rows=10)
    lines = shown.splitlines()
    assert len(lines) == 5
    assert all(line.count("▀") == 10 for line in lines)
    assert "\x1b[38;2;255;0;0m\x1b[48;2;255;0;0m▀" in lines[0]
    assert "\x1b[38;2;255;255;255m\x1b[48;2;255;255;255m▀" in lines[-1]
    assert all(line.endswith("\x1b[0m") for line in lines)


def test_kitty_gets_a_png_in_chunks() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    shown = encode(content.getvalue(), ImageProtocol.KITTY, columns=80, rows=24)
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown)
    assert chunks[0][0].startswith("a=T,f=100,q=2")
    assert all(len(data) <= 4096 for _, data in chunks)
    assert [keys[-3:] for keys, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    image = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks))))
    assert np.array_equal(np.asarray(image), noise)


def test_iterm2_gets_a_file(quarters: bytes) -> None:
    shown = encode(quarters, ImageProtocol.ITERM2, columns=80, rows=24)
    match = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+):([^\x07]*)\x07\n", shown)
    assert match is not None
    content = base64.b64decode(match[2])
    assert len(content) == int(match[1])
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (255, 0, 0)


def test_sixels_decode_to_the_image(quarters: bytes) -> None:
    shown = encode(quarters, ImageProtocol.SIXEL, columns=4, rows=2)
    pixels = decoded_sixels(shown)
    assert pixels.shape == (40, 40, 3)
    found = np.asarray(Image.open(io.BytesIO(quarters)))
    assert np.abs(pixels.astype(int) - found).max() <= 3


def decoded_sixels(text: str) -> np.ndarray:
    """The pixels of sixels."""
    match = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\\n', text, re.DOTALL)
    assert match is not None
    pixels = np.zeros((int(match[2]), int(match[1]), 3), np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    column = top = color = 0
    for part in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([$-])|([?-~])", match[3]):
        if part[1]:
            palette[int(part[1])] = tuple(round(int(part[place]) * 2.55) for place in (2, 3, 4))
        elif part[5]:
            color = int(part[5])
        elif part[8]:
            column, top = 0, top + 6 * (part[8] == "-")
        else:
            count, sign = (int(part[6]), part[7]) if part[6] else (1, part[9])
            for bit in range(6):
                if (ord(sign) - 63) >> bit & 1:
                    pixels[top + bit, column : column + count] = palette[color]
            column += count
    return pixels


def test_large_images_are_made_to_fit() -> None:
    content = io.BytesIO()
    Image.new("RGB", (4000, 100)).save(content, "PNG")
    lines = encode(content.getvalue(), ImageProtocol.BLOCKS, columns=60, rows=20).splitlines()
    assert len(lines) == 1
    assert lines[0].count("▀") == 60
