"""PostgreSQL: one database, many replicas."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, Text, cast, create_engine, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from headstart_server.database.address import hosts, shown
from headstart_server.database.locks import Lock
from headstart_server.errors import DatabaseUnavailable, HeadstartError, InvalidField, StorageFull

#: Timeouts in seconds of a statement and of the socket, which ends the wait for a lost server. A retry on a
#: new connection must then still fit into a lease of 10 s; otherwise one pause costs all jobs their claims.
STATEMENT_SECONDS = 4
SOCKET_SECONDS = 5
#: Minimum connect timeout of libpq, in seconds.
_LEAST_CONNECT_SECONDS = 2
#: Seconds that a statement waits for a lock, and a transaction for its next statement.
LOCK_SECONDS = 3
IDLE_SECONDS = 10
#: Seconds that a statement may take that changes a table: an index of a large one takes minutes.
CHANGE_SECONDS = 3600
#: Seconds that a call waits for a connection, and number of connections, which may double under load.
POOL_SECONDS = 3.0
CONNECTIONS = 8
#: First numbers of Headstart's locks: they must not meet those of other software in the same database.
_LOCKS = 0x48454144
#: SQLSTATE classes and codes of a database that is unreachable, starting, stopping, overloaded or a standby.
_AWAY = ("08", "53", "57", "58", "25006")
#: SQLSTATE classes and codes of rejected users, names or rights, which an operator may correct at any time.
REFUSED = ("28", "3D", "3F", "42501", "TLS")
#: SQLSTATE codes of retryable calls: serialization failure, deadlock, lock timeout, statement timeout or
#: cancellation, idle transaction timeout.
_BUSY = ("40001", "40P01", "55P03", "57014", "25P03")
#: libpq does not report the SQLSTATE of a refused connection. These patterns match messages of libpq, and of
#: a server with English `lc_messages`. "TLS" stands for a connection less secure than the address demands.
_WORDS: Mapping[str, str] = {
    r"authentication failed|no password supplied|no pg_hba\.conf entry": "28000",
    r'role ".*" does not exist|not permitted to log in': "28000",
    r'database ".*" does not exist': "3D000",
    r"permission denied for database": "42501",
    r"too many (clients|connections)|connection slots": "53300",
    r"starting up|shutting down|accepting connections": "57P03",
    r"SSL|certificate": "TLS",
}
_DISK_FULL = "53100"
_NO_TEXT = "22021"

# Built once: building a statement takes longer than executing it.
_START_TIME = select(cast(func.pg_postmaster_start_time(), Text))


class Postgres:
    """Connections and transactions of PostgreSQL; raise ModuleNotFoundError without its driver."""

    is_shared = True
    begin_write = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, address: URL) -> None:
        self.name = shown(address)
        try:
            self.engine = _engine(address, connections=CONNECTIONS, more=CONNECTIONS)
            #: One connection for the heartbeat, which neither slow statements nor load can occupy.
            self.reserve = _engine(address, connections=1, more=0)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"PostgreSQL needs the driver {error.name}: pip install 'headstart[postgres]'."
            ) from error
        self.turn = nullcontext()

    @contextmanager
    def slowly(self, connection: Connection) -> Iterator[None]:
        """Let statements in the block take `CHANGE_SECONDS`; locks are still waited for as usual."""
        driver: Any = connection.connection.driver_connection
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{CHANGE_SECONDS}s'")
        driver.answer_seconds = CHANGE_SECONDS
        try:
            yield
        finally:
            driver.answer_seconds = SOCKET_SECONDS

    def check(self) -> None:
        """Do nothing: the next statement finds out whether the server answers."""

    def empty_log(self) -> None:
        """Do nothing: the log of PostgreSQL belongs to its operator."""

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Wait for a lock that ends with the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, lock.value)))

    def now(self, connection: Connection) -> float:
        """Return the server's time, which all replicas share."""
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def incarnation(self, connection: Connection) -> str:
        """Return the start time of the server: it differs after a restart, and on a standby."""
        return str(connection.execute(_START_TIME).scalar_one())

    def words(self, error: SQLAlchemyError) -> str:
        """Return the server's message, without the statement and its parameters."""
        return state_and_message(error.orig)[1] if isinstance(error, DBAPIError) else str(error)

    def fault(self, error: SQLAlchemyError) -> HeadstartError | None:
        """Return the domain error for a driver's error; None if it is a bug of the server."""
        if isinstance(error, PoolTimeoutError):
            return DatabaseUnavailable("no connection became free", is_busy=True)
        return _fault(error) if isinstance(error, DBAPIError) else None


def _engine(address: URL, *, connections: int, more: int) -> Engine:
    from headstart_server.database.driver import TimedConnection  # noqa: PLC0415 - of an extra

    engine = create_engine(
        address,
        isolation_level="AUTOCOMMIT",
        pool_size=connections,
        max_overflow=more,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        use_native_hstore=False,
        connect_args=_settings(address),
    )

    def connect(*which: Any) -> TimedConnection:
        *_, options = which
        connection = TimedConnection.connect(**options)
        connection.answer_seconds = SOCKET_SECONDS
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", _configure)
    return engine


def _settings(address: URL) -> dict[str, Any]:
    """Return libpq's parameters that bound every wait for the network.

    A connection to each of several hosts is tried in turn; together they may take as long as one answer.
    """
    seconds = max(SOCKET_SECONDS // max(len(hosts(address)), 1), _LEAST_CONNECT_SECONDS)
    return {
        "application_name": "headstart",
        "client_encoding": "utf-8",
        "connect_timeout": seconds,
        "tcp_user_timeout": SOCKET_SECONDS * 1000,
        "keepalives_idle": SOCKET_SECONDS,
        "keepalives_interval": SOCKET_SECONDS,
        "keepalives_count": 3,
        # Prepared statements would not survive a pooler between server and database.
        "prepare_threshold": None,
    }


def _fault(error: DBAPIError) -> HeadstartError | None:
    state, message = state_and_message(error.orig)
    if state == _DISK_FULL:
        return StorageFull()
    if state == _NO_TEXT or (isinstance(error, DataError) and "NUL" in message):
        return InvalidField("The text contains the character NUL. Remove it.")
    if state in _BUSY:
        return DatabaseUnavailable(message, is_busy=True)
    # The driver's own errors have no state.
    is_lost = error.connection_invalidated or (
        not state and isinstance(error, OperationalError | InterfaceError)
    )
    if is_lost or state.startswith((*_AWAY, *REFUSED)):
        return DatabaseUnavailable(message, is_refused=state.startswith(REFUSED))
    return None


def state_and_message(error: BaseException | None) -> tuple[str, str]:
    """Return the SQLSTATE of a driver's error, empty if it is unknown, and its message in one line."""
    message = " ".join(str(error).split())
    known = (state for words, state in _WORDS.items() if re.search(words, message))
    return getattr(error, "sqlstate", None) or next(known, ""), message


def _configure(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    cursor.execute("; ".join(f"SET {name} = '{seconds}s'" for name, seconds in limits.items()))
    cursor.close()
