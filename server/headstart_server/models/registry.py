"""Changing models, versions and aliases."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection

from headstart_server.database.database import Database
from headstart_server.errors import (
    AliasNotFound,
    EtagMismatch,
    ModelNotEmpty,
    VersionInUse,
    VersionNotFound,
)
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import alias_history, alias_rows, captures, feedback_rows, rows, updates, usage
from headstart_server.models.alias_history import Cause, Mover
from headstart_server.models.model_index import ModelIndex
from headstart_server.models.model_reader import ModelReader
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.traffic_split import check_traffic
from headstart_server.models.updates import Expiration
from headstart_server.models.version import Alias, Manifest, Model, Selector, TrafficSplit, Version
from headstart_server.models.version_files import VersionFiles
from headstart_server.storage.attempts import Attempts

#: Expired versions that one transaction deletes. Others wait for it before they change a model.
_EXPIRED_AT_ONCE = 100


class AliasMovedError(Exception):
    """The alias no longer names the compared version: compare again."""


class Registry:
    """Change models and versions; `reader` lists them, `index` resolves names, `files` opens them.

    Args:
        on_deleted: called after the rows of versions were deleted.
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
        self._removals = Attempts()
        self._resident = resident
        self._on_deleted = on_deleted
        self.index = ModelIndex(
            database,
            resident.drop,
            on_restarted=self._drop_replaced,
            clock=clock,
            refreshing=refreshing,
        )
        self.reader = ModelReader(database, resident)
        self.files = VersionFiles(store, resident, self.index, self.reader.version)

    def _drop_replaced(self, connection: Connection) -> None:
        """Drop versions from memory whose publication was lost: others may have their numbers now."""
        loaded = self._resident.artifacts()
        known = rows.known_artifacts(connection, list(loaded.values()))
        for (model, number), artifact in loaded.items():
            if artifact not in known:
                self._resident.drop(model, number)

    def selected(self, selector: Selector) -> Version:
        """Return the selected version.

        Raise ModelNotFound, AliasNotFound or VersionNotFound if there is no such version.
        """
        number = self.index.find(selector)
        while True:
            try:
                return self.reader.version(selector.model, number)
            except VersionNotFound:
                # Another replica has deleted or replaced it since this one read the aliases.
                self.index.sync()
                previous, number = number, self.index.find(selector)
                if number == previous:
                    raise

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
        """Add a version in the transaction that ends its job; call `refresh` after the commit.

        Args:
            expires: the time of its deletion; None for never.
            alias: the alias to move to it; None for none.
            promotion: the decision about the alias; None moves it unconditionally.
            principal: name of the caller who submitted the job, for the history of the alias.

        Returns:
            Its number.

        Raises:
            AliasMovedError: the alias was to be moved, but no longer names the version that was
                compared.
            QuotaExceeded: the alias is new, and the model has the maximum number of aliases.
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
        feedback_rows.learn(connection, manifest.job_id, number)
        if discards_examples:
            usage.release(connection, [manifest.job_id])
        usage.add_version(connection, manifest.model, size_bytes)
        if alias is not None:
            mover = Mover(cause=Cause.PUBLISHED, principal=principal, job_id=manifest.job_id)
            with alias_history.recorded(connection, [manifest.model], mover, now):
                alias_rows.move_alias(connection, manifest.model, alias, number, now=now)
        return number

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
            etag: the etag that the alias must have; empty for any.
            shares: the new traffic split, which replaces the previous one.

        Returns:
            The new state of the alias.

        Raises:
            QuotaExceeded: the model has the maximum number of aliases.
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
        self.index.refresh(model)
        return moved

    def delete_alias(self, model: str, alias: str, *, etag: str = "", principal: str = "") -> None:
        """Delete an alias if `etag` is empty or matches."""
        with self._database.write("aliases.delete") as connection:
            rows.bump_revision(connection, [model])
            rows.require_model(connection, model)
            if _check_etag(connection, model, alias, etag) is None:
                raise AliasNotFound(
                    f"Model '{model}' has no alias '{alias}'.", metadata={"model": model, "alias": alias}
                )
            mover = Mover(cause=Cause.SET, principal=principal)
            with alias_history.recorded(connection, [model], mover, self._database.now(connection)):
                alias_rows.delete_alias(connection, model, alias)
        self.index.refresh(model)

    def update_version(
        self, model: str, number: int, details: Mapping[str, Any], expiration: Expiration | None
    ) -> Version:
        """Change the given details of a version, and its expiration unless it is None."""
        with self._database.write("versions.update") as connection:
            rows.bump_revision(connection, [model])
            now = self._database.now(connection)
            updates.update_version(connection, model, number, details, expiration=expiration, now=now)
        self.index.refresh(model)
        return self.reader.version(model, number)

    def update_model(self, model: str, details: Mapping[str, Any]) -> Model:
        """Change the given details and policies of a model."""
        with self._database.write("models.update") as connection:
            rows.bump_revision(connection, [model])
            updates.update_model(connection, model, details)
        self.index.refresh(model)
        return self.reader.model(model)

    def delete_version(self, model: str, number: int, *, force: bool, principal: str = "") -> None:
        """Delete a version; `principal` as in `set_alias`."""
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
        """Delete a model and its aliases; return the number of deleted versions. Numbers are not reused."""
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
            alias_rows.delete_aliases(connection, model)
            alias_history.forget(connection, model)
            feedback_rows.delete_model(connection, model)
            found = rows.delete_versions(connection, model)
            rows.delete_model(connection, model, self._database.now(connection))
            captures.delete_of(connection, model)
        self._forget([(model, row.number, row.artifact) for row in found])
        return len(found)

    def delete_expired(self) -> int:
        """Delete expired versions and the aliases that name them, in several transactions.

        Versions that are in the traffic split of another version's alias stay.

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
            found = rows.expired_versions(connection, now, limit=_EXPIRED_AT_ONCE)
            if found:
                rows.bump_revision(connection, {row.model for row in found})
                # The lock is held from here on; another replica may have deleted some until now.
                found = rows.expired_versions(connection, now, limit=_EXPIRED_AT_ONCE)
            names = [row.model for row in found]
            with alias_history.recorded(connection, names, Mover(cause=Cause.EXPIRED), now):
                deleted = [rows.delete_version(connection, row.model, row.number, now) for row in found]
            usage.remove_versions(connection, deleted)
        self._forget([(row.model, row.number, row.artifact) for row in found])
        return len(found)

    def remove_leftovers(self, unfinished: Callable[[], Collection[str]], *, older_than: float = 0.0) -> int:
        """Remove files that no version's row names and no unfinished job may still publish.

        Args:
            unfinished: returns the IDs of the unfinished jobs.
            older_than: keep files that were modified within so many seconds.

        Returns:
            The number of artifacts removed.

        Raises:
            StorageUnavailable: the bucket does not answer.
        """
        # In this order: files written after this listing belong to a job that is unfinished now. If the job
        # publishes them later, their row exists before the rows are read, or the job is still unfinished.
        there = self._store.artifacts()
        busy = unfinished()
        known = self.reader.known_artifacts(there)
        leftovers = [
            artifact for artifact in there if artifact not in known and artifact.partition(".")[0] not in busy
        ]
        leftovers = list(self._store.older_artifacts(leftovers, older_than))
        self._removals.run_all(leftovers, self._store.remove)
        return len(leftovers)

    def forget_replaced(self, version: Version, *, refresh: bool = True) -> bool:
        """Remove a version's files and memory after the transaction that replaced it.

        Return whether the files are removed; if not, remove them again.

        Args:
            refresh: whether to read the versions of its model again, and to call `on_deleted`. After
                many replacements, one `finish_replacing` is faster.
        """
        return self._forget([(version.model, version.number, version.artifact)], refresh=refresh)

    def finish_replacing(self) -> None:
        """Read the versions of replaced models again, and call `on_deleted`."""
        self.index.sync()
        self._on_deleted()

    def _forget(self, deleted: Sequence[tuple[str, int, str]], *, refresh: bool = True) -> bool:
        """Remove the memory and the files of deleted versions; return whether all files are removed."""
        for model in {model for model, _, _ in deleted} if refresh else ():
            self.index.refresh(model)
        are_removed = True
        for model, number, artifact in deleted:
            self._resident.drop(model, number)
            are_removed &= self._store.discard(artifact)
        if deleted and refresh:
            self._on_deleted()
        return are_removed


def _check_etag(connection: Connection, model: str, alias: str, etag: str) -> Alias | None:
    """Return an alias, or None if it does not exist; raise if the etag is not empty and does not match."""
    there = {found.name: found for found in alias_rows.aliases_of(connection, model)}
    current = there.get(alias)
    if etag and (current is None or current.etag != etag):
        raise EtagMismatch(
            f"Alias '{alias}' of model '{model}' was {'changed' if current else 'deleted'} after its etag "
            f"{etag!r} was read. Read the alias again, then repeat the change.",
            metadata={"model": model, "alias": alias},
        )
    return current
