"""Sizes, durations and rates as text with units."""

import math
import re
from pathlib import Path

_SIZES = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "B": 1,
}
_DURATIONS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(\d{1,18}(?:\.\d{1,9})?)"
_SIZE = re.compile(rf"{_NUMBER} ?({'|'.join(_SIZES)})", re.ASCII)
_DURATION = re.compile(rf"{_NUMBER} ?(ms|s|m|h|d)", re.ASCII)
_PER = re.compile(rf"{_NUMBER} ?/ ?([smh])", re.ASCII)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``512MiB``; raise ValueError for other texts."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"Expected a size with a unit, such as 512MiB or 4GiB. Received: {written(text)}.")
    return round(float(found[1]) * _SIZES[found[2]])


def format_size(nbytes: int) -> str:
    """Return a size in the largest binary unit that needs no fraction."""
    unit = next((unit for unit in ("TiB", "GiB", "MiB", "KiB") if nbytes and nbytes % _SIZES[unit] == 0), "B")
    return f"{nbytes // _SIZES[unit]}{unit}"


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``30s`` or ``1h30m``; raise ValueError for other texts."""
    stripped = text.strip()
    parts = _DURATION.findall(stripped)
    if not parts or _DURATION.sub("", stripped).strip():
        raise ValueError(
            f"Expected a duration with a unit, such as 500ms, 30s or 7d. Received: {written(text)}."
        )
    return math.fsum(float(number) * _DURATIONS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit that needs no fraction."""
    for unit, length in _DURATIONS.items():
        if seconds >= length and (seconds / length).is_integer():
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s" if seconds == 0 else f"{seconds * 1000:.9g}ms"


def parse_rate(text: str) -> float:
    """Return the events per second of a rate such as ``200/s``; raise ValueError for other texts."""
    found = _PER.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"Expected a rate, such as 200/s or 600/m. Received: {written(text)}.")
    return float(found[1]) / _PERIODS[found[2]]


def format_rate(rate: float) -> str:
    """Return a rate per second, or per minute or hour if that needs no fraction."""
    for unit, length in _PERIODS.items():
        if math.isclose(rate * length, round(rate * length)) and round(rate * length):
            return f"{round(rate * length)}/{unit}"
    return f"{rate:.9g}/s"


def parse_byte_rate(text: str) -> float:
    """Return the bytes per second of a rate such as ``128MiB/s``; raise ValueError for other texts."""
    size, slash, period = text.strip().rpartition("/")
    try:
        if slash and period.strip() == "s":
            return float(parse_size(size))
    except ValueError:
        pass
    raise ValueError(f"Expected a size per second, such as 128MiB/s. Received: {written(text)}.")


def format_byte_rate(rate: float) -> str:
    """Return bytes per second with the largest unit that needs no fraction."""
    return f"{format_size(round(rate))}/s"


def written(value: object) -> str:
    """Return a value in the form of error messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(str(value)) if isinstance(value, str | Path) else str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
