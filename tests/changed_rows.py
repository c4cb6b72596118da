"""Counts the rows that statements change."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


@contextmanager
def changed_rows(beginning: str) -> Iterator[list[int]]:
    """Yield a list that gets the number of rows of each statement with this beginning in the block."""
    changed: list[int] = []

    def count(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith(beginning):
            changed.append(cursor.rowcount)

    event.listen(Engine, "after_cursor_execute", count)
    try:
        yield changed
    finally:
        event.remove(Engine, "after_cursor_execute", count)
