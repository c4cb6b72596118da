"""What is removed in time, and whose turn that is."""

from sqlalchemy import Connection, delete, insert, not_, select, update

from headstart_server.database.tables import jobs, turns
from headstart_server.jobs import webhook_rows


def take_turn(connection: Connection, name: str, *, now: float, seconds: float) -> bool:
    """Whether it is the caller's turn to do what one replica at a time does.

    If it is, it is nobody else's for some seconds. The caller holds the lock of cleaning.
    """
    until = connection.execute(select(turns.c.until).where(turns.c.name == name)).scalar()
    if until is not None and until > now:
        return False
    if until is None:
        connection.execute(insert(turns).values(name=name, until=now + seconds))
    else:
        connection.execute(update(turns).where(turns.c.name == name).values(until=now + seconds))
    return True


def forget(connection: Connection, before: float) -> int:
    """Remove the jobs that ended before a time, with their events; returns their number.

    Those whose end is still to be told somewhere stay.
    """
    told = not_(webhook_rows.is_pending())
    return connection.execute(delete(jobs).where(jobs.c.finished < before, told)).rowcount
