"""Rows of aliases and of their traffic splits, as values."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from headstart_server.database.tables import alias_shares, aliases, versions
from headstart_server.errors import QuotaExceeded
from headstart_server.models.version import Alias, TrafficSplit

#: Maximum aliases of a model: every replica holds all of them in memory, and lists contain them.
MAX_ALIASES = 1000

# Shares of an earlier move are no longer valid.
_COUNTS = and_(
    alias_shares.c.model == aliases.c.model,
    alias_shares.c.alias == aliases.c.name,
    alias_shares.c.moves == aliases.c.moves,
)
# Built once: building a statement takes longer than executing it.
_HERE = and_(aliases.c.model == bindparam("of_model"), aliases.c.name == bindparam("alias"))
_MOVES = select(aliases.c.moves).where(_HERE)
_NUMBER = select(aliases.c.number).where(_HERE)
_COUNT = select(func.count()).select_from(aliases).where(aliases.c.model == bindparam("of_model"))
_INSERT = insert(aliases)
_MOVE = update(aliases).where(_HERE)
_DELETE_SHARES = delete(alias_shares).where(
    alias_shares.c.model == bindparam("of_model"), alias_shares.c.alias == bindparam("alias")
)
_ALIASES = select(aliases).where(aliases.c.model == bindparam("of_model")).order_by(aliases.c.name)
_SHARES = (
    select(alias_shares)
    .join(aliases, _COUNTS)
    .where(alias_shares.c.model.in_(bindparam("models", expanding=True)))
    .order_by(alias_shares.c.number)
)


def check_count(model: str, count: int) -> None:
    """Raise QuotaExceeded if a model with `count` aliases may not have another one."""
    if count >= MAX_ALIASES:
        raise QuotaExceeded(
            f"Model '{model}' has the maximum number of aliases, {MAX_ALIASES}. Remove one.",
            metadata={"subject": f"aliases of model {model}", "limit": str(MAX_ALIASES)},
        )


def move_alias(
    connection: Connection,
    model: str,
    alias: str,
    number: int,
    *,
    now: float,
    shares: Sequence[TrafficSplit] = (),
) -> Alias:
    """Set or move an alias with its traffic split; raise QuotaExceeded if the model has too many aliases."""
    here = {"of_model": model, "alias": alias}
    moves = connection.execute(_MOVES, here).scalar()
    moved: dict[str, Any] = {"number": number, "moves": 1 if moves is None else moves + 1, "updated": now}
    if moves is None:
        check_count(model, int(connection.execute(_COUNT, {"of_model": model}).scalar_one()))
        connection.execute(_INSERT, {"model": model, "name": alias, **moved})
    else:
        connection.execute(_MOVE, {**here, **moved})
        connection.execute(_DELETE_SHARES, here)
    given = tuple(sorted(shares, key=lambda each: each.number))
    if given:
        connection.execute(
            insert(alias_shares),
            [
                {
                    "model": model,
                    "alias": alias,
                    "number": each.number,
                    "share": each.fraction,
                    "moves": moved["moves"],
                }
                for each in given
            ],
        )
    return Alias(name=alias, number=number, etag=_etag(moved["moves"], now), updated=now, traffic=given)


def aliases_of(connection: Connection, model: str) -> tuple[Alias, ...]:
    """Return the aliases of a model, by name."""
    rows = connection.execute(_ALIASES, {"of_model": model}).all()
    shares = traffic_of(connection, [model]) if rows else {}
    return tuple(
        Alias(
            name=row.name,
            number=int(row.number),
            etag=_etag(row.moves, row.updated),
            updated=row.updated,
            traffic=shares.get((model, row.name), ()),
        )
        for row in rows
    )


def alias_number(connection: Connection, model: str, alias: str) -> int:
    """Return the number of the version that an alias names; 0 without such an alias."""
    return int(connection.execute(_NUMBER, {"of_model": model, "alias": alias}).scalar() or 0)


def traffic_of(
    connection: Connection, models: Sequence[str]
) -> dict[tuple[str, str], tuple[TrafficSplit, ...]]:
    """Return the traffic splits by model and alias."""
    found: dict[tuple[str, str], list[TrafficSplit]] = {}
    for row in connection.execute(_SHARES, {"models": list(models)}):
        given = TrafficSplit(number=int(row.number), fraction=row.share)
        found.setdefault((row.model, row.alias), []).append(given)
    return {key: tuple(shares) for key, shares in found.items()}


def has_traffic() -> ColumnElement[bool]:
    """Return the SQL condition that a version is in the traffic split of an alias."""
    return exists().where(
        _COUNTS, alias_shares.c.model == versions.c.model, alias_shares.c.number == versions.c.number
    )


def delete_alias(connection: Connection, model: str, alias: str) -> None:
    """Delete an alias of a model."""
    connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.name == alias))


def delete_aliases(connection: Connection, model: str) -> None:
    """Delete all aliases of a model."""
    connection.execute(delete(aliases).where(aliases.c.model == model))


def drop_version(connection: Connection, model: str, number: int, now: float) -> None:
    """Remove the aliases that name a version, and its shares of other aliases."""
    connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.number == number))
    shared = select(alias_shares.c.alias).where(
        alias_shares.c.model == model, alias_shares.c.number == number
    )
    if connection.execute(shared.limit(1)).first() is None:
        return
    for alias in aliases_of(connection, model):
        others = [each for each in alias.traffic if each.number != number]
        if len(others) < len(alias.traffic):
            move_alias(connection, model, alias.name, alias.number, now=now, shares=others)


def _etag(moves: int, updated: float) -> str:
    # The time distinguishes an alias from a later alias of the same name, whose moves start again at 1.
    return f"{moves:x}-{int(updated * 1e6):x}"
