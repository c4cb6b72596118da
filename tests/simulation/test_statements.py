"""The simulation's own way to execute statements does what SQLAlchemy does."""

from collections.abc import Callable
from typing import Any
from unittest import mock

from sqlalchemy import Select

from headstart_server.database.tables import metadata
from simulation.plan import plan_of
from simulation.runner import simulator
from simulation.statements import Statements

SEEDS = range(12)


class Checked:
    """Executes each statement both ways, and compares its rows and the tables afterwards."""

    def __init__(self) -> None:
        self.reads = self.writes = 0
        self.differences: list[str] = []
        self._execute = Statements.execute

    def executor(self) -> Callable[..., Any]:
        """Return a method that takes the place of the other one."""

        def execute(statements: Statements, statement: Any, values: Any = None) -> Any:
            return self.execute(statements, statement, values)

        return execute

    def execute(self, statements: Statements, statement: Any, values: Any) -> Any:
        """Execute a statement."""
        given = {} if values is None else values
        if isinstance(given, list):
            return self._execute(statements, statement, given)
        is_read = isinstance(statement, Select)
        statements._raw.execute("SAVEPOINT compared")
        try:
            expected = self._outcome(statements, statements._connection.execute(statement, given), is_read)
        finally:
            statements._raw.execute("ROLLBACK TO compared")
            statements._raw.execute("RELEASE compared")
        result = self._execute(statements, statement, given)
        if self._outcome(statements, result, is_read) != expected:
            self.differences.append(str(statement))
        self.reads += is_read
        self.writes += not is_read
        return result

    def _outcome(self, statements: Statements, result: Any, is_read: bool) -> object:
        rows = list(result) if getattr(result, "returns_rows", True) else []
        named = [(tuple(row), *(getattr(row, name) for name in getattr(row, "_fields", ()))) for row in rows]
        if is_read:
            return named
        tables = {
            name: statements._raw.execute(f"SELECT * FROM {name}").fetchall() for name in metadata.tables
        }
        # SQLite counts the rows of a statement that returns them too late for SQLAlchemy.
        return named or result.rowcount, tables


def test_statements_do_what_sqlalchemy_does() -> None:
    checked = Checked()
    with (
        simulator() as simulations,
        mock.patch.object(Statements, "execute", checked.executor()),
    ):
        for seed in SEEDS:
            assert simulations.run(plan_of(seed)) == []

    assert checked.differences == []
    assert min(checked.reads, checked.writes) > 200
