"""Building blocks of page sections."""

from collections.abc import Iterable, Sequence

from headstart_server.report.markup import Child, Markup, tag

__all__ = ["Section", "facts_list", "note", "panel", "section", "table"]

Section = tuple[str, str, Markup]
"""A section's anchor, its name in the table of contents, and itself."""


def section(name: str, title: str, *children: Child) -> Section:
    """Return a section of the page: its short name of one or two words, its heading and its content."""
    anchor = name.lower().replace(" ", "-")
    return anchor, name, tag("section", tag("h2", title), children, id=anchor)


def panel(title: str, *children: Child, class_: str = "") -> Markup:
    """Return a part of a section with its heading."""
    return tag("div", tag("h3", title), children, class_=f"panel {class_}".strip())


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
