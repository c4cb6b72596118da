"""The events of all jobs within a scope, in order for each job, resumable with a token."""

import base64
import binascii
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from headstart_server.auth.permissions import Scope
from headstart_server.database.locks import batched
from headstart_server.database.tables import JOBS, counters, jobs
from headstart_server.errors import InvalidField
from headstart_server.jobs import rows
from headstart_server.jobs.job import JobEvent, JobState
from headstart_server.jobs.job_queries import events_of, narrowed

#: Maximum characters of a token, bytes of its content, and jobs in it.
MAX_TOKEN, _MAX_TOKEN_BYTES, _MAX_JOBS = 1 << 20, 4 << 20, 20_000
#: Maximum new jobs and events that one step reads.
_NEW_JOBS, _EVENTS = 500, 1000
#: Maximum IDs in one statement.
_AT_ONCE = 500
_COLUMNS: Select[Any] = select(jobs.c.job_id, jobs.c.number, jobs.c.seq, jobs.c.state, jobs.c.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """The position of a watcher.

    All events of the jobs up to `number` were read, except later events of the jobs in `read`.
    """

    number: int  # number of the last job that was seen
    # the last event read of each job that has not ended or is newer than `number`
    read: Mapping[str, int] = field(default_factory=dict)

    def token(self) -> str:
        """Return the position as a text."""
        content = json.dumps([self.number, self.read]).encode()
        return base64.urlsafe_b64encode(zlib.compress(content)).decode()

    @classmethod
    def of_token(cls, token: str) -> "Position":
        """Return the position of a token."""
        try:
            unpack = zlib.decompressobj()
            content = unpack.decompress(base64.urlsafe_b64decode(token.encode()), _MAX_TOKEN_BYTES)
            # Counted before it is parsed: a million values in a few compressed bytes take 0.3 s.
            if content.count(b"[") + content.count(b"{") > 2 or content.count(b",") > _MAX_JOBS:
                raise ValueError
            number, read = json.loads(content)
            if not (_is_number(number) and isinstance(read, dict) and all(map(_is_number, read.values()))):
                raise ValueError
            return cls(number=number, read={_job_id(name): last for name, last in read.items()})
        except (ValueError, TypeError, RecursionError, binascii.Error, zlib.error):
            raise InvalidField(
                f"The resume token is invalid: {token[:80]!r}. Send the last received resume_token, or omit "
                "it.",
                field="resume_token",
            ) from None


def current(connection: Connection) -> Position:
    """Return the position of a watcher that starts with the jobs that have not ended."""
    query = select(counters.c.value).where(counters.c.name == JOBS)
    return Position(number=int(connection.execute(query).scalar_one()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """The result of a step."""

    events: Sequence[JobEvent]
    position: Position
    has_more: bool  # whether the next step finds more without waiting


def step(connection: Connection, position: Position, *, model: str, scope: Scope | None) -> Watched:
    """Read the events after a position, of all jobs or of the jobs of a model or scope."""
    query = _COLUMNS.where(*narrowed(model, scope))
    new = connection.execute(
        query.where(jobs.c.number > position.number).order_by(jobs.c.number).limit(_NEW_JOBS + 1)
    ).all()
    has_more = len(new) > _NEW_JOBS
    known = (
        row
        for row in _known(connection, position.read)
        if model in ("", row.model) and (scope is None or scope.covers(row.model))
    )
    under_way = connection.execute(query.where(rows.under_way()))
    found = {row.job_id: row for row in (*new[:_NEW_JOBS], *under_way, *known)}
    number = int(new[:_NEW_JOBS][-1].number) if new else position.number
    events: list[JobEvent] = []
    read: dict[str, int] = {}
    for row in found.values():
        last = position.read.get(row.job_id, 0)
        if row.seq > last and len(events) < _EVENTS:
            part = events_of(connection, row.job_id, last, _EVENTS - len(events))
            events.extend(part)
            last = part[-1].number if part else row.seq
        has_more |= last < row.seq
        # A job that has ended is dropped, unless the next step reads it again as newer than `number`.
        if last < row.seq or not JobState(row.state).is_terminal or (row.number or 0) > number:
            read[row.job_id] = last
    events.sort(key=lambda event: (event.time, event.job_id, event.number))
    return Watched(events=events, position=Position(number=number, read=read), has_more=has_more)


def unfinished(connection: Connection) -> tuple[int, Mapping[str, int]]:
    """Return the number of the newest job, and the last event of each job that has not ended."""
    found = connection.execute(select(jobs.c.job_id, jobs.c.seq).where(rows.under_way()))
    return current(connection).number, {row.job_id: row.seq for row in found}


def _known(connection: Connection, job_ids: Collection[str]) -> Iterator[Row[Any]]:
    """Return jobs by ID without further conditions, for which SQLite would read all jobs of the tenant."""
    for part in batched(job_ids, _AT_ONCE):
        yield from connection.execute(_COLUMNS.where(jobs.c.job_id.in_(part)))


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _job_id(name: str) -> str:
    if len(name) > 64 or not name.isascii() or not name.isprintable():
        raise ValueError(name)
    return name
