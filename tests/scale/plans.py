"""How a database finds the rows of a statement: by an index, or by reading a whole table."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection

_SCAN = re.compile(r"^SCAN (\w+)")
#: SQLite reads all rows in a state, although the statement lists their keys. Few jobs are under way, so there
#: it may.
_OF_STATE = re.compile(r"^SEARCH (?!jobs\b)(\w+) USING (?:COVERING )?INDEX \w+ \(state=\?\)$")
_KEYS = re.compile(r"\b\w+_id IN \(\?")
#: Nodes of a plan that PostgreSQL runs once for a table, and reads all of it.
WHOLE: tuple[str, ...] = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")


def whole_tables(
    connection: Connection,
    statement: str,
    parameters: Any,
    tables: Collection[str],
    kinds: Collection[str] = WHOLE,
) -> list[str]:
    """Return those of some tables that a statement reads as a whole.

    Args:
        connection: to the database.
        statement: the statement, as the driver gets it.
        parameters: its parameters.
        tables: the tables that must not be read as a whole.
        kinds: nodes of PostgreSQL's plans that count.
    """
    if not statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
        return []
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return sorted(set(_of_sqlite([row[3] for row in found], statement, tables)))
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return sorted(set(_of_postgresql(plan[0]["Plan"], tables, kinds, limited=False)))


def _of_sqlite(details: list[str], statement: str, tables: Collection[str]) -> Iterator[str]:
    names = {table: table for table in tables} | {
        alias: table for table, alias in re.findall(r"(\w+) AS (\w+)", statement) if table in tables
    }
    for detail in details:
        scan = _SCAN.match(detail) or (_KEYS.search(statement) and _OF_STATE.match(detail))
        # An index that is read in the order of the result ends with the first rows that fit.
        in_order = " USING " in detail and "LIMIT" in statement and "TEMP B-TREE" not in " ".join(details)
        if scan and scan.group(1) in names and not in_order:
            yield names[scan.group(1)]


def _of_postgresql(
    node: Any, tables: Collection[str], kinds: Collection[str], *, limited: bool
) -> Iterator[str]:
    kind = node["Node Type"]
    if kind == "Limit":
        limited = True
    elif kind in ("Sort", "Aggregate", "Hash", "Materialize"):
        limited = False
    table = node.get("Relation Name")
    if table in tables and kind in kinds and not _is_narrow(node):
        ordered = limited and kind != "Seq Scan"
        if not ordered:
            yield table
    for child in node.get("Plans", ()):
        yield from _of_postgresql(child, tables, kinds, limited=limited)


def _is_narrow(node: Any) -> bool:
    if node["Node Type"] == "Bitmap Heap Scan":
        return bool(node.get("Recheck Cond"))
    return bool(node.get("Index Cond"))
