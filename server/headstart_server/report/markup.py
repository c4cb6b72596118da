"""HTML and SVG made of nested calls, in which every text is escaped: names come from strangers."""

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Child", "Markup", "named", "tag", "trusted"]

#: Elements that have no content and no end.
_VOID = frozenset({"meta", "img", "br", "hr"})
#: What no HTML document may hold, and halves of characters, which no encoding can.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already. Only this file makes it of other text."""

    __slots__ = ()


Child: TypeAlias = str | int | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element.

    Args:
        name: its name, our own.
        children: its content: markup as it is, any other text escaped, None left out, several one by one.
        attributes: our own names, ``_`` for ``-`` and one at the end left out; values are escaped. True gives
            the name alone, None and False nothing.
    """
    start = "".join([name, *(_attribute(key, value) for key, value in attributes.items())])
    if name in _VOID:
        return Markup(f"<{start}>")
    return Markup(f"<{start}>{''.join(map(_text, children))}</{name}>")


def named(text: str, **attributes: str | None) -> Markup:
    """A name that a stranger gave, which turns no other text around whatever its script."""
    return tag("bdi", text, **attributes)


def trusted(text: str) -> Markup:
    """Our own style or script, which no name is part of."""
    return Markup(text)


def _text(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    if isinstance(child, str | int):
        return escape(_UNPRINTABLE.sub("\ufffd", str(child)), quote=True)
    return "".join(map(_text, child))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_text(str(value))}"'
