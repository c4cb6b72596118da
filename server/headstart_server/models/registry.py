"""The registry of models: their versions, aliases, and which of them is meant."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, and_, delete, not_, or_, select, update

from headstart_server.auth.permissions import Scope
from headstart_server.database.batches import batched
from headstart_server.database.clock import DatabaseClock
from headstart_server.database.database import Database
from headstart_server.database.scoped import within
from headstart_server.database.tables import aliases, models, versions
from headstart_server.errors import (
    AliasNotFound,
    ArtifactDamaged,
    EtagMismatch,
    ModelNotEmpty,
    ModelNotFound,
    StorageUnavailable,
    VersionInUse,
    VersionNotFound,
)
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.example_list import ExampleList, read_outcomes
from headstart_server.learning.metrics.outcomes import PredictionOutcome
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import (
    alias_history,
    alias_rows,
    evaluation_file,
    rows,
    updates,
    usage,
    version_list,
)
from headstart_server.models.alias_history import AliasEvent, Cause, Mover
from headstart_server.models.evidence import NEIGHBORS_FILE
from headstart_server.models.model_entry import ModelEntry, read_model_entries
from headstart_server.models.resident import ResidentVersion, ResidentVersions
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from headstart_server.models.traffic_split import TrafficRouter, check_traffic
from headstart_server.models.updates import Expiration
from headstart_server.models.version import Alias, Manifest, Model, Selector, TrafficSplit, Version
from headstart_server.models.version_list import VersionFilter, VersionOrder

#: Models whose entries are read in one statement.
_MODELS_AT_ONCE = 500
#: Expired versions that one transaction deletes: others wait for it to change a model.
_EXPIRED_AT_ONCE = 100
#: Models whose versions are looked for in one statement.
_MODELS_OF_VERSIONS = 50
#: Versions that are read in one statement.
_VERSIONS_AT_ONCE = 200

_Read = TypeVar("_Read")


class AliasMovedError(Exception):
    """The alias names another version than the one that was judged: judge again."""


class Registry:
    """Finds, lists, names and deletes versions.

    Rows in the database are the truth. Routes (numbers and aliases, no heads) are kept in memory as well, so
    that a Predict of a resident version reads neither database nor disk.

    Args:
        database: holds the rows.
        store: holds the files.
        resident: holds the heads in memory.
        on_deleted: called after versions were deleted, once their rows are gone.
        clock: seconds that only go up.
        refreshing: lets one refresh of the entries through at a time; None takes a lock of threads.
    """

    def __init__(
        self,
        database: Database,
        store: VersionStore,
        resident: ResidentVersions,
        *,
        on_deleted: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        refreshing: AbstractContextManager[object] | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._resident = resident
        self._on_deleted = on_deleted
        # What has expired is told without asking the database, and still by its clock.
        self._now = DatabaseClock(database, clock)
        self._entries: dict[str, ModelEntry] = {}
        # Of two refreshes at once the one that read first must not write last.
        self._refreshing = refreshing or threading.Lock()
        self._seen = -1
        self.sync()

    # Finding

    def resolve(self, selector: Selector, router: TrafficRouter | None = None) -> int:
        """The number of the version that is meant. Reads memory only.

        Args:
            selector: the version.
            router: chooses where an alias gives others a share of its calls; None for the version it names.

        Raises:
            ModelNotFound: no such model, or it has no version.
            AliasNotFound: the model has no such alias.
            VersionNotFound: the model has no such version, or it has expired.
        """
        entry = self._entries.get(selector.model)
        default = entry.default(self._is_live) if entry is not None else None
        if entry is None or default is None:
            raise rows.model_not_found_error(selector.model)
        number = selector.number
        if selector.alias is not None:
            number = entry.aliases.get(selector.alias)
            if number is None:
                raise AliasNotFound(
                    f"Model '{selector.model}' has no alias '{selector.alias}'. "
                    f"Its aliases: {', '.join(sorted(entry.aliases)) or 'none'}.",
                    metadata={"model": selector.model, "alias": selector.alias},
                )
            if router is not None and (shares := entry.shares.get(selector.alias)):
                number = router.route(selector.model, number, shares)
        if number is None:
            return default
        if number not in entry.numbers or not self._is_live(entry.numbers[number]):
            raise rows.version_not_found_error(
                selector.model, number, newest=max(self.numbers(selector.model))
            )
        return number

    def find(self, selector: Selector, router: TrafficRouter | None = None) -> int:
        """As `resolve`, but what memory does not know is looked for in the database.

        Whoever was told by one replica that a version is there may ask another one at once.

        Raises:
            ModelNotFound, AliasNotFound or VersionNotFound: there is no such version.
            DatabaseUnavailable: memory knows none, and the database does not answer.
        """
        try:
            return self.resolve(selector, router)
        except (ModelNotFound, AliasNotFound, VersionNotFound):
            self.sync()
        return self.resolve(selector, router)

    def numbers(self, model: str) -> list[int]:
        """The numbers of a model's versions, ascending, without those that have expired. Reads memory only.

        Raises:
            ModelNotFound: no such model, or it has no version.
        """
        entry = self._entries.get(model)
        live = [number for number, expiry in entry.numbers.items() if self._is_live(expiry)] if entry else []
        if not live:
            raise rows.model_not_found_error(model)
        return live

    def resident(self, model: str, number: int) -> ResidentVersion | None:
        """A version that `resolve` found, if it is in memory."""
        return self._resident.get(model, number)

    def load(self, model: str, number: int) -> ResidentVersion:
        """A version that `resolve` found, read from disk if it is not in memory.

        Raises:
            VersionNotFound: it was deleted meanwhile.
            ArtifactDamaged: its files are damaged or missing.
        """
        found = self._resident.get(model, number)
        if found is not None:
            return found
        version = self.version(model, number)
        try:
            head = self._store.read(version.artifact, version.manifest)
            tail = self._store.read_tail(version.artifact, version.manifest)
        except ArtifactDamaged:
            # Its row goes before its files: if that is gone by now, it was deleted and not damaged.
            self.version(model, number)
            raise
        loaded = ResidentVersion(
            model=model,
            number=number,
            backbone=version.manifest.backbone,
            backbone_digest=version.manifest.backbone_digest,
            head=head,
            tail=tail,
        )
        self._resident.put(loaded)
        # It may have been deleted since its row was read, and what is deleted is dropped only once: after its
        # entry is gone, so either that drop comes after the put, or it is seen here.
        entry = self._entries.get(model)
        if entry is None or number not in entry.numbers:
            self._resident.drop(model, number)
        return loaded

    def with_evidence(self, version: ResidentVersion, files: Collection[str]) -> ResidentVersion:
        """A version with what its answers rest on, read from disk as far as it is not in memory.

        It stays in memory with the version; an index of neighbours only if it is not larger than a quarter of
        what all versions may take.

        Args:
            version: as `load` gave it.
            files: the names of the files that are wanted.

        Raises:
            VersionNotFound: it was deleted meanwhile.
            ArtifactDamaged: a file is damaged or missing.
        """
        missing = set(files) - version.evidence.files
        if not missing:
            return version
        stored = self.version(version.model, version.number)
        try:
            evidence = self._store.read_evidence(stored.artifact, stored.manifest, version.evidence, missing)
        except ArtifactDamaged:
            self.version(version.model, version.number)
            raise
        kept = evidence
        if evidence.nbytes > self._resident.max_bytes // 4:
            kept = replace(evidence, neighbors=None, files=evidence.files - {NEIGHBORS_FILE})
        self._resident.replace(replace(version, evidence=kept))
        return replace(version, evidence=evidence)

    # Reading

    def model(self, name: str) -> Model:
        """A model.

        Raises:
            ModelNotFound: there is none of this name.
        """
        with self._database.snapshot() as connection:
            row = connection.execute(
                select(models).where(models.c.name == name, models.c.deleted.is_(None))
            ).one_or_none()
            if row is None:
                raise rows.model_not_found_error(name)
            return self._seen_here(rows.model_of(connection, row))

    def models(self, *, after: str, limit: int, scope: Scope | None = None) -> list[Model]:
        """Models by name, those after a name; with a scope only those within it."""
        query = select(models).where(models.c.name > after, models.c.deleted.is_(None))
        if scope is not None:
            query = query.where(within(models.c.name, scope))
        with self._database.snapshot() as connection:
            found = connection.execute(query.order_by(models.c.name).limit(limit)).all()
            return [self._seen_here(rows.model_of(connection, row)) for row in found]

    def version(self, model: str, number: int) -> Version:
        """A version.

        Raises:
            VersionNotFound: there is none of this number.
        """
        with self._database.snapshot() as connection:
            row = connection.execute(
                rows.select_versions().where(versions.c.model == model, versions.c.number == number)
            ).one_or_none()
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
            model: the model.
            limit: the most versions.
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
        """Every version there is, by model and number; read in parts, so those that come or go may be missed.

        Args:
            model: only those of this model; empty for all.
            scope: only those of models within it; None for all.
        """
        names = [model] if model else self._names(scope)
        for part in batched(
            (name for name in names if scope is None or scope.covers(name)), _MODELS_OF_VERSIONS
        ):
            after = ("", 0)
            while found := self._some_versions(part, after):
                yield from (rows.version_of(row, ()) for row in found)
                after = (found[-1].model, int(found[-1].number))

    def _names(self, scope: Scope | None) -> Iterator[str]:
        """Return the names of the models that have or had versions."""
        after = ""
        while True:
            query = select(models.c.name).where(models.c.name > after, models.c.deleted.is_(None))
            if scope is not None:
                query = query.where(within(models.c.name, scope))
            with self._database.read() as connection:
                some = query.order_by(models.c.name).limit(_MODELS_AT_ONCE)
                page = list(connection.execute(some).scalars())
            if not page:
                return
            yield from page
            after = page[-1]

    def _some_versions(self, names: Sequence[str], after: tuple[str, int]) -> Sequence[Row[Any]]:
        later = or_(
            versions.c.model > after[0], and_(versions.c.model == after[0], versions.c.number > after[1])
        )
        query = rows.select_versions().where(versions.c.model.in_(names), later)
        with self._database.read() as connection:
            return connection.execute(
                query.order_by(versions.c.model, versions.c.number).limit(_VERSIONS_AT_ONCE)
            ).all()

    def examples(self, version: Version) -> ExampleList | None:
        """Return the examples of a version with its prediction for each; None if no list is stored.

        Raises:
            VersionNotFound: it was deleted meanwhile.
            ArtifactDamaged: the list is damaged or missing.
        """
        return self._listed(version, ExampleList.from_bytes)

    def outcomes(self, version: Version) -> Sequence[PredictionOutcome | None]:
        """Return only the predictions of a version for its examples; empty if no list is stored.

        Raises:
            VersionNotFound: it was deleted meanwhile.
            ArtifactDamaged: the list is damaged or missing.
        """
        return self._listed(version, read_outcomes) or ()

    def _listed(self, version: Version, read: Callable[[bytes], _Read]) -> _Read | None:
        content = self.file(version, EXAMPLES_FILE)
        if content is None:
            return None
        try:
            return read(content)
        except (OSError, EOFError, KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtifactDamaged(
                f"The list of the examples of version {version.number} of model '{version.model}' cannot be "
                "read by this release.",
                metadata={"model": version.model, "version": str(version.number)},
            ) from error

    def evaluation(self, selector: Selector) -> tuple[Version, Evaluation | None, DatasetFindings | None]:
        """Return a version with its evaluation and the findings in its examples; None where none is stored.

        Raises:
            ModelNotFound, AliasNotFound or VersionNotFound: there is no such version.
            ArtifactDamaged: its evaluation is damaged or missing.
        """
        version = self.version(selector.model, self.find(selector))
        content = self.file(version, evaluation_file.EVALUATION_FILE)
        if content is None:
            return version, None, None
        try:
            return version, *evaluation_file.decode(content)
        except ValueError as error:
            raise ArtifactDamaged(
                f"The evaluation of version {version.number} of model '{version.model}' cannot be read by "
                "this release.",
                metadata={"model": version.model, "version": str(version.number)},
            ) from error

    def file(self, version: Version, name: str) -> bytes | None:
        """A further file of a version; None if it has none of this name.

        Raises:
            VersionNotFound: it was deleted meanwhile.
            ArtifactDamaged: the file is damaged or missing.
        """
        try:
            return self._store.read_file(version.artifact, version.manifest, name)
        except ArtifactDamaged:
            # As in `load`.
            self.version(version.model, version.number)
            raise

    def alias_number(self, model: str, alias: str) -> int:
        """The number of the version that an alias names now, by its row; 0 if there is no such alias."""
        with self._database.read() as connection:
            return alias_rows.alias_number(connection, model, alias)

    def alias_events(
        self, model: str, alias: str = "", *, before: int | None = None, limit: int
    ) -> Sequence[AliasEvent]:
        """Return moves of a model's aliases, the newest first.

        Args:
            model: the model.
            alias: only those of this alias; empty for all.
            before: only those with a smaller id; None for all.
            limit: the most moves.

        Raises:
            ModelNotFound: there is no such model.
        """
        with self._database.snapshot() as connection:
            rows.require_model(connection, model)
            return alias_history.events(connection, model, alias, before=before, limit=limit)

    # Changing

    def insert(
        self,
        connection: Connection,
        *,
        artifact: str,
        size_bytes: int,
        manifest: Manifest,
        expires: float | None,
        alias: str | None,
        promotion: Promotion | None = None,
        discards_examples: bool = False,
        principal: str = "",
    ) -> int:
        """Add a version within the transaction that ends its job; call `refresh` after the commit.

        Args:
            connection: of the transaction.
            artifact: where its files lie.
            size_bytes: their size.
            manifest: where it came from.
            expires: when it will be deleted; None for never.
            alias: the alias to move to it; None for none.
            promotion: what was decided about the alias; None moves it anyway.
            discards_examples: whether it keeps no examples.
            principal: name of the caller who sent the job, for the history of the alias.

        Returns:
            Its number.

        Raises:
            AliasMovedError: the alias was to be moved, but names another version than the one that was
                judged.
            QuotaExceeded: the alias is new, and the model may have no further one.
        """
        change, now = rows.next_revision(connection), self._database.now(connection)
        if alias is not None and promotion is not None:
            moves = promotion.is_promoted
            if moves and alias_rows.alias_number(connection, manifest.model, alias) != promotion.baseline:
                raise AliasMovedError(alias)
            alias = alias if moves else None
        number = rows.next_number(connection, manifest.model, now=now, change=change)
        rows.insert_version(
            connection,
            model=manifest.model,
            number=number,
            job_id=manifest.job_id,
            artifact=artifact,
            size_bytes=size_bytes,
            created=now,
            expires=expires,
            manifest=manifest.to_json(),
            promotion=None if promotion is None else promotion.to_json(),
        )
        if discards_examples:
            usage.release(connection, [manifest.job_id])
        usage.add_version(connection, manifest.model, size_bytes)
        if alias is not None:
            mover = Mover(cause=Cause.PUBLISHED, principal=principal, job_id=manifest.job_id)
            with alias_history.recorded(connection, [manifest.model], mover, now):
                alias_rows.move_alias(connection, manifest.model, alias, number, now=now)
        return number

    def refresh(self, model: str) -> None:
        """Bring the entry of a model up to date with its rows."""
        with self._refreshing, self._database.snapshot() as connection:
            self._read_entries(connection, [model])

    def sync(self) -> None:
        """Bring the entries of all models up to date that any replica has changed since the last time.

        Raises:
            DatabaseUnavailable: the database does not answer; what was known stays known.
        """
        with self._database.read() as connection:
            self._now.set(connection)
            if rows.last_revision(connection) == self._seen:
                return
        with self._refreshing, self._database.snapshot() as connection:
            seen = rows.last_revision(connection)
            self._read_entries(connection, rows.changed_models(connection, self._seen))
            self._seen = seen

    def _read_entries(self, connection: Connection, names: Sequence[str]) -> None:
        for start in range(0, len(names), _MODELS_AT_ONCE):
            part = names[start : start + _MODELS_AT_ONCE]
            for model, entry in read_model_entries(connection, part).items():
                before = self._entries.get(model)
                if entry.numbers:
                    self._entries[model] = entry
                else:
                    self._entries.pop(model, None)
                for number in before.numbers.keys() - entry.numbers.keys() if before else ():
                    self._resident.drop(model, number)

    def set_alias(
        self,
        model: str,
        alias: str,
        number: int,
        *,
        etag: str = "",
        shares: Sequence[TrafficSplit] = (),
        principal: str = "",
    ) -> Alias:
        """Set or move an alias.

        Args:
            model: the model.
            alias: the alias.
            number: the version that it names from now on.
            etag: act only if the alias has this etag now; empty acts anyway.
            shares: what other versions shall have of its calls; those it had before end.
            principal: name of the caller, for the history.

        Returns:
            The alias as it is now.

        Raises:
            InvalidField: the shares are none that there can be.
            ModelNotFound or VersionNotFound: what is named is not there.
            EtagMismatch: the alias has another etag.
            QuotaExceeded: the model may have no further alias.
        """
        check_traffic(number, shares)
        mover = Mover(cause=Cause.SET, principal=principal)
        with self._database.write("aliases.set") as connection:
            rows.bump_revision(connection, [model])
            rows.require_model(connection, model)
            _check_etag(connection, model, alias, etag)
            for each in (number, *(share.number for share in shares)):
                rows.artifact_of(connection, model, each)
            now = self._database.now(connection)
            with alias_history.recorded(connection, [model], mover, now):
                moved = alias_rows.move_alias(connection, model, alias, number, now=now, shares=shares)
        self.refresh(model)
        return moved

    def delete_alias(self, model: str, alias: str, *, etag: str = "", principal: str = "") -> None:
        """Delete an alias.

        Args:
            model: the model.
            alias: the alias.
            etag: delete it only if this is its etag; empty deletes it in any case.
            principal: name of the caller, for the history.

        Raises:
            ModelNotFound or AliasNotFound: it does not exist.
            EtagMismatch: the alias has another etag.
        """
        with self._database.write("aliases.delete") as connection:
            rows.bump_revision(connection, [model])
            rows.require_model(connection, model)
            if _check_etag(connection, model, alias, etag) is None:
                raise AliasNotFound(
                    f"Model '{model}' has no alias '{alias}'.", metadata={"model": model, "alias": alias}
                )
            mover = Mover(cause=Cause.SET, principal=principal)
            with alias_history.recorded(connection, [model], mover, self._database.now(connection)):
                connection.execute(delete(aliases).where(aliases.c.model == model, aliases.c.name == alias))
        self.refresh(model)

    def update_version(
        self, model: str, number: int, details: Mapping[str, Any], expiration: Expiration | None
    ) -> Version:
        """Change what people say about a version, and when it expires.

        Args:
            model: its model.
            number: its number.
            details: the new `display_name`, `description` and `tags`, those that change.
            expiration: when it expires from now on; None keeps that.

        Raises:
            ModelNotFound or VersionNotFound: there is no such version.
            InvalidField: the expiration is out of range.
        """
        with self._database.write("versions.update") as connection:
            rows.bump_revision(connection, [model])
            now = self._database.now(connection)
            updates.update_version(connection, model, number, details, expiration=expiration, now=now)
        self.refresh(model)
        return self.version(model, number)

    def update_model(self, model: str, details: Mapping[str, Any]) -> Model:
        """Change what people say about a model; `details` as in `update_version`.

        Raises:
            ModelNotFound: there is no such model.
        """
        with self._database.write("models.update") as connection:
            rows.bump_revision(connection, [model])
            updates.update_model(connection, model, details)
        return self.model(model)

    def delete_version(self, model: str, number: int, *, force: bool, principal: str = "") -> None:
        """Delete a version; `principal` as in `set_alias`.

        Raises:
            VersionNotFound: there is none of this number.
            VersionInUse: aliases name it, or give it a share, and `force` is not set.
        """
        with self._database.write("versions.delete") as connection:
            rows.bump_revision(connection, [model])
            artifact = rows.artifact_of(connection, model, number)
            named = [
                alias.name if number == alias.number else f"{alias.name} (a share of the traffic)"
                for alias in alias_rows.aliases_of(connection, model)
                if number in (alias.number, *(each.number for each in alias.traffic))
            ]
            if named and not force:
                raise VersionInUse(
                    f"Aliases refer to version {number} of model '{model}': {', '.join(named)}. "
                    "Move or delete them first, or delete with force.",
                    metadata={"model": model, "version": str(number)},
                )
            now = self._database.now(connection)
            with alias_history.recorded(
                connection, [model], Mover(cause=Cause.DELETED, principal=principal), now
            ):
                deleted = rows.delete_version(connection, model, number, now)
            usage.remove_versions(connection, [deleted])
        self._forget([(model, number, artifact)])

    def delete_model(self, model: str, *, force: bool) -> int:
        """Delete a model with its aliases; its version numbers are not used again.

        Args:
            model: the model.
            force: whether to delete its versions, too.

        Returns:
            The number of versions deleted.

        Raises:
            ModelNotFound: it does not exist.
            ModelNotEmpty: it has versions, and `force` is not set.
        """
        with self._database.write("models.delete") as connection:
            rows.bump_revision(connection, [model])
            rows.require_model(connection, model)
            count = 0 if force else rows.version_count(connection, model)
            if count:
                raise ModelNotEmpty(
                    f"Model '{model}' has {count} {'version' if count == 1 else 'versions'}. "
                    "Delete them first, or set force.",
                    metadata={"model": model, "versions": str(count)},
                )
            connection.execute(delete(aliases).where(aliases.c.model == model))
            alias_history.forget(connection, model)
            found = rows.delete_versions(connection, model)
            now = self._database.now(connection)
            connection.execute(
                update(models)
                .where(models.c.name == model)
                .values(deleted=now, display_name=None, description=None, tags=None)
            )
        self._forget([(model, row.number, row.artifact) for row in found])
        return len(found)

    def delete_expired(self) -> int:
        """Delete the versions whose time to live has passed, with the aliases that name them.

        Those that have a share of another version's alias stay.

        They are deleted in parts, each in a transaction.

        Returns:
            The number of versions deleted.
        """
        count = 0
        while deleted := self._delete_some_expired():
            count += deleted
        return count

    def _delete_some_expired(self) -> int:
        with self._database.write("versions.delete_expired") as connection:
            now = self._database.now(connection)
            query = (
                select(versions.c.model, versions.c.number, versions.c.artifact)
                .where(versions.c.expires <= now, not_(alias_rows.has_traffic()))
                .order_by(versions.c.expires)
                .limit(_EXPIRED_AT_ONCE)
            )
            found = connection.execute(query).all()
            if found:
                rows.bump_revision(connection, {row.model for row in found})
                # From here on alone; another replica may have been at them until now.
                found = connection.execute(query).all()
            names = [row.model for row in found]
            with alias_history.recorded(connection, names, Mover(cause=Cause.EXPIRED), now):
                deleted = [rows.delete_version(connection, row.model, row.number, now) for row in found]
            usage.remove_versions(connection, deleted)
        self._forget([(row.model, row.number, row.artifact) for row in found])
        return len(found)

    def remove_leftovers(self, unfinished: Callable[[], Collection[str]], *, older_than: float = 0.0) -> int:
        """Remove files that no version's row names and no job on its way may still publish.

        Args:
            unfinished: gives the ids of the jobs on their way.
            older_than: leave what was written to in so many seconds.

        Returns:
            The number of names whose files were removed.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        # In this order: what is written after the look belongs to a job that is on its way then, and what
        # such a job publishes after that has its row before the rows are read, or belongs to it still.
        there = self._store.artifacts()
        busy = unfinished()
        with self._database.read() as connection:
            known = rows.known_artifacts(connection, there)
        leftovers = [
            artifact for artifact in there if artifact not in known and artifact.partition(".")[0] not in busy
        ]
        leftovers = list(self._store.older_artifacts(leftovers, older_than))
        for artifact in leftovers:
            self._store.remove(artifact)
        return len(leftovers)

    def _forget(self, deleted: Sequence[tuple[str, int, str]]) -> None:
        for model in {model for model, _, _ in deleted}:
            self.refresh(model)
        for model, number, artifact in deleted:
            self._resident.drop(model, number)
            # Its row is gone, and so is the version; the files go with a later cleaning then.
            with suppress(StorageUnavailable):
                self._store.remove(artifact)
        if deleted:
            self._on_deleted()

    def _seen_here(self, model: Model) -> Model:
        return replace(model, resident_count=len(self._resident.numbers(model.name)))

    def _is_live(self, expires: float | None) -> bool:
        return expires is None or expires > self._now()


def _check_etag(connection: Connection, model: str, alias: str, etag: str) -> Alias | None:
    """Return an alias, None if it does not exist; an etag that is not empty must be its own."""
    there = {found.name: found for found in alias_rows.aliases_of(connection, model)}
    current = there.get(alias)
    if etag and (current is None or current.etag != etag):
        raise EtagMismatch(
            f"Alias '{alias}' of model '{model}' was {'changed' if current else 'deleted'} after its etag "
            f"{etag!r} was read. Read the alias again, then repeat the change.",
            metadata={"model": model, "alias": alias},
        )
    return current
