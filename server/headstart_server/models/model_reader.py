"""Reading models, versions and aliases from the database."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, and_, bindparam, or_, select

from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.locks import batched
from headstart_server.database.scoped import within
from headstart_server.database.tables import models, versions
from headstart_server.models import alias_history, alias_rows, rows, version_list
from headstart_server.models.alias_history import AliasEvent
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.traffic import Window, read_window
from headstart_server.models.version import Model, Version
from headstart_server.models.version_list import VersionFilter, VersionOrder

#: Maximum models whose names are read in one statement.
_MODELS_AT_ONCE = 500
#: Maximum models whose versions are read in one statement.
_MODELS_OF_VERSIONS = 50
#: Maximum versions read in one statement.
_VERSIONS_AT_ONCE = 200
# Built once: building a statement takes longer than executing it.
_MODEL = select(models).where(models.c.name == bindparam("model"), models.c.deleted.is_(None))
_NAMES = (
    select(models.c.name)
    .where(models.c.name > bindparam("after"), models.c.deleted.is_(None))
    .order_by(models.c.name)
    .limit(_MODELS_AT_ONCE)
)
_VERSION = rows.select_versions().where(
    versions.c.model == bindparam("of_model"), versions.c.number == bindparam("of_number")
)
_SOME_VERSIONS = (
    rows.select_versions()
    .where(
        versions.c.model.in_(bindparam("names", expanding=True)),
        or_(
            versions.c.model > bindparam("model_before"),
            and_(
                versions.c.model == bindparam("model_before"), versions.c.number > bindparam("number_before")
            ),
        ),
    )
    .order_by(versions.c.model, versions.c.number)
    .limit(_VERSIONS_AT_ONCE)
)


class ModelReader:
    """Read models and versions from the database, as all replicas have committed them."""

    def __init__(self, database: Database, resident: ResidentVersions) -> None:
        self._database = database
        self._resident = resident

    def model(self, name: str) -> Model:
        """Return a model."""
        with self._database.snapshot() as connection:
            row = connection.execute(_MODEL, {"model": name}).one_or_none()
            if row is None:
                raise rows.model_not_found_error(name)
            return self._seen_here(rows.model_of(connection, row))

    def models(self, *, after: str, limit: int, scope: Scope | None = None) -> list[Model]:
        """Return models after a name, sorted by name; a scope restricts them to a tenant."""
        query = select(models).where(models.c.name > after, models.c.deleted.is_(None))
        if scope is not None:
            query = query.where(within(models.c.name, scope))
        with self._database.snapshot() as connection:
            found = connection.execute(query.order_by(models.c.name).limit(limit)).all()
            return [self._seen_here(rows.model_of(connection, row)) for row in found]

    def version(self, model: str, number: int) -> Version:
        """Return a version."""
        with self._database.snapshot() as connection:
            row = connection.execute(_VERSION, {"of_model": model, "of_number": number}).one_or_none()
            if row is None:
                raise rows.version_not_found_error(model, number)
            return rows.version_of(row, alias_rows.aliases_of(connection, model))

    def versions(
        self,
        model: str,
        *,
        limit: int,
        condition: VersionFilter | None = None,
        order: VersionOrder | None = None,
        after: Sequence[Any] | None = None,
    ) -> list[Version]:
        """Return versions of a model, by default the newest first.

        Args:
            condition: the conditions that they must meet; None for all.
            order: their order; None for the newest first.
            after: the key of the order that they follow; None for the first ones.
        """
        condition, order = condition or VersionFilter(), order or VersionOrder()
        with self._database.snapshot() as connection:
            found = version_list.listed(
                connection, model, condition=condition, order=order, after=after, limit=limit
            )
            named = alias_rows.aliases_of(connection, model)
            resident = self._resident.numbers(model)
            return [
                replace(rows.version_of(row, named), is_resident=int(row.number) in resident) for row in found
            ]

    def all_versions(self, model: str = "", scope: Scope | None = None) -> Iterator[Version]:
        """Yield versions by model and number, read in parts, so concurrent changes may be missed."""
        names = [model] if model else self._names(scope)
        for part in batched(
            (name for name in names if scope is None or scope.covers(name)), _MODELS_OF_VERSIONS
        ):
            after = ("", 0)
            while found := self._some_versions(part, after):
                yield from (rows.version_of(row, ()) for row in found)
                after = (found[-1].model, int(found[-1].number))

    def known_artifacts(self, artifacts: Collection[str]) -> set[str]:
        """Return the artifacts, among the given ones, that belong to versions."""
        with self._database.read() as connection:
            return rows.known_artifacts(connection, artifacts)

    def _names(self, scope: Scope | None) -> Iterator[str]:
        after = ""
        query = _NAMES if scope is None else _NAMES.where(within(models.c.name, scope))
        while True:
            with self._database.read() as connection:
                page = list(connection.execute(query, {"after": after}).scalars())
            if not page:
                return
            yield from page
            after = page[-1]

    def _some_versions(self, names: Sequence[str], after: tuple[str, int]) -> Sequence[Row[Any]]:
        place = {"names": names, "model_before": after[0], "number_before": after[1]}
        with self._database.read() as connection:
            return connection.execute(_SOME_VERSIONS, place).all()

    def alias_number(self, model: str, alias: str) -> int:
        """Return the number of the version that an alias names, from its row; 0 without such an alias."""
        with self._database.read() as connection:
            return alias_rows.alias_number(connection, model, alias)

    def alias_events(
        self, model: str, alias: str = "", *, before: int | None = None, limit: int
    ) -> Sequence[AliasEvent]:
        """Return moves of one or all aliases of a model, with IDs below `before`, newest first."""
        with self._database.snapshot() as connection:
            rows.require_model(connection, model)
            return alias_history.events(connection, model, alias, before=before, limit=limit)

    def traffic_window(self, model: str, seconds: float, number: int | None = None) -> Window:
        """As `read_window`, over all replicas."""
        return read_window(self._database, model, seconds, number)

    def _seen_here(self, model: Model) -> Model:
        return replace(model, resident_count=len(self._resident.numbers(model.name)))
