"""The index of models in memory: their versions and aliases, synchronized with the database."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, func, select

from headstart_server.database.database import Database
from headstart_server.database.tables import aliases, models, versions
from headstart_server.errors import AliasNotFound, ModelNotFound, VersionNotFound, WrittenByNewerRelease
from headstart_server.learning.metrics.promotion import Decision
from headstart_server.models import alias_rows, rows
from headstart_server.models.capture_policy import CapturePolicy, decoded_policy
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Selector, TrafficSplit


class DatabaseClock:
    """Estimates the database's time: its last reading plus the time that has passed since.

    The clock of this machine need not be right: only its differences are used. Thread-safe.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._ahead = 0.0

    def set(self, connection: Connection) -> None:
        """Read the database's time; raise DatabaseUnavailable and keep the last one if there is no answer."""
        now = self._database.now(connection)
        # Read after the reply: a late reply makes the estimate too early, so nothing expires too early.
        self._ahead = now - self._clock()

    def __call__(self) -> float:
        """Return seconds since 1970 by the database's clock."""
        return self._clock() + self._ahead


#: Maximum models read in one statement.
_MODELS_AT_ONCE = 500

_NAMES: BindParameter[str] = bindparam("names", expanding=True)
# Built once: building a statement takes longer than executing it.
_VERSIONS = (
    select(
        versions.c.model,
        versions.c.number,
        versions.c.expires,
        versions.c.promotion["decision"].as_string().label("decision"),
    )
    .where(versions.c.model.in_(_NAMES))
    .order_by(versions.c.model, func.coalesce(versions.c.place, versions.c.number), versions.c.number)
)
_CAPTURES = select(models.c.name, models.c.capture).where(
    models.c.name.in_(_NAMES), models.c.deleted.is_(None), models.c.capture.is_not(None)
)
_ALIASES = select(aliases.c.model, aliases.c.name, aliases.c.number).where(aliases.c.model.in_(_NAMES))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """The versions and aliases of a model."""

    # expiry time by number, ascending; None for never, and while a traffic split has the version
    numbers: dict[int, float | None]
    aliases: Mapping[str, int]
    # traffic splits of the aliases that have one, by alias
    shares: Mapping[str, tuple[TrafficSplit, ...]]
    # numbers of the versions that a promotion gate rejected and that no alias names
    rejected: Collection[int] = frozenset()
    capture: CapturePolicy | None = None

    def default(self, is_live: Callable[[float | None], bool]) -> int | None:
        """Return the newest live version that is not rejected, or else the newest live one, or None."""
        newest = None
        for number in reversed(self.numbers):
            if is_live(self.numbers[number]):
                if number not in self.rejected:
                    return number
                newest = newest or number
        return newest


def read_model_entries(connection: Connection, names: Sequence[str]) -> dict[str, ModelEntry]:
    """Return the entries of models; they are empty for missing models."""
    numbers: dict[str, dict[int, float | None]] = {name: {} for name in names}
    named: dict[str, dict[str, int]] = {name: {} for name in names}
    shares: dict[str, dict[str, tuple[TrafficSplit, ...]]] = {name: {} for name in names}
    rejected: dict[str, set[int]] = {name: set() for name in names}
    those = {"names": list(names)}
    for row in connection.execute(_VERSIONS, those):
        numbers[row.model][int(row.number)] = row.expires
        if row.decision == Decision.KEPT:
            rejected[row.model].add(int(row.number))
    for row in connection.execute(_ALIASES, those):
        named[row.model][row.name] = int(row.number)
    for (model, alias), given in alias_rows.traffic_of(connection, names).items():
        shares[model][alias] = given
        numbers[model].update(dict.fromkeys((each.number for each in given), None))
    captures = {row.name: _capture(row) for row in connection.execute(_CAPTURES, those)}
    return {
        name: ModelEntry(
            numbers=numbers[name],
            aliases=named[name],
            shares=shares[name],
            rejected=rejected[name].difference(named[name].values()),
            capture=captures.get(name),
        )
        for name in names
    }


def _capture(row: Row[Any, Any]) -> CapturePolicy | None:
    """Return the capture policy of a model; None if it is unreadable, so that the model still predicts."""
    try:
        return decoded_policy(row.name, row.capture)
    except WrittenByNewerRelease:
        return None


