"""Erasures with rebuild in the database: their requests, the replaced versions and the certificates."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import erasure_versions, erasures
from headstart_server.database.locks import batched
from headstart_server.datasets.dataset_store import ArchiveMember
from headstart_server.errors import InvalidField, VersionNotFound, decoding
from headstart_server.jobs.erased_members import ARCHIVES_AT_ONCE, check_not_erased, erased_members
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import rows
from headstart_server.models.replacement import Successor, replace_version
from headstart_server.models.version import Version
from headstart_server.storage.json_values import JsonValue

# Built once: building a statement takes longer than executing it.
_ERASURE = select(erasures).where(erasures.c.erasure_id == bindparam("erasure_id"))
_OLDEST = select(erasures).where(erasures.c.tenant == bindparam("tenant")).order_by(erasures.c.started)
_OF_REQUEST = _OLDEST.where(erasures.c.request_id == bindparam("request_id"))
_UNFINISHED = _OLDEST.where(
    erasures.c.finished.is_(None),
    erasures.c.example_id == bindparam("example_id"),
    erasures.c.model == bindparam("model"),
)
_VERSIONS = (
    select(erasure_versions)
    .where(erasure_versions.c.erasure_id == bindparam("erasure_id"))
    .order_by(erasure_versions.c.model, erasure_versions.c.number)
)
# It may have been added before, also by another replica.
_ADD_VERSIONS = {
    dialect.dialect.name: dialect.insert(erasure_versions).on_conflict_do_nothing()
    for dialect in (postgresql, sqlite)
}
#: Condition for one version of an erasure.
OF_VERSION = (
    erasure_versions.c.erasure_id == bindparam("of_erasure"),
    erasure_versions.c.model == bindparam("of_model"),
    erasure_versions.c.number == bindparam("of_number"),
)
_RESULT = select(erasure_versions.c.number).where(*OF_VERSION, erasure_versions.c.result.is_not(None))
_NOTE_FOUND = (
    update(erasures)
    .where(erasures.c.erasure_id == bindparam("of_erasure"), erasures.c.finished.is_(None))
    .values(found=bindparam("found_now"))
)
_SET_RESULT = (
    update(erasure_versions)
    .where(*OF_VERSION, erasure_versions.c.result.is_(None))
    .values(result=bindparam("new_result"))
)


class ErasedMembers:
    """Reads which archive members hold, or held, examples whose data was deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def among(self, archives: Collection[str]) -> set[ArchiveMember]:
        """Return the erased members of some archives."""
        found = set[ArchiveMember]()
        with self._database.read() as connection:
            for part in batched(sorted(archives), ARCHIVES_AT_ONCE):
                found.update(erased_members(connection, part))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureRequest:
    """The erased example by its ID, in one model or in all models of a scope."""

    example_id: str
    model: str = ""  # the model; empty for all
    scope: Scope | None = None  # restricts the models; None for all
    request_id: str = ""  # the caller's ID of the request; empty if it sent none

    @property
    def tenant(self) -> str:
        """The tenant within which the request ID is unique."""
        return "" if self.scope is None else self.scope.tenant


@dataclass(frozen=True, kw_only=True, slots=True)
class RebuiltVersion(JsonValue):
    """A version that was trained on an erased example; `number` is 0 if it was skipped."""

    head_digest: str
    dataset_digest: str
    number: int = 0
    new_head_digest: str = ""
    new_dataset_digest: str = ""
    aliases: tuple[str, ...] = ()
    promotion: Promotion | None = None
    skipped_reason: str = ""
    old_artifact: str = ""  # name of the replaced version's files, which the erasure removes


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureRecord:
    """A stored erasure; `finished` is None until it is complete."""

    erasure_id: str
    request: ErasureRequest
    started: float
    finished: float | None
    contents: int  # number of stored contents that it deletes
    # the result of each version, by model and number; None until it is replaced or skipped
    versions: Mapping[tuple[str, int], RebuiltVersion | None]
    # the versions without a result whose fit began, and may have ended a process
    suspected: Collection[tuple[str, int]] = ()
    # the digest of the example by archive member, and the archives whose lists may name it
    places: Mapping[ArchiveMember, str] = field(default_factory=dict)
    archives: Collection[str] = ()

    @property
    def pending(self) -> Sequence[tuple[str, int]]:
        """Return the versions without a result, by model and number."""
        return [key for key, result in self.versions.items() if result is None]


