"""Follows the erasures of all replicas: drops this machine's copies of erased contents."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Row, bindparam, literal_column, select, update

from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import forgotten
from headstart_server.jobs.archive_retention import CHUNK

#: Seconds for which erased features are removed again, because a running job may write them back. After this
#: time, each archive is checked once more: a replica that was killed while it rewrote an old copy may have
#: restored an erased example.
AGAIN_SECONDS = 3600.0
_DIGESTS_AT_ONCE = 1000
# Built once: building a statement takes longer than executing it.
_NEXT = (
    select(forgotten).where(forgotten.c.number > bindparam("seen")).order_by(forgotten.c.number).limit(CHUNK)
)


class ErasureFollower:
    """Drops copies of contents that any replica erased.

    Args:
        drop: removes this machine's copies of some contents, given their digests, and the jobs in whose
            archives they were stored.
        dropping: lock of `drop_here`; None for a lock between threads.
    """

    def __init__(
        self,
        database: Database,
        drop: Callable[[Collection[str], Collection[str]], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        dropping: AbstractContextManager[object] | None = None,
    ) -> None:
        self._database = database
        self._drop = drop
        self._clock = clock
        self._dropping = dropping or threading.RLock()
        # The highest number that was dropped here, and the incarnation of the database that it was read from.
        self._seen, self._incarnation = 0, ""
        #: Time at which each erased content was dropped here, its digest and its archive.
        self._recent: list[tuple[float, str, str]] = []

    def drop_here(self) -> None:
        """Remove this machine's copies of contents erased on any replica: features and archives."""
        with self._dropping:
            since = self._clock() - AGAIN_SECONDS
            self._recent = [each for each in self._recent if each[0] > since]
            if self._recent:
                self._drop({digest for _, digest, _ in self._recent}, {name for _, _, name in self._recent})
            while found := self._next_erased():
                self._drop({row.digest for row in found if row.digest}, {row.archive for row in found})
                # A job that has read the content may write its features back.
                self._recent += [(self._clock(), row.digest, row.archive) for row in found if row.digest]
                self._seen = int(found[-1].number)

    def _next_erased(self) -> Sequence[Row[Any]]:
        """Return the next erased examples that this process has not seen yet."""
        with self._database.read() as connection:
            incarnation = self._database.incarnation(connection)
            if incarnation != self._incarnation:
                # A failover may have lost erasures whose numbers were used again.
                self._seen, self._incarnation = 0, incarnation
            return connection.execute(_NEXT, {"seen": self._seen}).all()

    def forget_digests(self) -> None:
        """Remove digests of erased contents from the database when no replica needs them.

        Other replicas need them to drop their features. An SQLite file has no other replicas.
        """
        while self._forget_some_digests() == _DIGESTS_AT_ONCE:
            pass
        self._database.empty_log()

    def _forget_some_digests(self) -> int:
        with self._database.write("examples.forget_digests") as connection:
            is_same = self._database.incarnation(connection) == self._incarnation
            seen = self._seen if is_same else 0
            # The condition must equal the index's condition, so it has no parameter.
            done = [forgotten.c.number <= seen, forgotten.c.digest != literal_column("''")]
            if self._database.is_shared:
                done.append(forgotten.c.time < self._database.now(connection) - AGAIN_SECONDS)
            some = select(forgotten.c.number).where(*done).order_by(forgotten.c.number)
            numbers = list(connection.execute(some.limit(_DIGESTS_AT_ONCE)).scalars())
            if numbers:
                within_some = forgotten.c.number.between(numbers[0], numbers[-1])
                connection.execute(update(forgotten).where(*done, within_some).values(digest=""))
        return len(numbers)