class ModelIndex:
    """Resolves selectors in memory, so that a Predict of a resident version reads neither database nor disk.

    Args:
        on_removed: called with the model and number of each removed version.
        on_restarted: called after a restart or failover of the database, which may have lost commits, with
            a connection to it.
        refreshing: lock that admits one refresh at a time; None creates a thread lock.
    """

    def __init__(
        self,
        database: Database,
        on_removed: Callable[[str, int], object],
        *,
        on_restarted: Callable[[Connection], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        refreshing: AbstractContextManager[object] | None = None,
    ) -> None:
        self._database = database
        self._on_removed = on_removed
        self._on_restarted = on_restarted
        # Decides expiry by the database's clock without a query.
        self._now = DatabaseClock(database, clock)
        self._entries: dict[str, ModelEntry] = {}
        # If two refreshes run concurrently, the one that read first must not write last.
        self._refreshing = refreshing or threading.Lock()
        # The incarnation of the database, and the revision that the entries have.
        self._seen: tuple[str, int] | None = None
        self.sync()

    def has(self, model: str, number: int) -> bool:
        """Return whether a version is known, including expired ones."""
        entry = self._entries.get(model)
        return entry is not None and number in entry.numbers

    def resolve(self, selector: Selector, router: TrafficRouter | None = None) -> int:
        """Return the number of the version that a selector names. Reads memory only.

        Args:
            router: chooses a version of an alias with a traffic split; None takes the version it names.

        Raises:
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
        """As `resolve`, but synchronize with the database first if the version is not in memory.

        So a version that one replica has reported can be used on another one immediately. Raise
        DatabaseUnavailable if the version is not in memory and the database does not answer.
        """
        number = self.known(selector, router)
        if number is None:
            self.sync()
            number = self.resolve(selector, router)
        return number

    def known(self, selector: Selector, router: TrafficRouter | None = None) -> int | None:
        """As `resolve`; None if the version is not in memory."""
        try:
            return self.resolve(selector, router)
        except (ModelNotFound, AliasNotFound, VersionNotFound):
            return None

    def capture_policy(self, model: str) -> CapturePolicy | None:
        """Return the capture policy of a model; None without one. Reads memory only."""
        entry = self._entries.get(model)
        return None if entry is None else entry.capture

    def split_pairs(self, model: str, number: int) -> set[tuple[int, int]]:
        """Return the versions that share the traffic of an alias with a version. Reads memory only.

        Each is a pair of numbers: the version of the traffic split, and the version to compare predictions of
        `number` with. The alias names one of the two.
        """
        entry = self._entries.get(model)
        found: set[tuple[int, int]] = set()
        for alias, shares in (entry.shares if entry is not None else {}).items():
            named = entry.aliases.get(alias) if entry is not None else None
            for share in shares:
                if number == named:
                    found.add((share.number, share.number))
                elif number == share.number and named is not None:
                    found.add((number, named))
        return found

    def numbers(self, model: str) -> list[int]:
        """Return the numbers of a model's unexpired versions, ascending. Reads memory only."""
        entry = self._entries.get(model)
        live = [number for number, expiry in entry.numbers.items() if self._is_live(expiry)] if entry else []
        if not live:
            raise rows.model_not_found_error(model)
        return live

    def refresh(self, model: str) -> None:
        """Read the entry of a model from its rows."""
        with self._refreshing, self._database.snapshot() as connection:
            self._read_entries(connection, [model])

    def sync(self) -> None:
        """Read the models that changed since the last sync; keep the entries after DatabaseUnavailable."""
        with self._database.read() as connection:
            self._now.set(connection)
            if self._state(connection) == self._seen:
                return
        with self._refreshing, self._database.snapshot() as connection:
            seen = self._state(connection)
            if self._seen is not None and self._seen[0] == seen[0]:
                self._read_entries(connection, rows.changed_models(connection, self._seen[1]))
            else:
                # Other changes may have the numbers of those that were seen, so all models are read.
                names = rows.changed_models(connection, -1)
                self._read_entries(connection, [*names, *(self._entries.keys() - names)])
                self._on_restarted(connection)
            self._seen = seen

    def _state(self, connection: Connection) -> tuple[str, int]:
        return self._database.incarnation(connection), rows.last_revision(connection)

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
                    self._on_removed(model, number)

    def now(self) -> float:
        """Return the database's time in seconds since 1970, without a query."""
        return self._now()

    def _is_live(self, expires: float | None) -> bool:
        return expires is None or expires > self._now()
