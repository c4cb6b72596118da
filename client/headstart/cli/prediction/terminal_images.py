"""Images in a terminal: by the protocols of kitty, iTerm2 and sixel, or as colored half blocks."""

import base64
import io
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_CHUNK = 4096
#: Pixels of a cell of most terminals.
_CELL = (10, 20)
_BANDS = 6
_MAX_COLORS = 256


class ImageProtocol(StrEnum):
    """The ways to show an image."""

    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"
    BLOCKS = "blocks"
    OFF = "off"


def detect(environment: Mapping[str, str]) -> ImageProtocol:
    """Return the best protocol of the terminal that an environment describes."""
    program, term = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        # Multiplexers do not pass images on.
        return ImageProtocol.BLOCKS
    if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty"):
        return ImageProtocol.KITTY
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return ImageProtocol.ITERM2
    if term.startswith(("foot", "mlterm")):
        return ImageProtocol.SIXEL
    return ImageProtocol.BLOCKS


def encode(content: bytes, protocol: ImageProtocol, *, columns: int, rows: int) -> str:
    """Return the text that shows an image in at most some columns and rows, with a line break at the end.

    Raises:
        ValueError: the content is not an image.
    """
    if protocol is ImageProtocol.OFF:
        return ""
    image = _decoded(content)
    if protocol is ImageProtocol.BLOCKS:
        return _blocks(_fitted(image, columns, rows * 2))
    fitted = _fitted(image, columns * _CELL[0], rows * _CELL[1])
    if protocol is ImageProtocol.SIXEL:
        return _sixel(fitted)
    png = io.BytesIO()
    fitted.save(png, "PNG")
    encoded = base64.b64encode(png.getvalue()).decode()
    if protocol is ImageProtocol.KITTY:
        return f"{''.join(_kitty(encoded))}\n"
    return f"\x1b]1337;File=inline=1;size={len(png.getvalue())}:{encoded}\x07\n"


def forget(protocol: ImageProtocol) -> str:
    """Return the text that removes the images that were shown."""
    return "\x1b_Ga=d,q=2\x1b\\" if protocol is ImageProtocol.KITTY else ""


def _decoded(content: bytes) -> "Image":
    # Imported here: most commands need no images.
    from PIL import Image  # noqa: PLC0415

    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except Exception:  # noqa: BLE001 - decoders of damaged files raise errors of any kind
        raise ValueError("The content is not an image that can be shown.") from None


def _fitted(image: "Image", width: int, height: int) -> "Image":
    """Return an image that is no larger than some pixels; small ones are enlarged by whole numbers."""
    factor = min(width / image.width, height / image.height)
    if factor > 1:
        factor = float(int(factor))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image if size == image.size else image.resize(size, 0 if factor >= 1 else 1)


def _kitty(encoded: str) -> Iterator[str]:
    """Yield the commands that transmit a PNG and show it; `q=2` keeps the terminal from answering."""
    for start in range(0, len(encoded), _CHUNK):
        more = int(start + _CHUNK < len(encoded))
        keys = f"a=T,f=100,q=2,m={more}" if start == 0 else f"q=2,m={more}"
        yield f"\x1b_G{keys};{encoded[start : start + _CHUNK]}\x1b\\"


def _blocks(image: "Image") -> str:
    """Return two rows of pixels as a row of half blocks, with 24-bit colors."""
    pixels = image.load()
    if pixels is None:
        return ""
    lines = []
    for top in range(0, image.height, 2):
        line = []
        for column in range(image.width):
            upper: tuple[int, int, int] = pixels[column, top]  # type: ignore[assignment]
            color = "\x1b[38;2;{};{};{}m".format(*upper)
            if top + 1 < image.height:
                lower: tuple[int, int, int] = pixels[column, top + 1]  # type: ignore[assignment]
                color += "\x1b[48;2;{};{};{}m".format(*lower)
            line.append(f"{color}▀")
        lines.append(f"{''.join(line)}\x1b[0m")
    return "\n".join(lines) + "\n"


def _sixel(image: "Image") -> str:
    """Return an image as sixels: bands of six rows, one color at a time."""
    reduced = image.quantize(_MAX_COLORS)
    palette = reduced.getpalette() or []
    pixels = reduced.load()
    if pixels is None:
        return ""
    percents = [round(value * 100 / 255) for value in palette]
    colors = [
        "#{};2;{};{};{}".format(place // 3, *percents[place : place + 3])
        for place in range(0, len(percents) - 2, 3)
    ]
    bands = []
    for top in range(0, reduced.height, _BANDS):
        rows = range(top, min(top + _BANDS, reduced.height))
        masks: dict[int, list[int]] = {}
        for column in range(reduced.width):
            for bit, row in enumerate(rows):
                color: int = pixels[column, row]  # type: ignore[assignment]
                masks.setdefault(color, [0] * reduced.width)[column] |= 1 << bit
        bands.append("$".join(f"#{color}{_run_lengths(mask)}" for color, mask in masks.items()))
    size = f'"1;1;{reduced.width};{reduced.height}'
    return f"\x1bPq{size}{''.join(colors)}{'-'.join(bands)}\x1b\\\n"


def _run_lengths(mask: list[int]) -> str:
    parts, start = [], 0
    for place in range(1, len(mask) + 1):
        if place == len(mask) or mask[place] != mask[start]:
            sign, count = chr(63 + mask[start]), place - start
            parts.append(f"!{count}{sign}" if count > 3 else sign * count)
            start = place
    return "".join(parts)
