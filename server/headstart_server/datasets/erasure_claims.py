"""Claims of the versions that erasures fit again: they count the processes that died during a fit.

A claim is written before the fit. It ends with the result of the version, or is released if the fit was
interrupted. A process that dies leaves its claims, and the next process that wants one counts a crash.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import erasure_versions
from headstart_server.datasets.erasure_log import OF_VERSION, RebuiltVersion

# Built once: building a statement takes longer than executing it.
_ROW = select(erasure_versions.c.owner, erasure_versions.c.crashes, erasure_versions.c.result).where(
    *OF_VERSION
)
_LOCKED_ROW = _ROW.with_for_update()
_CLAIM = (
    update(erasure_versions)
    .where(*OF_VERSION)
    .values(owner=bindparam("claimant"), crashes=bindparam("counted"))
)
_RELEASE = (
    update(erasure_versions)
    .where(
        erasure_versions.c.erasure_id == bindparam("of_erasure"),
        erasure_versions.c.owner == bindparam("claimant"),
        erasure_versions.c.result.is_(None),
    )
    .values(owner=None)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitClaim:
    """The result of a claim."""

    is_mine: bool  # whether this process fits the version; otherwise another one fits it or has fitted it
    crashes: int = 0  # number of processes that died while they fitted it
    result: RebuiltVersion | None = None  # what another process has done; None while it is fitting


class ErasureClaims:
    """Claims versions for this process. Each method is one transaction.

    Args:
        owner: this process; empty for a new name.
        is_dead: returns whether another process is known to be dead.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str = "",
        is_dead: Callable[[Connection, str], bool] = lambda *_: True,
    ) -> None:
        self._database = database
        self._owner = owner or uuid.uuid4().hex
        self._is_dead = is_dead

    def preview(self, erasure_id: str, model: str, number: int) -> FitClaim:
        """Return what a claim would return now."""
        with self._database.read() as connection:
            return self._decide(connection, connection.execute(_ROW, _place(erasure_id, model, number)).one())

    def claim(self, erasure_id: str, model: str, number: int) -> FitClaim:
        """Claim the fit of a version, unless another process fits it or has fitted it."""
        here = _place(erasure_id, model, number)
        with self._database.write("erasures.claim") as connection:
            claim = self._decide(connection, connection.execute(_LOCKED_ROW, here).one())
            if claim.is_mine:
                connection.execute(_CLAIM, {**here, "claimant": self._owner, "counted": claim.crashes})
        return claim

    def release(self, erasure_id: str) -> None:
        """Release the claims of this process: their fits were interrupted, and no crash of it counts."""
        with self._database.write("erasures.release") as connection:
            connection.execute(_RELEASE, {"of_erasure": erasure_id, "claimant": self._owner})

    def _decide(self, connection: Connection, row: Row[Any, Any, Any]) -> FitClaim:
        if row.result is not None:
            return FitClaim(is_mine=False, result=RebuiltVersion.from_json(row.result))
        if row.owner in (None, self._owner):
            return FitClaim(is_mine=True, crashes=int(row.crashes))
        if self._is_dead(connection, row.owner):
            return FitClaim(is_mine=True, crashes=int(row.crashes) + 1)
        return FitClaim(is_mine=False)


def _place(erasure_id: str, model: str, number: int) -> dict[str, Any]:
    return {"of_erasure": erasure_id, "of_model": model, "of_number": number}
