"""The names of all failpoints in the server's source, so that a test can kill a process at each."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import headstart_server

_SOURCE = Path(headstart_server.__file__).parent
#: Calls without which a file has no failpoint. Other files need not be parsed, which takes seconds.
_CALLS = ("failpoint(", ".write(", "._transaction(")


def names() -> list[str]:
    """The names of all failpoints, sorted."""
    return sorted({name for _, name in _calls() if name is not None})


def unnamed() -> list[str]:
    """Places of transactions without a failpoint's name."""
    return [place for place, name in _calls() if name is None]


@cache
def _calls() -> list[tuple[str, str | None]]:
    return [
        each
        for path in sorted(_SOURCE.rglob("*.py"))
        if any(call in (text := path.read_text()) for call in _CALLS)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.With | ast.AsyncWith)
        for item in node.items
        for each in _of(item.context_expr, f"{path.relative_to(_SOURCE)}:{node.lineno}")
    ]


def _of(expression: ast.expr, place: str) -> Iterator[tuple[str, str | None]]:
    if not isinstance(expression, ast.Call):
        return
    called = expression.func
    texts = [each.value for each in expression.args if isinstance(each, ast.Constant)]
    name = texts[0] if texts else None
    if isinstance(called, ast.Name) and called.id == "failpoint":
        # In `Database.write` the name is a variable: its callers give it.
        if isinstance(name, str):
            yield place, name
    elif not isinstance(called, ast.Attribute) or not _is_database(called.value):
        return
    elif called.attr == "write" or (called.attr == "_transaction" and isinstance(name, str)):
        yield place, name if isinstance(name, str) else None


def _is_database(owner: ast.expr) -> bool:
    return ast.unparse(owner) in ("self", "database") or ast.unparse(owner).endswith("_database")
