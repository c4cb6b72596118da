"""SQL conditions that restrict a query to some models of one tenant."""

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_

from headstart_server.auth.permissions import Scope
from headstart_server.auth.tenants import SEPARATOR, full_name


def within(column: ColumnElement[Any], scope: Scope) -> ColumnElement[bool]:
    """Return the condition that a column holds the full name of a model in a scope.

    Prefixes are extracted and compared: LIKE ignores case in SQLite, and the order of names depends on the
    collation in PostgreSQL.
    """
    begins = [_fits(column, full_name(scope.tenant, pattern)) for pattern in scope.models]
    mine = or_(False, *begins)
    if scope.tenant:
        return mine
    return and_(mine, ~column.contains(SEPARATOR, autoescape=True))


def _fits(column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    if not pattern.endswith("*"):
        return column == pattern
    begin = pattern[:-1]
    return func.substr(column, 1, len(begin)) == begin
