"""The calls in the server's source that execute SQL."""

import ast
from collections.abc import Iterator
from pathlib import Path

from scale.recorder import SERVER

#: Files whose statements do not grow with use: transactions, tables and their changes, checks of the doctor.
_WITHOUT_GROWTH = ("data_facts.py", "database.py", "migrations.py", "probe.py", "sqlite.py", "postgres.py")


def sites() -> Iterator[tuple[Path, ast.FunctionDef, ast.Call]]:
    """Yield file, function and call of each place that executes a statement."""
    for room in ("database", "datasets", "jobs", "models", "webhooks", "capture", "feedback"):
        for path in sorted((SERVER / room).glob("*.py")):
            if path.name not in _WITHOUT_GROWTH:
                for function in ast.walk(ast.parse(path.read_text())):
                    if isinstance(function, ast.FunctionDef):
                        for call in ast.walk(function):
                            if isinstance(call, ast.Call) and _executes(call):
                                yield path, function, call


def _executes(call: ast.Call) -> bool:
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in ("execute", "exec_driver_sql")
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "connection"
    )
