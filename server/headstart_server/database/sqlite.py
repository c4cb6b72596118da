"""SQLite: one file, one server, which may have several processes."""

import fcntl
import os
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from headstart_server.database.locks import Lock
from headstart_server.errors import DatabaseUnavailable, HeadstartError, StorageFull


class Sqlite:
    """How transactions go in a file. Not on a network file system, where SQLite's locks do not hold.

    Writes take turns in this process before they reach SQLite's own lock, which has no queue: without the
    turn a writer can be passed over for seconds. So do the processes of one server that share it.
    """

    begin_write = "BEGIN IMMEDIATE"
    begin_snapshot = "BEGIN"

    def __init__(self, address: URL, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.name = str(address.database)
        # Transactions are begun by hand: the driver would begin them late, and reads need none.
        self.engine = create_engine(address, isolation_level="AUTOCOMMIT")
        #: Connections for the heartbeat; a file has enough of them.
        self.reserve = self.engine
        event.listen(self.engine, "connect", _configure)
        self.turn = _SharedTurn(Path(f"{self.name}-turn")) if is_shared else threading.Lock()

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Nothing to do: who writes is alone."""

    def now(self, connection: Connection) -> float:
        """The machine's time: there is no other one to agree with."""
        del connection
        return time.time()

    def empty_log(self) -> None:
        """Move the log of writes into the file, so that it no longer has what was deleted."""
        with self.turn, self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    def words(self, error: SQLAlchemyError) -> str:
        """Return what the driver said, without the statement and its parameters."""
        return str(getattr(error, "orig", error))

    def fault(self, error: SQLAlchemyError) -> HeadstartError | None:
        """What an error means; None if it is a fault of the server."""
        if not isinstance(error, OperationalError):
            return None
        said = str(error.orig)
        if "disk is full" in said:
            return StorageFull()
        if any(sign in said for sign in ("is locked", "disk I/O error", "unable to open")):
            return DatabaseUnavailable(f"the file cannot be used: {said}")
        return None


class _SharedTurn:
    """A lock of threads and processes, which the kernel hands on; a process that ends releases it.

    Args:
        path: the file that is locked.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        weakref.finalize(self, os.close, self._file)

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._lock.release()


def _configure(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "busy_timeout=10000",
        "foreign_keys=ON",
        # What is deleted is overwritten with zeros.
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
