"""SQLite: one file, one server, which may have several processes."""

import fcntl
import os
import threading
import time
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from headstart_server.database.locks import Lock
from headstart_server.errors import DatabaseUnavailable, HeadstartError, StorageFull

#: Parts of the messages about a damaged file, and about a file of another kind.
_DAMAGED = ("malformed", "is not a database")
#: Parts of the messages about a file that may be usable again soon.
_UNUSABLE = ("is locked", "disk I/O error", "unable to open")
#: The remedy of a file that is not the one that was opened.
_RESTORE = "Stop the server, put the file back or restore a backup, and start it"


class Sqlite:
    """Connections and transactions of an SQLite file. SQLite's locks do not work on network file systems.

    Writers queue for a lock, within this process and among the processes of one server, before they take
    SQLite's own lock. That lock has no queue, so a writer could wait for seconds while others pass it.
    """

    begin_write = "BEGIN IMMEDIATE"
    begin_snapshot = "BEGIN"
    #: No statement of SQLite has a time limit.
    slowly = nullcontext

    def __init__(self, address: URL, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.name = str(address.database)
        # Transactions are begun explicitly: the driver would begin them late, and reads do not need them.
        self.engine = create_engine(address, isolation_level="AUTOCOMMIT")
        #: Connections for the heartbeat. A file needs no reserve.
        self.reserve = self.engine
        event.listen(self.engine, "connect", _configure)
        self.turn = _SharedTurn(Path(f"{self.name}-turn")) if is_shared else threading.Lock()
        self._file: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise DatabaseUnavailable if the file was removed or replaced since the first check.

        SQLite would go on with the file that it has opened. All writes would be lost with its last
        connection.
        """
        try:
            facts = os.stat(self.name)
        except OSError as error:
            raise DatabaseUnavailable(f"the file cannot be used: {error.strerror}. {_RESTORE}") from error
        file = (facts.st_dev, facts.st_ino)
        if self._file is None:
            self._file = file
        elif file != self._file:
            raise DatabaseUnavailable(f"the file was replaced. {_RESTORE}")

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Do nothing: SQLite has only one writer at a time."""

    def now(self, connection: Connection) -> float:
        """Return the machine's time, because all processes run on this machine."""
        del connection
        return time.time()

    def incarnation(self, connection: Connection) -> str:
        """Return a constant: no commit of a file is lost while a server has it open."""
        del connection
        return ""

    def empty_log(self) -> None:
        """Move the write-ahead log into the file, so that the log no longer contains deleted data."""
        with self.turn, self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()

    def words(self, error: SQLAlchemyError) -> str:
        """Return the driver's message, without the statement and its parameters."""
        return str(getattr(error, "orig", error))

    def fault(self, error: SQLAlchemyError) -> HeadstartError | None:
        """Return the domain error for a driver's error; None if it is a bug of the server."""
        if not isinstance(error, DatabaseError):
            return None
        message, fault = str(error.orig), None
        if any(sign in message for sign in _DAMAGED):
            fault = DatabaseUnavailable(message, is_refused=True)
        elif not isinstance(error, OperationalError):
            pass
        elif "disk is full" in message:
            return StorageFull()
        elif any(sign in message for sign in _UNUSABLE):
            fault = DatabaseUnavailable(f"the file cannot be used: {message}")
        elif "readonly database" in message:
            # Linux mounts a failing file system read-only. Reads go on.
            fault = DatabaseUnavailable(
                f"the file cannot be written: {message}", is_busy=True, is_refused=True
            )
        return fault


class _SharedTurn:
    """A lock between threads and processes; the kernel passes it on, also when a process ends.

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
        # Deleted data is overwritten with zeros.
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
