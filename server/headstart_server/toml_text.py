"""Reads the TOML files of operators."""

import tomllib
from typing import Any


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return the document of a TOML file; raise ValueError if it is not UTF-8 or not TOML.

    A byte order mark, which some editors write, is ignored.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("too many nested values") from None
