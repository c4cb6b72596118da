"""An SQLite file with one writer, any number of readers, and a short write-ahead log."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Bytes of a page in SQLite's log, with its header.
LOGGED_PAGE_BYTES = 4096 + 32
#: Bytes of a page of the file.
PAGE_BYTES = 4096

#: Maximum bytes of a value, because a damaged length must not allocate more memory.
_MAX_VALUE_BYTES = 16 << 20
#: Memory of a connection. Each thread may have a reader, and the system caches the file anyway.
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 256, 4096
#: Maximum seconds to wait for a lock, which only another program can hold for long.
_BUSY_SECONDS = 5.0
#: Maximum seconds to wait for running reads before a file is closed; only a failing disk needs so long.
_READING_SECONDS = 10.0
#: Errors of any use of a file. The driver decodes SQLite's messages, which may quote damaged text.
FAULTS = (sqlite3.Error, UnicodeDecodeError, OSError)
#: Errors of the disk or the machine rather than the file.
_OUTER_FAULTS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}


class SqliteFile:
    """A file that many threads may read concurrently, while writers take turns. A kill loses no transaction.

    Args:
        path: the file, created if necessary. SQLite's locks do not work on network file systems.
        marks: the application's number and the version of its tables; files with other marks are rejected.
        tables: the statements that create the tables of a new file.
        log_bytes: size above which the write-ahead log is moved into the file.

    Raises:
        Exception: one of `FAULTS`, here and in methods, if the file is unusable or has another format.
    """

    def __init__(self, path: Path, *, marks: tuple[int, int], tables: Sequence[str], log_bytes: int) -> None:
        self._path = path
        self._log_bytes = log_bytes
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._reading = 0
        self._closed = False
        self._writer = self._connect(_WRITER_CACHE_KIB)
        try:
            self._prepare(marks, tables)
        except BaseException:
            self._writer.close()
            raise

    @property
    def nbytes(self) -> int:
        """Bytes used on disk, with the log."""
        total = 0
        for part in parts(self._path):
            # The log may be missing.
            with suppress(FileNotFoundError):
                total += part.stat().st_size
        return total

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Return this thread's connection. A statement sees the last commit and must be read to its end."""
        with self._changed:
            if self._closed:
                raise sqlite3.ProgrammingError("the file is closed")
            connection = self._idle.pop() if self._idle else None
            self._reading += 1
        try:
            connection = connection or self._connect(_READER_CACHE_KIB)
            yield connection
        finally:
            with self._changed:
                self._reading -= 1
                if connection is not None:
                    self._idle.append(connection)
                self._changed.notify_all()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction, rolled back if the block raises. One thread at a time."""
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            self._writer.execute("COMMIT")
        except BaseException:
            # SQLite has rolled it back if the disk is full. The first error is reported.
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise
        _, log, _ = parts(self._path)
        if log.exists() and log.stat().st_size > self._log_bytes:
            self.empty_log()

    def empty_log(self) -> None:
        """Move the log into the file, and truncate pages that the file no longer needs."""
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def value(self, query: str) -> Any:
        """Return the single value of a query. Only for the writing thread."""
        ((value,),) = self._writer.execute(query).fetchall()
        return value

    def close(self) -> None:
        """Close the file after the running reads; closing deletes the log of any file of this name."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._reading, _READING_SECONDS)
            idle, self._idle = self._idle, []
        for connection in (*idle, self._writer):
            connection.close()

    def _connect(self, cache_kib: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
            # Unexpected text means damage, and may not be valid UTF-8.
            connection.text_factory = bytes
            connection.execute(f"PRAGMA cache_size = {-cache_kib}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, marks: tuple[int, int], tables: Sequence[str]) -> None:
        is_new = self.value("PRAGMA page_count") == 0
        found = self.value("PRAGMA application_id"), self.value("PRAGMA user_version")
        if not is_new and found != marks:
            raise sqlite3.DatabaseError(f"expected a file with the marks {marks}, received: {found}")
        if is_new:
            self._writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._writer.execute("PRAGMA journal_mode = WAL")
        # Deleted data is overwritten with zeros.
        self._writer.execute("PRAGMA secure_delete = ON")
        # A power failure loses at most the content of the log.
        self._writer.execute("PRAGMA synchronous = NORMAL")
        if is_new:
            with self.transaction() as connection:
                for statement in tables:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {marks[0]}")
                connection.execute(f"PRAGMA user_version = {marks[1]}")


def parts(path: Path) -> tuple[Path, Path, Path]:
    """Return the paths of a database: file, write-ahead log and log index."""
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")


def delete(path: Path) -> None:
    """Delete a database with its log."""
    for part in parts(path):
        part.unlink(missing_ok=True)


def is_damage(error: Exception, *, reading: bool) -> bool:
    """Return whether an error means that the file is damaged rather than the disk full or failing."""
    if isinstance(error, OSError):
        return False
    # The low byte is the primary error code; the other bytes have details.
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return kind not in _OUTER_FAULTS or (reading and kind == sqlite3.SQLITE_IOERR)


def described(error: Exception) -> str:
    """Return an error's message with its SQLite name, which is more specific."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{error} ({name})"
