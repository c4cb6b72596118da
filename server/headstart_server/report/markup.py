"""HTML and SVG from nested calls that escape every text, because names are untrusted."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TypeAlias

#: Elements without content and end tag.
_VOID = frozenset({"meta", "img", "br", "hr"})
#: Characters that HTML forbids, and surrogates, which cannot be encoded.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML. Only this module converts other text to it."""

    __slots__ = ()


Child: TypeAlias = str | int | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """Return an element.

    Args:
        children: content: markup unchanged, other text escaped, None skipped, iterables expanded.
        attributes: trusted names, with ``_`` for ``-`` and a trailing one dropped; values are escaped. True
            gives the name alone, None and False nothing.
    """
    start = "".join([name, *(_attribute(key, value) for key, value in attributes.items())])
    if name in _VOID:
        return Markup(f"<{start}>")
    return Markup(f"<{start}>{''.join(map(_text, children))}</{name}>")


def named(text: str, **attributes: str | None) -> Markup:
    """Return an untrusted name, isolated so that its script does not reorder other text."""
    return tag("bdi", text, **attributes)


def trusted(text: str) -> Markup:
    """Return our own style or script, which contains no untrusted text."""
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


Section = tuple[str, str, Markup]
"""A section's anchor, its name in the table of contents, and itself."""


def section(name: str, title: str, *children: Child) -> Section:
    """Return a section of the page: its short name of one or two words, its heading and its content."""
    anchor = name.lower().replace(" ", "-")
    return anchor, name, tag("section", tag("h2", title), children, id=anchor)


def panel(title: str, *children: Child) -> Markup:
    """Return a part of a section with its heading."""
    return tag("div", tag("h3", title), children, class_="panel")


def note(*children: Child) -> Markup:
    """Return a remark in small print."""
    return tag("p", children, class_="note")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    texts: int = 1,
    sortable: bool = False,
) -> Markup:
    """Return a table; the first `texts` columns are texts, the others numbers."""
    heads = [
        tag("th", name, scope="col", class_=None if place < texts else "n")
        for place, name in enumerate(columns)
    ]
    body = [
        tag(
            "tr",
            [
                tag("th", cell, scope="row")
                if place == 0
                else tag("td", cell, class_=None if place < texts else "n")
                for place, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", heads)),
            tag("tbody", body),
            class_="sortable" if sortable else None,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def facts_list(facts: Iterable[tuple[str, Child]]) -> Markup:
    """Return names with values; empty values are left out."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts if value])
