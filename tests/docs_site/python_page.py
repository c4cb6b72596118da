"""The page of the Python package, as the site's sources and as Markdown without mkdocstrings."""

import inspect
import re
from typing import Any

import headstart

#: Where the page has the names that it does not list by itself.
_OTHERS = "<!-- every other name -->"
_DIRECTIVE = re.compile(r"^::: headstart\.(\w+)$", re.MULTILINE)
#: Aliases of types have neither a signature nor members.
_ALIASES_TITLE = "## Types\n\nThese names are aliases for annotations."


def with_all_names(text: str) -> str:
    """Return the page with every public name of the package."""
    if _OTHERS not in text:
        return text
    listed = set(_DIRECTIVE.findall(text))
    others = [name for name in headstart.__all__ if name not in listed]
    documented = [f"::: headstart.{name}" for name in others if inspect.isclass(_value(name))]
    aliases = [f"- `{name}`" for name in others if not inspect.isclass(_value(name))]
    return text.replace(_OTHERS, "\n\n".join([*documented, _ALIASES_TITLE, "\n".join(aliases)]))


def expanded(text: str) -> str:
    """Return the page with signatures and docstrings in place of the directives of mkdocstrings."""
    return _DIRECTIVE.sub(lambda match: _described(match[1]), text)


def _value(name: str) -> Any:
    return getattr(headstart, name)


def _described(name: str) -> str:
    value = _value(name)
    parts = [f"## {name}", inspect.getdoc(value) or ""]
    for method in dir(value):
        function = getattr(inspect.getattr_static(value, method), "__func__", getattr(value, method, None))
        if method[0] != "_" and inspect.isfunction(function) and function.__module__.startswith("headstart."):
            parts += [f"### {name}.{method}", f"```python\n{method}{inspect.signature(function)}\n```"]
            parts += [inspect.getdoc(function) or ""]
    return "\n\n".join(part for part in parts if part)
