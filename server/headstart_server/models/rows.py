"""Conversion between rows of the tables and values of the registry."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    not_,
    select,
    update,
)

from headstart_server.database.dataset_tables import archive_uses
from headstart_server.database.locks import batched
from headstart_server.database.tables import REGISTRY, counters, models, versions
from headstart_server.errors import ModelNotFound, ModelNotReady, VersionNotFound, decoding
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import usage
from headstart_server.models.alias_rows import aliases_of, drop_version, has_traffic
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.retrain_policy import RetrainPolicy
from headstart_server.models.version import Alias, Manifest, Model, Version

#: Maximum names in one statement.
_AT_ONCE = 500
#: The columns that are needed after a version's row was deleted.
_DELETED: tuple[Column[Any], ...] = (
    versions.c.model,
    versions.c.number,
    versions.c.artifact,
    versions.c.job_id,
    versions.c.size_bytes,
)
# Built once: building a statement takes longer than executing it.
_NEXT_REVISION = (
    update(counters)
    .where(counters.c.name == REGISTRY)
    .values(value=counters.c.value + 1)
    .returning(counters.c.value)
)
_BUMP_REVISION = (
    update(models)
    .where(models.c.name.in_(bindparam("names", expanding=True)))
    .values(changed=bindparam("number"))
)
_LAST_REVISION = select(counters.c.value).where(counters.c.name == REGISTRY)
_CHANGED_MODELS = select(models.c.name).where(models.c.changed > bindparam("since"))
_MODEL = select(models.c.name).where(models.c.name == bindparam("model"), models.c.deleted.is_(None))
# Shared: it waits for a deletion of the model, but not for checks of foreign keys.
_LOCKED_MODEL = _MODEL.with_for_update(read=True)
_ARTIFACT = select(versions.c.artifact).where(
    versions.c.model == bindparam("model"), versions.c.number == bindparam("number")
)
_KNOWN_ARTIFACTS = select(versions.c.artifact).where(
    versions.c.artifact.in_(bindparam("artifacts", expanding=True))
)
_NUMBER_OF = select(versions.c.number).where(versions.c.artifact == bindparam("artifact"))
_COUNT_VERSIONS = select(func.count(), func.max(versions.c.number)).where(
    versions.c.model == bindparam("model")
)
_NEXT_NUMBER = select(models.c.next_number).where(models.c.name == bindparam("model"))
_INSERT_MODEL, _INSERT_VERSION = insert(models), insert(versions)
_CHANGE_MODEL = update(models).where(models.c.name == bindparam("model")).values(deleted=None)
_DELETE_VERSION = (
    delete(versions)
    .where(versions.c.model == bindparam("model"), versions.c.number == bindparam("number"))
    .returning(*_DELETED)
)
_NUMBERS = select(versions.c.number).where(versions.c.model == bindparam("model")).order_by(versions.c.number)
_DELETE_PART = (
    delete(versions)
    .where(
        versions.c.model == bindparam("model"),
        versions.c.number.between(bindparam("first"), bindparam("last")),
    )
    .returning(*_DELETED)
)


def model_not_found_error(name: str) -> ModelNotFound:
    """Return the error for a missing model."""
    model, at, which = name.partition("@")
    remedy = "List the models to find its name, or fine-tune it first."
    if at:
        part = f"versions/{which}" if which.isdigit() else f"aliases/{which}"
        remedy = (
            "The name of a model has no '@': name the model and the version or alias separately, over HTTP "
            f"as models/{model}/{part}."
        )
    return ModelNotFound(
        f"There is no model '{name}'. {remedy}",
        metadata={"model": name},
    )


def version_not_ready_error(model: str) -> ModelNotReady:
    """Return the error for a model whose first version is not ready."""
    return ModelNotReady(
        f"Model '{model}' has no version yet, because its first fine-tune is running. Wait until the job "
        "has succeeded.",
        metadata={"model": model},
    )


def version_not_found_error(model: str, number: int, newest: int | None = None) -> VersionNotFound:
    """Return the error for a missing version of a model."""
    hint = f" Its newest is {newest}." if newest is not None else ""
    return VersionNotFound(
        f"Model '{model}' has no version {number}.{hint}", metadata={"model": model, "version": str(number)}
    )


def next_revision(connection: Connection) -> int:
    """Increase and return the revision, by which all replicas detect a change.

    Call it before changing anything: the counter's lock admits one such transaction at a time, so a
    replica that reads a number sees all changes up to it.
    """
    return int(connection.execute(_NEXT_REVISION).scalar_one())


def bump_revision(connection: Connection, names: Iterable[str]) -> None:
    """Count a change of the versions or aliases of models; see `next_revision`."""
    number = next_revision(connection)
    connection.execute(_BUMP_REVISION, {"names": list(names), "number": number})


def last_revision(connection: Connection) -> int:
    """Return the number of the last change of models, versions or aliases."""
    return int(connection.execute(_LAST_REVISION).scalar_one())


def changed_models(connection: Connection, since: int) -> list[str]:
    """Return the models that changed after a revision."""
    return list(connection.execute(_CHANGED_MODELS, {"since": since}).scalars())


def require_model(connection: Connection, name: str, *, lock: bool = False) -> None:
    """Raise ModelNotFound if a model does not exist; `lock` keeps it until the end of the transaction."""
    query = _LOCKED_MODEL if lock else _MODEL
    if connection.execute(query, {"model": name}).one_or_none() is None:
        raise model_not_found_error(name)


def artifact_of(connection: Connection, model: str, number: int) -> str:
    """Return the artifact of a version."""
    require_model(connection, model)
    artifact: str | None = connection.execute(_ARTIFACT, {"model": model, "number": number}).scalar()
    if artifact is None:
        raise version_not_found_error(model, number)
    return artifact


def known_artifacts(connection: Connection, artifacts: Iterable[str]) -> set[str]:
    """Return the artifacts that belong to versions."""
    found: set[str] = set()
    for part in batched(artifacts, _AT_ONCE):
        found.update(connection.execute(_KNOWN_ARTIFACTS, {"artifacts": part}).scalars())
    return found


def number_of(connection: Connection, artifact: str) -> int | None:
    """Return the number of the version that has an artifact; None if no version has it."""
    number: int | None = connection.execute(_NUMBER_OF, {"artifact": artifact}).scalar()
    return None if number is None else int(number)


def next_number(connection: Connection, model: str, *, now: float, change: int) -> int:
    """Return and count the number of a model's next version; create the model if it is new or deleted."""
    number: int | None = connection.execute(_NEXT_NUMBER, {"model": model}).scalar()
    if number is None:
        number = 1
        connection.execute(_INSERT_MODEL, {"name": model, "created": now, "next_number": number})
    connection.execute(_CHANGE_MODEL, {"model": model, "next_number": number + 1, "changed": change})
    return int(number)


