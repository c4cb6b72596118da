"""The pages of the Python package, as the site's sources and as Markdown without mkdocstrings."""

import inspect
import re
from pathlib import Path
from typing import Any

import headstart

#: Where the last page has the names that no page lists.
_OTHERS = "<!-- every other name -->"
#: A class, and below it the options of mkdocstrings.
_DIRECTIVE = re.compile(r"^::: headstart\.(\w+)$((?:\n +.+)*)", re.MULTILINE)
_WITHOUT_MEMBERS = "members: false"
_PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference"
#: Aliases of types have neither a signature nor members.
_ALIASES_TITLE = "## Types\n\nThese names are aliases for annotations."


def with_all_names(text: str) -> str:
    """Return a page; the last one with every public name that the others do not have."""
    if _OTHERS not in text:
        return text
    pages = [page.read_text(encoding="utf-8") for page in _PAGES.glob("python*.md")]
    listed = {name for page in pages for name, _ in _DIRECTIVE.findall(page)}
    others = [name for name in headstart.__all__ if name not in listed]
    documented = [f"::: headstart.{name}" for name in others if inspect.isclass(_value(name))]
    aliases = [f"- `{name}`" for name in others if not inspect.isclass(_value(name))]
    return text.replace(_OTHERS, "\n\n".join([*documented, _ALIASES_TITLE, "\n".join(aliases)]))


def expanded(text: str) -> str:
    """Return the page with signatures and docstrings in place of the directives of mkdocstrings."""
    return _DIRECTIVE.sub(
        lambda match: _described(match[1], with_members=_WITHOUT_MEMBERS not in match[2]), text
    )


def _value(name: str) -> Any:
    return getattr(headstart, name)


def _described(name: str, *, with_members: bool) -> str:
    value = _value(name)
    parts = [f"## {name}", inspect.getdoc(value) or ""]
    for method in dir(value) if with_members else ():
        function = getattr(inspect.getattr_static(value, method), "__func__", getattr(value, method, None))
        if method[0] != "_" and inspect.isfunction(function) and function.__module__.startswith("headstart."):
            parts += [f"### {name}.{method}", f"```python\n{method}{inspect.signature(function)}\n```"]
            parts += [inspect.getdoc(function) or ""]
    return "\n\n".join(part for part in parts if part)
