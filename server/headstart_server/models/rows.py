"""Between rows of the tables and the values of the registry."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, exists, func, insert, select, update

from headstart_server.database.tables import REGISTRY, aliases, archive_uses, counters, models, versions
from headstart_server.errors import ModelNotFound, ModelNotReady, QuotaExceeded, VersionNotFound
from headstart_server.learning.promotion import Promotion
from headstart_server.models.version import Alias, Manifest, Model, Version

#: Aliases of a model that SetAlias makes: every replica holds all of them in memory, and lists tell them.
MAX_ALIASES = 1000


def no_model(name: str) -> ModelNotFound:
    """The error that there is no such model."""
    return ModelNotFound(
        f"There is no model '{name}'. Fine-tune it first, or list the models there are.",
        metadata={"model": name},
    )


def no_version_yet(model: str) -> ModelNotReady:
    """The error that a model's first version is still being made."""
    return ModelNotReady(
        f"Model '{model}' has no version yet; a job for it is under way. Wait for it to succeed.",
        metadata={"model": model},
    )


def no_version(model: str, number: int, newest: int | None = None) -> VersionNotFound:
    """The error that a model has no such version."""
    hint = f" Its newest is {newest}." if newest is not None else ""
    return VersionNotFound(
        f"Model '{model}' has no version {number}.{hint}", metadata={"model": model, "version": str(number)}
    )


def count_change(connection: Connection) -> int:
    """Raise the counter that tells all replicas of a change, and return it.

    Called before anything is changed: the counter's lock lets one such transaction through at a time, so who
    sees a number sees all changes up to it.
    """
    return int(
        connection.execute(
            update(counters)
            .where(counters.c.name == REGISTRY)
            .values(value=counters.c.value + 1)
            .returning(counters.c.value)
        ).scalar_one()
    )


def touch(connection: Connection, names: Iterable[str]) -> None:
    """Count a change of the versions or aliases of models; see `count_change`."""
    number = count_change(connection)
    connection.execute(update(models).where(models.c.name.in_(list(names))).values(changed=number))


def last_change(connection: Connection) -> int:
    """The number of the last change to models, versions or aliases."""
    return int(connection.execute(select(counters.c.value).where(counters.c.name == REGISTRY)).scalar_one())


def changed_models(connection: Connection, since: int) -> list[str]:
    """The models that changed after a number."""
    return list(connection.execute(select(models.c.name).where(models.c.changed > since)).scalars())


def routes(
    connection: Connection, names: Sequence[str]
) -> dict[str, tuple[dict[int, float | None], dict[str, int]]]:
    """Of each model the expiry of its versions by number, ascending, and its aliases' numbers by name."""
    found: dict[str, tuple[dict[int, float | None], dict[str, int]]] = {name: ({}, {}) for name in names}
    for row in connection.execute(
        select(versions.c.model, versions.c.number, versions.c.expires)
        .where(versions.c.model.in_(names))
        .order_by(versions.c.model, versions.c.number)
    ):
        found[row.model][0][int(row.number)] = row.expires
    for row in connection.execute(
        select(aliases.c.model, aliases.c.name, aliases.c.number).where(aliases.c.model.in_(names))
    ):
        found[row.model][1][row.name] = int(row.number)
    return found


def require_model(connection: Connection, name: str) -> None:
    """Check that there is a model.

    Raises:
        ModelNotFound: there is none of this name.
    """
    query = select(models.c.name).where(models.c.name == name, models.c.deleted.is_(None))
    if connection.execute(query).one_or_none() is None:
        raise no_model(name)


def artifact_of(connection: Connection, model: str, number: int) -> str:
    """The artifact of a version.

    Raises:
        ModelNotFound or VersionNotFound: there is none.
    """
    require_model(connection, model)
    query = select(versions.c.artifact).where(versions.c.model == model, versions.c.number == number)
    artifact: str | None = connection.execute(query).scalar()
    if artifact is None:
        raise no_version(model, number)
    return artifact


def delete_version(connection: Connection, model: str, number: int) -> None:
    """Delete the rows of a version and of the aliases that name it."""
    connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.number == number))
    connection.execute(delete(versions).where(versions.c.model == model, versions.c.number == number))


def check_aliases(connection: Connection, model: str) -> None:
    """Check that a model may have one more alias.

    Raises:
        QuotaExceeded: it may not.
    """
    query = select(func.count()).select_from(aliases).where(aliases.c.model == model)
    if int(connection.execute(query).scalar_one()) >= MAX_ALIASES:
        raise QuotaExceeded(
            f"Expected at most {MAX_ALIASES} aliases of model '{model}'. Received: one more. Remove one.",
            metadata={"subject": f"aliases of model {model}", "limit": str(MAX_ALIASES)},
        )


def move_alias(connection: Connection, model: str, alias: str, number: int, now: float) -> Alias:
    """Set or move an alias."""
    here = (aliases.c.model == model, aliases.c.name == alias)
    moves = connection.execute(select(aliases.c.moves).where(*here)).scalar()
    if moves is None:
        moves = 1
        connection.execute(
            insert(aliases).values(model=model, name=alias, number=number, moves=moves, updated=now)
        )
    else:
        moves += 1
        connection.execute(update(aliases).where(*here).values(number=number, moves=moves, updated=now))
    return Alias(name=alias, number=number, etag=_etag(moves, now), updated=now)


def _etag(moves: int, updated: float) -> str:
    # The time tells an alias from a later one of the same name whose moves are counted anew.
    return f"{moves:x}-{int(updated * 1e6):x}"


def aliases_of(connection: Connection, model: str) -> tuple[Alias, ...]:
    """The aliases of a model, by name."""
    rows = connection.execute(select(aliases).where(aliases.c.model == model).order_by(aliases.c.name)).all()
    return tuple(
        Alias(name=row.name, number=int(row.number), etag=_etag(row.moves, row.updated), updated=row.updated)
        for row in rows
    )


def model_of(connection: Connection, row: Row[Any]) -> Model:
    """The model of a row."""
    count, newest = connection.execute(
        select(func.count(), func.max(versions.c.number)).where(versions.c.model == row.name)
    ).one()
    return Model(
        name=row.name,
        created=row.created,
        newest=int(newest or 0),
        version_count=int(count),
        aliases=aliases_of(connection, row.name),
    )


def alias_number(connection: Connection, model: str, alias: str) -> int:
    """The number of the version that an alias names; 0 if there is no such alias."""
    query = select(aliases.c.number).where(aliases.c.model == model, aliases.c.name == alias)
    return int(connection.execute(query).scalar() or 0)


def select_versions() -> Select[Any]:
    """The query of the rows that `version_of` takes."""
    kept = exists().where(archive_uses.c.holder == versions.c.job_id, archive_uses.c.let_go == 0)
    return select(versions, kept.label("has_examples"))


def version_of(row: Row[Any], named: tuple[Alias, ...]) -> Version:
    """The version of a row of `select_versions`, given the aliases of its model."""
    return Version(
        model=row.model,
        number=int(row.number),
        artifact=row.artifact,
        size_bytes=int(row.size_bytes),
        created=row.created,
        expires=row.expires,
        manifest=Manifest.from_json(row.manifest),
        aliases=tuple(alias.name for alias in named if alias.number == row.number),
        promotion=None if row.promotion is None else Promotion.from_json(row.promotion),
        has_examples=bool(row.has_examples),
    )
