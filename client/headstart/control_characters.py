"""Texts of others, without the characters that control a terminal or change the direction of the text."""

import re

#: Control characters except line breaks, and characters that change the direction of the text after them.
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def has_controls(text: str) -> bool:
    """Return whether a text has such characters."""
    return _CONTROL.search(text) is not None


def without_controls(text: str) -> str:
    """Return a text without such characters."""
    return _CONTROL.sub("", text)


def json_escaped(document: str) -> str:
    """Return a JSON document with such characters as escape sequences, which mean the same."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", document)
