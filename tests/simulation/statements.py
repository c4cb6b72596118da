"""Executes SQLAlchemy's statements with little more effort than SQLite needs.

A connection of SQLAlchemy takes ten times as long for a statement as SQLite does. This one compiles each
statement once and then hands the SQL and its values to SQLite. Statements that the server builds once carry
their compiled form; others are found by their cache keys.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.compiler import SQLCompiler

_Values = Mapping[str, Any]
_NOTHING: _Values = {}


class Rows:
    """The rows that a statement gave, all of them in memory."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one_or_none(self) -> Any:
        assert len(self._rows) <= 1, "expected one row at most"
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        (row,) = self._rows
        return row

    def scalar(self) -> Any:
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalars(self) -> "Rows":
        return Rows([row[0] for row in self._rows], self.rowcount)


def _row_type(names: Sequence[str]) -> Any:
    plain: Any = namedtuple("Row", names, rename=True)
    return type("Row", (plain,), {"__slots__": (), "_mapping": property(plain._asdict)})


class Compiled:
    """A compiled statement, without the values in it.

    Args:
        compiled: by SQLAlchemy.
        keys: the names of the values in the statement, in the order of its cache key.
    """

    def __init__(self, compiled: SQLCompiler, keys: Sequence[str]) -> None:
        self.compiled = compiled
        self.sql = str(compiled)
        self.names = list(compiled.positiontup or ())
        binds = compiled.binds
        #: Where each value is in the cache key.
        self.places = [
            keys.index(binds[n].key) if n in binds and binds[n].key in keys else -1 for n in self.names
        ]
        self.constants = {name: bind.value for name, bind in binds.items() if not bind.required}
        for column in (*compiled.insert_prefetch, *compiled.update_prefetch):
            default: Any = column.default or column.onupdate
            self.constants[column.key] = default.arg(None) if default.is_callable else default.arg
        self.expanding = [place for place, n in enumerate(self.names) if n in binds and binds[n].expanding]
        self.expanded: dict[tuple[int, ...], str] = {}
        columns = compiled._result_columns
        readers = [column.type._cached_result_processor(compiled.dialect, None) for column in columns]
        self.readers = [(place, read) for place, read in enumerate(readers) if read is not None]
        names = [column.keyname for column in columns]
        # Without `_make`, which counts the values.
        self.make_row: Any = partial(tuple.__new__, _row_type(names)) if names else None


class Statement:
    """A statement that is ready to run, but for the values that come with each execution.

    Args:
        what: its compiled form.
        held: the values in it.
        given: the names of those that come.
    """

    __slots__ = ("_changing", "_given", "_values", "_what")

    def __init__(self, what: Compiled, held: Sequence[Any], given: tuple[str, ...]) -> None:
        self._what = what
        self._values: list[Any] = [None] * len(what.names)
        self._given: list[tuple[int, str]] = []
        #: Those of them that are not stored as they are.
        self._changing: list[tuple[int, Callable[[Any], Any]]] = []
        for place, name in enumerate(what.names):
            write = what.compiled._bind_processors.get(name)
            if name in given:
                self._given.append((place, name))
                if write is not None:
                    self._changing.append((place, write))
            else:
                value = (
                    held[what.places[place]].effective_value
                    if what.places[place] >= 0
                    else what.constants[name]
                )
                self._values[place] = value if write is None else write(value)

    def execute(self, raw: sqlite3.Connection, given: _Values) -> Rows:
        """Run it."""
        values = self._values.copy()
        for place, name in self._given:
            values[place] = given[name]
        for place, write in self._changing:
            values[place] = write(values[place])
        what = self._what
        cursor = self._expand(raw, values) if what.expanding else raw.execute(what.sql, values)
        if what.make_row is None:
            return Rows((), cursor.rowcount)
        found = cursor.fetchall()
        if what.readers:
            found = [self._read(row) for row in found]
        return Rows(list(map(what.make_row, found)), cursor.rowcount)

    def _read(self, row: Sequence[Any]) -> Sequence[Any]:
        read = list(row)
        for place, reader in self._what.readers:
            read[place] = reader(read[place])
        return read

    def _expand(self, raw: sqlite3.Connection, values: list[Any]) -> sqlite3.Cursor:
        """Write lists of values out, and run it."""
        what = self._what
        lengths = tuple([len(values[place]) for place in what.expanding])
        sql = what.expanded.get(lengths)
        if sql is None:
            named = dict(zip(what.names, values, strict=True))
            sql = what.expanded[lengths] = what.compiled._process_parameters_for_postcompile(named).statement
        for place in reversed(what.expanding):
            values[place : place + 1] = values[place]
        return raw.execute(sql, values)


class Statements:
    """Takes the place of a connection of SQLAlchemy.

    Args:
        connection: a connection of SQLAlchemy, which does everything else.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        self._compiled: dict[Any, Compiled] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Any, values: _Values | Sequence[_Values] = _NOTHING) -> Any:
        """Execute a statement."""
        if isinstance(values, list):
            return [self.execute(statement, each) for each in values]
        given = tuple(values)
        attributes = statement.__dict__
        known = attributes.get("_simulated")
        # A statement that was made from another one has a copy of its attributes.
        if known is None or known[0] is not attributes:
            known = attributes["_simulated"] = (attributes, {})
        ready = known[1].get(given)
        if ready is None:
            ready = known[1][given] = self._prepare(statement, given)
        try:
            return ready.execute(self._raw, values)
        except sqlite3.Error:
            # Fails again there, with the error that the server expects.
            return self._connection.execute(statement, values)

    def _prepare(self, statement: Any, given: tuple[str, ...]) -> Statement:
        key = statement._generate_cache_key()
        what = self._compiled.get((key.key, given))
        if what is None:
            compiled = statement.compile(dialect=self._connection.dialect, column_keys=list(given) or None)
            what = self._compiled[key.key, given] = Compiled(compiled, [bind.key for bind in key.bindparams])
        return Statement(what, key.bindparams, given)
