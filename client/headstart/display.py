"""Building blocks of notebook displays: HTML fragments in the page's colors, and PNG images."""

import html
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CELL = "padding: 1px 10px 1px 0; text-align: left; vertical-align: top"
_NUMBER = "padding: 1px 10px 1px 0; text-align: right; font-variant-numeric: tabular-nums"
_PERCENTAGE = re.compile(r"[\d.]+%")
_WARM, _COLD = (214, 69, 65), (49, 106, 184)
_SCALE = 16  # pixels of each value of a heat map
_MAX_PIXELS = 2048  # rows and columns of a heat map with more than one pixel of each value


def figure(title: str, *parts: str, note: str = "") -> str:
    """Return a fragment with a title, its parts and a note; empty parts are omitted."""
    remark = f'<div style="opacity: 0.7">{html.escape(note)}</div>' if note else ""
    body = "".join(part for part in parts if part)
    name = f"<div><b>{html.escape(title)}</b></div>"
    return f'<div style="margin: 4px 0; line-height: 1.5">{name}{body}{remark}</div>'


def table(rows: Iterable[Sequence[Any]], header: Sequence[str] = ()) -> str:
    """Return a table, with texts aligned left and numbers right; empty without rows."""
    lines = ["".join(_cell(each) for each in row) for row in rows]
    if not lines:
        return ""
    top = "".join(f'<th style="{_CELL}; font-weight: 600">{html.escape(each)}</th>' for each in header)
    return _table(([top] if top else []) + lines)


def facts(rows: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values, without empty values."""
    filled = [(name, _text(value)) for name, value in rows if value not in ("", None)]
    lines = ["".join(f'<td style="{_CELL}">{html.escape(each)}</td>' for each in row) for row in filled]
    return _table(lines) if lines else ""


def bars(rows: Iterable[tuple[str, float, bool]]) -> str:
    """Return a bar for each row of name, fraction from 0 to 1, and whether it is highlighted."""
    lines = []
    for name, share, is_chosen in rows:
        width = min(max(share, 0.0), 1.0) * 100
        weight = "600" if is_chosen else "400"
        opacity = "0.9" if is_chosen else "0.45"
        lines.append(
            f'<td style="{_CELL}; font-weight: {weight}">{html.escape(name)}</td>'
            f'<td style="width: 160px; padding: 0"><div style="width: {width:.1f}%; height: 0.7em; '
            f'min-width: 1px; background: #3b7dd8; opacity: {opacity}"></div></td>'
            f'<td style="{_NUMBER}; padding-left: 10px">{share:.1%}</td>'
        )
    return _table(lines) if lines else ""


def percent(share: float | None) -> str:
    """Return a share as a percentage; empty for None."""
    return "" if share is None else f"{share:.1%}"


def document_frame(page: str) -> str:
    """Return a frame with a whole page, whose scripts cannot access the notebook."""
    return (
        '<iframe sandbox="allow-scripts" style="width: 100%; height: 640px; border: 1px solid #8884" '
        f'srcdoc="{html.escape(page, quote=True)}"></iframe>'
    )


def heatmap_png(values: NDArray[np.floating[Any]]) -> bytes:
    """Return values [rows, columns] as a PNG: red above 0, blue below, clear at 0."""
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    strength = np.abs(finite) / (np.abs(finite).max() or 1.0)
    pixels = np.empty((*finite.shape, 4), np.uint8)
    pixels[..., :3] = np.where(finite[..., None] >= 0, _WARM, _COLD)
    pixels[..., 3] = np.round(strength * 255)
    scale = min(_SCALE, max(1, _MAX_PIXELS // max(finite.shape, default=1)))
    return _png(pixels.repeat(scale, 0).repeat(scale, 1))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return RGBA pixels of shape [height, width, 4] as a PNG file."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # no filter

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


def _table(lines: Iterable[str]) -> str:
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="border-collapse: collapse; margin: 2px 0">{rows}</table>'


def _cell(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_right = is_number or (isinstance(value, str) and _PERCENTAGE.fullmatch(value) is not None)
    style = _NUMBER if is_right else _CELL
    return f'<td style="{style}">{html.escape(_text(value))}</td>'


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