def insert_version(connection: Connection, **values: Any) -> None:
    """Insert the row of a version."""
    connection.execute(_INSERT_VERSION, values)


def version_count(connection: Connection, model: str) -> int:
    """Return the number of versions of a model."""
    query = select(func.count()).where(versions.c.model == model)
    return int(connection.execute(query).scalar_one())


def delete_version(connection: Connection, model: str, number: int, now: float) -> Row[Any]:
    """Delete a version's row, aliases and traffic shares; return the row for `usage.remove_versions`."""
    drop_version(connection, model, number, now)
    deleted: Row[Any] = connection.execute(_DELETE_VERSION, {"model": model, "number": number}).one()
    return deleted


def delete_versions(connection: Connection, model: str) -> list[Row[Any]]:
    """Delete the rows of all versions of a model, in parts, and return them."""
    found: list[Row[Any]] = []
    numbers = connection.execute(_NUMBERS, {"model": model}).scalars().all()
    # By their numbers: a search for each part would pass all rows that this transaction deleted before.
    for part in batched(numbers, usage.AT_ONCE):
        here = {"model": model, "first": part[0], "last": part[-1]}
        found.extend(connection.execute(_DELETE_PART, here))
    usage.remove_versions(connection, found)
    return found


def delete_model(connection: Connection, name: str, now: float) -> None:
    """Mark a model without versions as deleted, and remove its details and policies."""
    connection.execute(
        update(models)
        .where(models.c.name == name)
        .values(deleted=now, display_name=None, description=None, tags=None, capture=None, retrain=None)
    )


def expired_versions(connection: Connection, now: float, *, limit: int) -> list[Row[Any]]:
    """Return model, number and artifact of expired versions that are in no traffic split."""
    query = select(versions.c.model, versions.c.number, versions.c.artifact)
    expired = query.where(versions.c.expires <= now, not_(has_traffic()))
    return list(connection.execute(expired.order_by(versions.c.expires).limit(limit)))


def model_of(connection: Connection, row: Row[Any]) -> Model:
    """Return the model of a row."""
    count, newest = connection.execute(_COUNT_VERSIONS, {"model": row.name}).one()
    with decoding(f"Model '{row.name}'", model=row.name):
        return Model(
            name=row.name,
            created=row.created,
            newest=int(newest or 0),
            version_count=int(count),
            aliases=aliases_of(connection, row.name),
            display_name=row.display_name or "",
            description=row.description or "",
            tags=row.tags or {},
            capture=None if row.capture is None else CapturePolicy.from_json(row.capture),
            retrain=None if row.retrain is None else RetrainPolicy.from_json(row.retrain),
        )


def select_versions() -> Select[Any]:
    """Return the query whose rows `version_of` accepts."""
    kept = exists().where(archive_uses.c.holder == versions.c.job_id, usage.is_held())
    return select(versions, kept.label("has_examples"))


def version_of(row: Row[Any], named: tuple[Alias, ...]) -> Version:
    """Return the version of a row of `select_versions`, given the aliases of its model."""
    what = f"Version {row.number} of model '{row.model}'"
    with decoding(what, model=row.model, version=str(row.number)):
        return _version_of(row, named)


def _version_of(row: Row[Any], named: tuple[Alias, ...]) -> Version:
    manifest = Manifest.from_json(row.manifest)
    changed = {"display_name": row.display_name, "tags": row.tags}
    return Version(
        model=row.model,
        number=int(row.number),
        artifact=row.artifact,
        size_bytes=int(row.size_bytes),
        created=row.created,
        expires=row.expires,
        manifest=replace(manifest, **{name: value for name, value in changed.items() if value is not None}),
        aliases=tuple(alias.name for alias in named if alias.number == row.number),
        promotion=None if row.promotion is None else Promotion.from_json(row.promotion),
        has_examples=bool(row.has_examples),
        description=row.description or "",
    )
