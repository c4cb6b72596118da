"""Lists of a model's versions: filtered, ordered, and continued after a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, exists, func, or_, select

from headstart_server.database.tables import aliases, versions
from headstart_server.errors import InvalidField
from headstart_server.models.rows import select_versions

#: The column of each order.
_ORDERS: Mapping[str, ColumnElement[Any]] = {
    "version": versions.c.number,
    "create_time": versions.c.created,
    "size_bytes": versions.c.size_bytes,
}


def _ordered(column: ColumnElement[Any], *, descending: bool) -> Select[Any]:
    query = select_versions().where(versions.c.model == bindparam("of_model")).limit(bindparam("most"))
    if descending:
        return query.order_by(column.desc(), versions.c.number.desc())
    return query.order_by(column, versions.c.number)


# Built once: building a statement takes longer than executing it.
_LISTED = {
    (name, descending): _ordered(column, descending=descending)
    for name, column in _ORDERS.items()
    for descending in (False, True)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionFilter:
    """The conditions of a list; a version must meet all of them."""

    tags: Mapping[str, str] = field(default_factory=dict)
    alias: str = ""  # an alias that names it; empty for any
    backbone: str = ""  # its backbone; empty for any
    created_after: float | None = None  # earliest publication time, inclusive; None for any
    created_before: float | None = None  # latest publication time, exclusive; None for any

    def conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        """Return the conditions as SQL."""
        found: list[ColumnElement[bool]] = [
            _has_tag(connection, key, value) for key, value in self.tags.items()
        ]
        if self.alias:
            named = (aliases.c.model == versions.c.model, aliases.c.number == versions.c.number)
            found.append(exists().where(*named, aliases.c.name == self.alias))
        if self.backbone:
            found.append(versions.c.manifest["backbone"].as_string() == self.backbone)
        if self.created_after is not None:
            found.append(versions.c.created >= self.created_after)
        if self.created_before is not None:
            found.append(versions.c.created < self.created_before)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionOrder:
    """The order of a list."""

    name: str = "version"  # `version`, `create_time` or `size_bytes`
    descending: bool = True  # whether the largest comes first

    @classmethod
    def of(cls, text: str) -> "VersionOrder":
        """Return the order of a text such as `create_time desc`; an empty one is the default."""
        if not text:
            return cls()
        name, *rest = text.split() or [""]
        if name not in _ORDERS or rest not in ([], ["asc"], ["desc"]):
            raise InvalidField(
                f"The order {text[:80]!r} is unknown. Use {', '.join(_ORDERS)}, with or without desc.",
                field="order_by",
            )
        return cls(name=name, descending=rest == ["desc"])

    def key(self, version: Any) -> list[Any]:
        """Return the sort key of a version, for a page token."""
        value = {
            "version": version.number,
            "create_time": version.created,
            "size_bytes": version.size_bytes,
        }
        return [value[self.name], version.number]

    @property
    def key_types(self) -> tuple[type, type]:
        """The types of a sort key."""
        return (float if self.name == "create_time" else int), int


def listed(
    connection: Connection,
    model: str,
    *,
    condition: VersionFilter,
    order: VersionOrder,
    after: Sequence[Any] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return the rows of a model's versions after a sort key."""
    column = _ORDERS[order.name]
    query = _LISTED[order.name, order.descending]
    if conditions := condition.conditions(connection):
        query = query.where(*conditions)
    if after is not None:
        value, number = after
        if order.descending:
            later = or_(column < value, and_(column == value, versions.c.number < number))
        else:
            later = or_(column > value, and_(column == value, versions.c.number > number))
        query = query.where(later)
    return connection.execute(query, {"of_model": model, "most": limit}).all()


def _has_tag(connection: Connection, key: str, value: str) -> ColumnElement[bool]:
    """Return the condition that a version has a tag now. A key may contain any character."""
    tags = func.coalesce(versions.c.tags, versions.c.manifest["tags"])
    is_postgres = connection.dialect.name == "postgresql"
    each = (func.json_each_text if is_postgres else func.json_each)(tags).table_valued("key", "value")
    return select(each.c.key).where(each.c.key == key, each.c.value == value).exists()
