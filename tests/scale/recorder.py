"""Records the SQL statements of the server while it runs: where they come from and how long they take."""

import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Connection, Engine, event

import headstart_server

SERVER = Path(headstart_server.__file__).parent
#: Statements of which each transaction and connection consists, whatever it is for.
_FRAME = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|PRAGMA|SET)\b", re.IGNORECASE)
_PROCESS = "recorder_process"
_VALUE = r"(?:\?|%s|\$\d+|%\(\w+\)s)(?:::\w+)?"
_LIST = re.compile(rf"\({_VALUE}(?:, {_VALUE})*\)")
_LISTS = re.compile(r"\(…\)(?:, \(…\))+")


@dataclass(kw_only=True)
class Statement:
    """One statement of the server.

    Attributes:
        name: module and function that executes it; numbered if the function has several.
        text: the statement, with lists of values shortened.
        example: the text and parameters of its slowest execution.
        seconds: the time of each execution, with the reading of its rows.
        busy: the processor time of the database in each execution: other load on the machine does not count.
        rows: rows that each execution returned or changed.
    """

    name: str
    text: str
    example: tuple[str, Any] = ("", ())
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that a part of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Recorder:
    """Records the statements of every engine of this process while it is listening."""

    def __init__(self) -> None:
        self._by_text: dict[tuple[str, str], Statement] = {}
        #: File and line of each call that executed a statement.
        self.sites: set[tuple[Path, int]] = set()
        #: Whether further executions count.
        self.counts = True

    @property
    def statements(self) -> Sequence[Statement]:
        """All statements, by name."""
        return sorted(self._by_text.values(), key=lambda each: each.name)

    @contextmanager
    def listening(self) -> Iterator["Recorder"]:
        """Record to the end of the block."""
        event.listen(Engine, "before_cursor_execute", self._before)
        event.listen(Engine, "after_cursor_execute", self._after)
        event.listen(Engine, "handle_error", self._failed)
        try:
            yield self
        finally:
            event.remove(Engine, "before_cursor_execute", self._before)
            event.remove(Engine, "after_cursor_execute", self._after)
            event.remove(Engine, "handle_error", self._failed)

    def _before(self, *arguments: Any) -> None:
        connection, context = arguments[0], arguments[4]
        context.recorder_begin = (time.perf_counter(), _busy_seconds(connection))

    def _after(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        began, busy = context.recorder_begin
        seconds, busy = time.perf_counter() - began, _busy_seconds(connection) - busy
        rows = cursor.rowcount
        if isinstance(cursor, sqlite3.Cursor) and statement.lstrip().startswith(("SELECT", "WITH")):
            # SQLite looks for the rows while they are read, so they are read here once more.
            again = cursor.connection.cursor()
            began, busy = time.perf_counter(), _busy_seconds(connection)
            rows = len(again.execute(statement, parameters).fetchall())
            seconds, busy = time.perf_counter() - began, _busy_seconds(connection) - busy
        self._note(statement, parameters[0] if many else parameters, (seconds, busy), rows)

    def _failed(self, context: Any) -> None:
        if context.statement and context.execution_context is not None:
            began, _ = context.execution_context.recorder_begin
            seconds = time.perf_counter() - began
            self._note(context.statement, context.parameters, (seconds, seconds), -1)

    def _note(self, statement: str, parameters: Any, times: tuple[float, float], rows: int) -> None:
        seconds, busy = times
        frame = _caller(sys._getframe(2))
        if frame is None or _FRAME.match(statement):
            return
        path = Path(frame.f_code.co_filename)
        self.sites.add((path, frame.f_lineno))
        if not self.counts:
            return
        module = ".".join(path.relative_to(SERVER).with_suffix("").parts)
        site = f"{module}.{frame.f_code.co_qualname.removeprefix('<module>')}"
        text = _LISTS.sub("(…)", _LIST.sub("(…)", " ".join(statement.split())))
        found = self._by_text.get((site, text))
        if found is None:
            number = 1 + sum(1 for other, _ in self._by_text if other == site)
            name = site if number == 1 else f"{site} ({number})"
            found = self._by_text[site, text] = Statement(name=name, text=text)
        if not found.busy or busy >= max(found.busy):
            found.example = (statement, parameters)
        found.seconds.append(seconds)
        found.busy.append(busy)
        found.rows.append(rows)


def _busy_seconds(connection: Connection) -> float:
    """Return the processor time that the database has used on behalf of a connection."""
    if connection.dialect.name == "sqlite":
        return time.thread_time()
    if _PROCESS not in connection.info:
        cursor = connection.connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        connection.info[_PROCESS] = cursor.fetchone()[0]
        cursor.close()
    # Of the process alone: it is Linux that counts, in nanoseconds.
    return int(Path(f"/proc/{connection.info[_PROCESS]}/schedstat").read_text().split()[0]) / 1e9


def _caller(frame: FrameType | None) -> FrameType | None:
    """The innermost function of the server that is being executed."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(str(SERVER)):
            return frame
        frame = frame.f_back
    return None
