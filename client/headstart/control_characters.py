"""Texts of others, without the characters that control a terminal or change the direction of the text."""

import re

#: Control characters except line breaks, and characters that change the direction of the text after them.
_CONTROL = re.compile("[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str) -> str:
    """Return a text without such characters."""
    return _CONTROL.sub("", text)


def valid_unicode(text: str) -> str:
    """Return a text that UTF-8 can encode, with ``?`` for each byte of a file name that is not UTF-8."""
    return text.encode(errors="replace").decode()


def json_escaped(document: str) -> str:
    """Return a JSON document with such characters as escape sequences, which mean the same."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", document)
