"""The history of aliases: the caller, time and versions of each move, written in the move's transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Delete, bindparam, delete, insert, select

from headstart_server.database.tables import alias_events
from headstart_server.models.alias_rows import aliases_of
from headstart_server.models.version import Alias, TrafficSplit

#: Maximum events of a model; older ones are removed.
MAX_EVENTS = 1000


def pruning(most: int) -> Delete:
    """Return the statement that removes all but the newest moves of a model."""
    oldest = (
        select(alias_events.c.id)
        .where(alias_events.c.model == bindparam("of_model"))
        .order_by(alias_events.c.id.desc())
        .offset(most)
        .limit(1)
        .scalar_subquery()
    )
    return delete(alias_events).where(
        alias_events.c.model == bindparam("of_model"), alias_events.c.id <= oldest
    )


# Built once: building a statement takes longer than executing it.
_PRUNE = pruning(MAX_EVENTS)


class Cause(StrEnum):
    """The cause of an alias move.

    SET: a caller set or deleted it.
    PUBLISHED: a job published a version and moved the alias to it.
    DELETED: a caller deleted the version.
    EXPIRED: the version expired.
    ERASED: the version was replaced by one without an erased example.
    """

    SET = "set"
    PUBLISHED = "published"
    DELETED = "deleted"
    EXPIRED = "expired"
    ERASED = "erased"


@dataclass(frozen=True, kw_only=True, slots=True)
class Mover:
    """The caller or job that moves aliases."""

    cause: Cause
    principal: str = ""  # name of the caller, or of the caller who submitted the job; may be empty
    job_id: str = ""  # the job; empty for none


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasEvent:
    """One move of an alias."""

    id: int  # larger for later events
    model: str
    alias: str
    time: float  # time of the move, in seconds since 1970
    mover: Mover
    before: int | None  # the version it named; None if it is new
    after: int | None  # the version it names; None if it was removed
    traffic_before: tuple[TrafficSplit, ...]
    traffic_after: tuple[TrafficSplit, ...]


@contextmanager
def recorded(connection: Connection, models: Iterable[str], mover: Mover, now: float) -> Iterator[None]:
    """Record the alias changes of the block, in a transaction that has locked the registry's counter."""
    before = {model: _by_name(connection, model) for model in sorted(set(models))}
    yield
    for model, earlier in before.items():
        later = _by_name(connection, model)
        names = sorted(earlier.keys() | later.keys())
        changes = [
            {
                "model": model,
                "alias": name,
                "time": now,
                "cause": mover.cause.value,
                "principal": mover.principal,
                "job_id": mover.job_id,
                **_state("before", earlier.get(name)),
                **_state("after", later.get(name)),
            }
            for name in names
            if _place(earlier.get(name)) != _place(later.get(name))
        ]
        if changes:
            connection.execute(insert(alias_events), changes)
            connection.execute(_PRUNE, {"of_model": model})


def forget(connection: Connection, model: str) -> None:
    """Remove the history of a model."""
    connection.execute(delete(alias_events).where(alias_events.c.model == model))


def events(
    connection: Connection, model: str, alias: str, *, before: int | None, limit: int
) -> Sequence[AliasEvent]:
    """Return events of a model or of one alias, with IDs below `before`, newest first."""
    query = select(alias_events).where(alias_events.c.model == model)
    if alias:
        query = query.where(alias_events.c.alias == alias)
    if before is not None:
        query = query.where(alias_events.c.id < before)
    return [
        AliasEvent(
            id=int(row.id),
            model=row.model,
            alias=row.alias,
            time=row.time,
            mover=Mover(cause=Cause(row.cause), principal=row.principal, job_id=row.job_id),
            before=row.before,
            after=row.after,
            traffic_before=_traffic(row.traffic_before),
            traffic_after=_traffic(row.traffic_after),
        )
        for row in connection.execute(query.order_by(alias_events.c.id.desc()).limit(limit))
    ]


def _by_name(connection: Connection, model: str) -> Mapping[str, Alias]:
    return {alias.name: alias for alias in aliases_of(connection, model)}


def _place(alias: Alias | None) -> tuple[int, tuple[TrafficSplit, ...]] | None:
    return None if alias is None else (alias.number, alias.traffic)


def _state(name: str, alias: Alias | None) -> dict[str, Any]:
    traffic = () if alias is None else alias.traffic
    return {
        name: None if alias is None else alias.number,
        f"traffic_{name}": [[each.number, each.fraction] for each in traffic],
    }


def _traffic(values: Sequence[tuple[int, float]]) -> tuple[TrafficSplit, ...]:
    return tuple(TrafficSplit(number=number, fraction=fraction) for number, fraction in values)
