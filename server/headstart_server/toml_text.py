"""Reads the TOML files of operators."""

import tomllib
from pathlib import Path
from typing import Any

#: Maximum bytes of a file that a setting names.
MAX_BYTES = 16 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document of a TOML file; raise OSError, or ValueError if it is too large or not TOML."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB, so shorten it, or name another file")
    return parse_toml(content)


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return the document of a TOML file; raise ValueError if it is not UTF-8 or not TOML.

    A byte order mark, which some editors write, is ignored.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("too many nested values") from None
