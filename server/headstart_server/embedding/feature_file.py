"""Features in a size-bounded SQLite file; the least recently used are evicted first."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from headstart_server.embedding.feature_rows import Key, Vectors, decode, encode
from headstart_server.embedding.sqlite_file import LOGGED_PAGE_BYTES, PAGE_BYTES, SqliteFile

#: Lowest byte limit of a file.
MIN_BYTES = 1 << 20
#: Maximum bytes of the write-ahead log, and the bytes of its index.
_LOG_BYTES, _INDEX_BYTES = 8 << 20, 32 << 10
#: Maximum rows that one transaction evicts, removes or marks as used: some milliseconds.
_STEP = 64

#: Identifies Headstart's files, and the layout of table and rows.
_MARKS = (0x48644653, 1)
_TABLES = (
    "CREATE TABLE features (digest TEXT NOT NULL, backbone INTEGER NOT NULL, used INTEGER NOT NULL, "
    "row BLOB NOT NULL, PRIMARY KEY (digest, backbone))",
    "CREATE INDEX features_by_use ON features (used)",
)
_NEWEST = "SELECT coalesce(max(used), 0) FROM features"
_GET = "SELECT row FROM features WHERE digest = ? AND backbone = ?"
_PUT = "INSERT OR REPLACE INTO features (used, digest, backbone, row) VALUES (?, ?, ?, ?)"
_TOUCH = "UPDATE features SET used = ? WHERE digest = ? AND backbone = ?"
_EVICT = "DELETE FROM features WHERE rowid IN (SELECT rowid FROM features ORDER BY used LIMIT ?)"
_REMOVE = "DELETE FROM features WHERE digest = ?"
_REMOVE_OF_ONE = "DELETE FROM features WHERE digest = ? AND backbone = ?"


class FeatureFile:
    """Features by backbone and content, each checked when it is read.

    Many threads may read concurrently; writers take turns. The order of use is coarse: rows of the same `put`
    or `touch` have the same age.

    Args:
        path: the file, created if necessary.
        max_bytes: maximum bytes of the file with its log, at least `MIN_BYTES`.

    Raises:
        ValueError: the limit is too small.
        Exception: one of `FAULTS`, here and in methods, if the file is unusable or has another format.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        if max_bytes < MIN_BYTES:
            raise ValueError(
                f"Expected a bound of at least {MIN_BYTES} bytes for {path}. Received: {max_bytes}."
            )
        log_bytes = min(max_bytes // 4, _LOG_BYTES)
        self._max_pages = (max_bytes - log_bytes - _INDEX_BYTES) // PAGE_BYTES
        # The log is emptied when it is half full, because the next transaction needs the other half.
        self._max_changes = log_bytes // 2 // LOGGED_PAGE_BYTES
        self._step = min(_STEP, self._max_changes // 4)
        self._file = SqliteFile(path, marks=_MARKS, tables=_TABLES, log_bytes=log_bytes // 2)
        try:
            self._clock = self._newest()
        except BaseException:
            self._file.close()
            raise

    @property
    def nbytes(self) -> int:
        """Bytes used on disk, with the log."""
        return self._file.nbytes

    def get_many(self, backbone: str, digests: Collection[str]) -> tuple[dict[str, Vectors], list[str]]:
        """Return the features of contents on a backbone by digest, and the digests of damaged rows."""
        found: dict[str, Vectors] = {}
        damaged = []
        number = _number(backbone)
        with self._file.reader() as connection:
            for digest in digests:
                for (row,) in connection.execute(_GET, (digest, number)).fetchall():
                    vectors = decode(backbone, digest, row)
                    if vectors is None:
                        damaged.append(digest)
                    else:
                        found[digest] = vectors
        return found, damaged

    def put(self, rows: Mapping[Key, Vectors]) -> None:
        """Store features, evicting the least recently used. A row larger than half the log is skipped."""
        self._clock += 1
        part: list[tuple[int, str, int, bytes]] = []
        pages = 0
        for (backbone, digest), vectors in rows.items():
            row = encode(backbone, digest, vectors)
            needed = _most_pages(row)
            if needed > self._max_changes:
                continue
            if pages + needed > self._max_changes:
                self._insert(part, pages)
                part, pages = [], 0
            part.append((self._clock, digest, _number(backbone), row))
            pages += needed
        self._insert(part, pages)

    def touch(self, keys: Collection[Key]) -> None:
        """Mark features as used."""
        self._clock += 1
        self._run(_TOUCH, [(self._clock, digest, _number(backbone)) for backbone, digest in keys])

    def remove(self, digests: Collection[str], backbone: str | None = None) -> None:
        """Remove the features of contents, of one backbone or of all."""
        if backbone is None:
            self._run(_REMOVE, [(digest,) for digest in digests])
        else:
            self._run(_REMOVE_OF_ONE, [(digest, _number(backbone)) for digest in digests])
        if digests:
            # The log still contains the removed pages.
            self._file.empty_log()

    def close(self) -> None:
        """Close the file after the running reads."""
        self._file.close()

    def _newest(self) -> int:
        newest = self._file.value(_NEWEST)
        if not isinstance(newest, int) or not 0 <= newest < 1 << 62:
            raise sqlite3.DatabaseError(f"expected a count of uses, received: {newest!r}")
        return newest

    def _run(self, statement: str, values: Sequence[tuple[object, ...]]) -> None:
        for start in range(0, len(values), self._step):
            with self._file.transaction() as connection:
                connection.executemany(statement, values[start : start + self._step])

    def _insert(self, rows: Sequence[tuple[int, str, int, bytes]], pages: int) -> None:
        self._make_room(pages)
        with self._file.transaction() as connection:
            connection.executemany(_PUT, rows)

    def _make_room(self, pages: int) -> None:
        while self._pages() - self._file.value("PRAGMA freelist_count") + pages > self._max_pages:
            with self._file.transaction() as connection:
                evicted = connection.execute(_EVICT, (self._step,)).rowcount
            if not evicted:
                raise sqlite3.DatabaseError("the used pages contain no rows")
        if self._pages() > self._max_pages:
            # Needed only if the limit was lowered: otherwise free pages are reused before the file grows.
            self._shrink()

    def _shrink(self) -> None:
        for _ in range(self._max_pages, self._pages(), self._step):
            with self._file.transaction() as connection:
                # One page per statement, because the driver would stop a longer one after the first page.
                for _ in range(self._step):
                    connection.execute("PRAGMA incremental_vacuum(1)")
        self._file.empty_log()

    def _pages(self) -> int:
        return int(self._file.value("PRAGMA page_count"))


def _number(backbone: str) -> int:
    """Return a backbone's key as eight bytes; the checksums of rows detect a collision."""
    return int.from_bytes(sha256(backbone.encode()).digest()[:8], "big", signed=True)


def _most_pages(row: bytes) -> int:
    """Return the maximum number of pages that a new row changes, including splits of table and indexes."""
    return -(-len(row) // (PAGE_BYTES - 4)) + 6