class ErasureLog:
    """Stores erasures. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, request: ErasureRequest) -> ErasureRecord | None:
        """Return the erasure of a request ID; without an ID, an unfinished erasure that is the same."""
        if request.request_id:
            query, values = _OF_REQUEST, {"request_id": request.request_id}
        else:
            query, values = _UNFINISHED, {"example_id": request.example_id, "model": request.model}
        with self._database.read() as connection:
            found = connection.execute(query, {"tenant": request.tenant, **values}).all()
            if not request.request_id:
                # Erasures of other scopes erase it in other models.
                found = [row for row in found if row.scope == _scope_json(request.scope)]
            if not found:
                return None
            row = found[0]
            if (row.example_id, row.model) != (request.example_id, request.model):
                raise InvalidField(
                    f"The request ID {request.request_id!r} was used to erase another example. Send another "
                    "request ID.",
                    field="request_id",
                )
            return _record(connection, row)

    def get(self, erasure_id: str) -> ErasureRecord:
        """Return an erasure."""
        with self._database.read() as connection:
            return _record(connection, connection.execute(_ERASURE, {"erasure_id": erasure_id}).one())

    def unfinished(self) -> Sequence[str]:
        """Return the IDs of the erasures that are not complete, the oldest first."""
        query = (
            select(erasures.c.erasure_id).where(erasures.c.finished.is_(None)).order_by(erasures.c.started)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def begin(
        self,
        connection: Connection,
        request: ErasureRequest,
        versions: Collection[tuple[str, int]],
        *,
        contents: int,
        places: Mapping[ArchiveMember, str],
        archives: Collection[str],
    ) -> str:
        """Store an erasure in the transaction that excludes the example from training, and return its ID.

        A concurrent call with the same request ID may have stored it before.
        """
        same = select(erasures.c.erasure_id).where(
            erasures.c.tenant == request.tenant, erasures.c.request_id == request.request_id
        )
        if request.request_id and (found := connection.execute(same).scalar()) is not None:
            return str(found)
        erasure_id = uuid.uuid4().hex
        connection.execute(
            insert(erasures),
            {
                "erasure_id": erasure_id,
                "tenant": request.tenant,
                "request_id": request.request_id or erasure_id,
                "example_id": request.example_id,
                "model": request.model,
                "scope": _scope_json(request.scope),
                "started": self._database.now(connection),
                "contents": contents,
                "found": _found_json(places, archives),
            },
        )
        _add_versions(connection, erasure_id, versions)
        return erasure_id

    def note_found(
        self,
        connection: Connection,
        erasure_id: str,
        places: Mapping[ArchiveMember, str],
        archives: Collection[str],
    ) -> None:
        """Store what an erasure has found, in the transaction that excludes it from training."""
        found = _found_json(places, archives)
        connection.execute(_NOTE_FOUND, {"of_erasure": erasure_id, "found_now": found})

    def add_versions(self, erasure_id: str, versions: Collection[tuple[str, int]]) -> None:
        """Add versions that were published since the erasure began."""
        with self._database.write("erasures.add_versions") as connection:
            _add_versions(connection, erasure_id, versions)

    def replace(
        self, erasure_id: str, old: Version, successor: Successor, promotion: Promotion | None
    ) -> RebuiltVersion | None:
        """Publish a successor and store the result; None if the version was replaced or deleted before.

        Raises:
            AliasMovedError: an alias names the version, and the successor was not compared with it.
            ExampleErasedError: an example of the successor was erased since it was fitted.
        """
        with self._database.write("erasures.replace") as connection:
            # Taken before any other lock, in the same order as when a version is published.
            rows.bump_revision(connection, [old.model])
            if _has_result(connection, erasure_id, old):
                return None
            try:
                old_artifact = rows.artifact_of(connection, old.model, old.number)
            except VersionNotFound:
                return None
            # Checked after the registry's counter was locked, so no erasure can commit in between.
            check_not_erased(connection, successor.members)
            now = self._database.now(connection)
            number, moved = replace_version(connection, old, successor, now=now)
            result = RebuiltVersion(
                head_digest=old.manifest.head_digest,
                dataset_digest=old.manifest.dataset_digest,
                number=number,
                new_head_digest=successor.manifest.head_digest,
                new_dataset_digest=successor.manifest.dataset_digest,
                aliases=tuple(moved),
                promotion=promotion if moved else None,
                old_artifact=old_artifact,
            )
            _set_result(connection, erasure_id, old.model, old.number, result)
        return result

    def skip(self, erasure_id: str, model: str, number: int, result: RebuiltVersion) -> None:
        """Store the reason why a version was not replaced."""
        with self._database.write("erasures.skip") as connection:
            _set_result(connection, erasure_id, model, number, result)

    def forget_found(self, erasure_id: str) -> None:
        """Remove what an erasure has found, because all of it is erased."""
        with self._database.write("erasures.forget_found") as connection:
            connection.execute(_NOTE_FOUND, {"of_erasure": erasure_id, "found_now": None})

    def finish(self, erasure_id: str) -> ErasureRecord:
        """Store that an erasure is complete, and return it."""
        with self._database.write("erasures.finish") as connection:
            connection.execute(
                update(erasures)
                .where(erasures.c.erasure_id == erasure_id, erasures.c.finished.is_(None))
                .values(finished=self._database.now(connection))
            )
        return self.get(erasure_id)


def _found_json(places: Mapping[ArchiveMember, str], archives: Collection[str]) -> dict[str, Any]:
    members = [[archive, member, digest] for (archive, member), digest in sorted(places.items())]
    return {"members": members, "archives": sorted(archives)}


def _scope_json(scope: Scope | None) -> dict[str, Any] | None:
    return None if scope is None else {"tenant": scope.tenant, "models": list(scope.models)}


def _add_versions(connection: Connection, erasure_id: str, versions: Collection[tuple[str, int]]) -> None:
    added = [
        {"erasure_id": erasure_id, "model": model, "number": number} for model, number in sorted(versions)
    ]
    if added:
        connection.execute(_ADD_VERSIONS[connection.dialect.name], added)


def _set_result(
    connection: Connection, erasure_id: str, model: str, number: int, result: RebuiltVersion
) -> None:
    here = {"of_erasure": erasure_id, "of_model": model, "of_number": number}
    connection.execute(_SET_RESULT, {**here, "new_result": result.to_json()})


def _has_result(connection: Connection, erasure_id: str, version: Version) -> bool:
    here = {"of_erasure": erasure_id, "of_model": version.model, "of_number": version.number}
    return connection.execute(_RESULT, here).first() is not None


def _rows(
    connection: Connection, erasure_id: str
) -> dict[tuple[str, int], tuple[RebuiltVersion | None, bool]]:
    """Return the result of each version, by model and number, and whether a fit of it began without one."""
    found = connection.execute(_VERSIONS, {"erasure_id": erasure_id}).all()
    with decoding(f"Erasure '{erasure_id}'", erasure_id=erasure_id):
        return {
            (row.model, int(row.number)): (
                None if row.result is None else RebuiltVersion.from_json(row.result),
                row.result is None and (row.owner is not None or row.crashes > 0),
            )
            for row in found
        }


def _record(connection: Connection, row: Row[Any]) -> ErasureRecord:
    scope = None
    if row.scope is not None:
        scope = Scope(tenant=row.scope["tenant"], models=tuple(row.scope["models"]))
    found = _rows(connection, row.erasure_id)
    where = row.found or {"members": [], "archives": []}
    return ErasureRecord(
        erasure_id=row.erasure_id,
        request=ErasureRequest(
            example_id=row.example_id, model=row.model, scope=scope, request_id=row.request_id
        ),
        started=row.started,
        finished=row.finished,
        contents=int(row.contents),
        versions={key: result for key, (result, _) in found.items()},
        suspected={key for key, (_, is_suspected) in found.items() if is_suspected},
        places={(archive, int(member)): digest for archive, member, digest in where["members"]},
        archives=where["archives"],
    )
