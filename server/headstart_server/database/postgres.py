"""PostgreSQL: one database, many replicas."""

from contextlib import nullcontext
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from headstart_server.database.locks import Lock
from headstart_server.errors import DatabaseAway, HeadstartError, InvalidField, StorageFull

#: Seconds that a statement may take; the socket gives up a little later, should the server be gone. A try
#: after that, on a new connection, must fit into a lease of 10 s, or one pause costs all jobs their claims.
STATEMENT_SECONDS = 4
SOCKET_SECONDS = 5
#: Seconds that a statement waits for a lock, and a transaction for its next statement.
LOCK_SECONDS = 3
IDLE_SECONDS = 10
#: Seconds that a call waits for a connection, and how many there are: some, and as many more for a rush.
POOL_SECONDS = 3.0
CONNECTIONS = 8
#: First numbers of Headstart's locks: they must not meet those of other software in the same database.
_LOCKS = 0x48454144
#: SQLSTATE classes and codes of a database that is away, starting, stopping, overloaded or a mere standby.
_AWAY = ("08", "53", "57", "58", "25P03", "25006")
#: Of transactions that can be tried again: serialization, deadlock, no lock in time.
_BUSY = ("40001", "40P01", "55P03")
_DISK_FULL = "53100"
_NO_TEXT = "22021"


class Postgres:
    """How transactions go in PostgreSQL.

    Args:
        address: of the database.

    Raises:
        DatabaseAway: its driver is not installed.
    """

    is_shared = True
    begin_write = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, address: URL) -> None:
        self.name = address.render_as_string(hide_password=True).replace("+pg8000", "")
        try:
            self.engine = create_engine(
                address,
                isolation_level="AUTOCOMMIT",
                pool_size=CONNECTIONS,
                max_overflow=CONNECTIONS,
                pool_timeout=POOL_SECONDS,
                pool_pre_ping=True,
                # Its answers come within this or the connection is given up: no thread waits for a dead host.
                connect_args={
                    "timeout": SOCKET_SECONDS,
                    "tcp_keepalive": True,
                    "application_name": "headstart",
                },
            )
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"PostgreSQL needs the driver {error.name}: pip install 'headstart[postgres]'."
            ) from error
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "handle_error", _treat_as_lost)
        self.turn = nullcontext()

    def lock(self, connection: Connection, lock: Lock) -> None:
        """Wait for a lock that ends with the transaction."""
        connection.execute(select(func.pg_advisory_xact_lock(_LOCKS, lock.value)))

    def now(self, connection: Connection) -> float:
        """The server's time, which all replicas share."""
        return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def words(self, error: SQLAlchemyError) -> str:
        """Return what the server said, without the statement and its parameters."""
        return state_and_message(error.orig)[1] if isinstance(error, DBAPIError) else str(error)

    def fault(self, error: SQLAlchemyError) -> HeadstartError | None:
        """What an error means; None if it is a fault of the server."""
        if isinstance(error, PoolTimeoutError):
            return DatabaseAway("The database is busy: no connection to it became free.", is_busy=True)
        return _fault(error) if isinstance(error, DBAPIError) else None


def _fault(error: DBAPIError) -> HeadstartError | None:
    state, said = state_and_message(error.orig)
    if state == _DISK_FULL:
        return StorageFull()
    if state == _NO_TEXT:
        return InvalidField("Expected text without the character NUL. Received: text with it.")
    if state in _BUSY:
        return DatabaseAway(f"The database is busy: {said}.", is_busy=True)
    if error.connection_invalidated or state.startswith(_AWAY) or not state:
        return DatabaseAway(f"The database does not answer: {said.rstrip('.')}.")
    return None


def _treat_as_lost(context: ExceptionContext) -> DatabaseAway | None:
    """Give up a connection whose answer did not come in time: pg8000 lets the socket's own error through."""
    error = context.original_exception
    if not isinstance(error, OSError):
        return None
    context.is_disconnect = True
    return DatabaseAway(f"The database does not answer: {error}.")


def state_and_message(error: BaseException | None) -> tuple[str, str]:
    """Return the SQLSTATE and message of a driver's error; the state is empty if the connection failed."""
    fields = error.args[0] if error is not None and error.args else ""
    if isinstance(fields, dict):
        return str(fields.get("C", "")), str(fields.get("M", ""))
    return "", str(error)


def _configure(connection: DBAPIConnection, _: Any) -> None:
    cursor = connection.cursor()
    for setting, seconds in (
        ("statement_timeout", STATEMENT_SECONDS),
        ("lock_timeout", LOCK_SECONDS),
        ("idle_in_transaction_session_timeout", IDLE_SECONDS),
    ):
        cursor.execute(f"SET {setting} = '{seconds}s'")
    cursor.close()
