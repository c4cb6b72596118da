"""What holds of both databases: one Headstart cannot tell them apart."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Connection, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError

from fakes import PATIENCE, ManualClock
from headstart_server.database.address import address_of, hosts, shown, sqlite_file
from headstart_server.database.database import Database, SchemaError
from headstart_server.database.locks import Lock
from headstart_server.database.tables import (
    JOBS,
    REGISTRY,
    SCHEMA_VERSION,
    counters,
    jobs,
    metadata,
    models,
    schema_version,
)
from headstart_server.errors import DatabaseUnavailable, InvalidField, StorageUnavailable
from headstart_server.models import rows
from headstart_server.storage.circuit_breaker import CircuitBreaker
from postgres import GUARDED, PostgresServer, on_both_databases
from server_process import eventually


@pytest.fixture
def target(tmp_path: Path, address: str | None) -> Path | str:
    return address or tmp_path / "headstart.sqlite3"


@pytest.fixture
def database(target: Path | str) -> Iterator[Database]:
    database = Database(target)
    yield database
    database.close()


def add(connection: Connection, name: str) -> None:
    connection.execute(insert(models).values(name=name, created=0.0, next_number=0))


class RefusedError(Exception):
    pass


@on_both_databases
def test_an_error_undoes_all_of_its_transaction_and_the_next_one_goes_on(database: Database) -> None:
    with pytest.raises(RefusedError), database.write() as connection:
        add(connection, "pets")
        raise RefusedError
    with pytest.raises(IntegrityError), database.write() as connection:
        add(connection, "pets")
        add(connection, "pets")
    with database.write() as connection:
        add(connection, "pets")
    with database.read() as connection:
        assert connection.execute(select(models.c.name)).scalars().all() == ["pets"]


@on_both_databases
def test_the_statements_of_a_snapshot_all_see_the_same_commit(database: Database) -> None:
    with database.snapshot() as snapshot:
        count = select(func.count()).select_from(models)
        assert snapshot.execute(count).scalar_one() == 0
        with database.write() as connection:
            add(connection, "pets")
        assert snapshot.execute(count).scalar_one() == 0
    with database.read() as connection:
        assert connection.execute(count).scalar_one() == 1


@on_both_databases
def test_changes_of_the_registry_are_counted_one_after_the_other(database: Database) -> None:
    with database.write() as connection:
        add(connection, "pets")
        before = rows.last_revision(connection)
    ready, seen = threading.Barrier(4), []

    def count() -> None:
        ready.wait(PATIENCE)
        for _ in range(5):
            with database.write() as connection:
                number = rows.next_revision(connection)
                # No other transaction has come between: what it reads is as it leaves it.
                value = connection.execute(select(models.c.next_number)).scalar_one()
                connection.execute(update(models).values(next_number=value + 1))
            seen.append(number)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(seen) == list(range(before + 1, before + 21))
    with database.read() as connection:
        assert connection.execute(select(models.c.next_number)).scalar_one() == 20


@on_both_databases
def test_who_holds_a_lock_is_alone_to_the_end_of_its_transaction(database: Database) -> None:
    entered, order = threading.Event(), []

    def second() -> None:
        entered.wait(PATIENCE)
        with database.write() as connection:
            database.lock(connection, Lock.QUEUE)
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with database.write() as connection:
        database.lock(connection, Lock.QUEUE)
        entered.set()
        thread.join(0.1)
        order.append("first")
    thread.join(PATIENCE)
    assert order == ["first", "second"]


@on_both_databases
def test_the_time_is_the_databases_unless_a_clock_is_given(database: Database, target: Path | str) -> None:
    with database.read() as connection:
        assert abs(database.now(connection) - time.time()) < 60
    by_hand = Database(target, clock=ManualClock(5.0))
    with by_hand.read() as connection:
        assert by_hand.now(connection) == 5.0
    by_hand.close()


@on_both_databases
def test_tables_of_a_newer_headstart_are_refused_and_left_as_they_were(
    database: Database, target: Path | str
) -> None:
    with database.write() as connection:
        connection.execute(update(schema_version).values(version=SCHEMA_VERSION + 1))
    try:
        with pytest.raises(SchemaError, match=f"has schema {SCHEMA_VERSION + 1}; this Headstart knows"):
            Database(target)
    finally:
        with database.write() as connection:
            connection.execute(update(schema_version).values(version=SCHEMA_VERSION))


def test_four_replicas_that_start_at_once_on_an_empty_database_all_come_up(postgres: PostgresServer) -> None:
    address, ready, given_up = postgres.database(), threading.Barrier(4), threading.Event()
    opened: list[Database] = []

    def start() -> None:
        ready.wait(PATIENCE)
        while not given_up.is_set():
            # As a server does: waiting for the others may take longer than a statement may.
            with suppress(DatabaseUnavailable):
                opened.append(Database(address))
                return

    starts = [threading.Thread(target=start) for _ in range(4)]
    for each in starts:
        each.start()
    for each in starts:
        each.join(5 * PATIENCE)
    given_up.set()
    assert len(opened) == 4
    for place, database in enumerate(opened):
        with database.write() as connection:
            add(connection, f"model-{place}")
    with opened[0].read() as connection:
        assert connection.execute(select(func.count()).select_from(models)).scalar_one() == 4
        assert connection.execute(select(schema_version.c.version)).scalars().all() == [SCHEMA_VERSION]
        counted = connection.execute(select(counters.c.name, counters.c.value)).all()
        assert sorted(map(tuple, counted)) == [(JOBS, 0), (REGISTRY, 0)]
    assert len({database.identity for database in opened}) == 1
    for database in opened:
        database.close()


#: A table, a column with a default, a nullable column and an index that an earlier release did not have.
OLDER = (
    "DROP TABLE alias_events",
    "DROP INDEX jobs_suspected",
    "ALTER TABLE jobs DROP COLUMN isolation",
    "ALTER TABLE jobs DROP COLUMN memory_bytes",
    "DROP INDEX capture_batches_due",
    "ALTER TABLE capture_batches DROP COLUMN due",
    "ALTER TABLE capture_batches DROP COLUMN ttl",
)


@on_both_databases
def test_a_database_of_an_earlier_release_gets_what_it_lacks_and_keeps_its_rows(target: Path | str) -> None:
    older = Database(target)
    identity = older.identity
    job = {
        "job_id": "j",
        "kind": "fine_tune",
        "state": "queued",
        "model": "pets",
        "payload": {},
        "created": 0.0,
    }
    with older.write() as connection:
        connection.execute(insert(jobs).values(**job))
        for statement in OLDER:
            connection.exec_driver_sql(statement)
    older.close()
    for _ in range(2):
        database = Database(target)
        with database.read() as connection:
            inspector = inspect(connection)
            for table in metadata.sorted_tables:
                columns = {column["name"] for column in inspector.get_columns(table.name)}
                assert columns == {column.name for column in table.columns}
                indexes = {index["name"] for index in inspector.get_indexes(table.name)}
                assert {index.name for index in table.indexes} <= indexes
            kept = connection.execute(select(jobs.c.job_id, jobs.c.isolation, jobs.c.memory_bytes)).one()
            assert kept == ("j", 0, None)
            assert set(connection.execute(select(counters.c.name)).scalars()) == {REGISTRY, JOBS}
        assert database.identity == identity
        database.close()


#: Makes each new index take longer than any other statement may.
SLOW_INDEXES = """
CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); END';
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION slow();
"""


def test_an_index_of_a_large_table_may_take_longer_than_other_statements(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = postgres.database()
    older = Database(address)
    with older.write() as connection:
        connection.exec_driver_sql("DROP INDEX jobs_suspected")
        connection.exec_driver_sql(SLOW_INDEXES)
    older.close()
    for name in ("SOCKET_SECONDS", "STATEMENT_SECONDS"):
        monkeypatch.setattr(f"headstart_server.database.postgres.{name}", 2)
    database = Database(address)
    with database.read() as connection:
        assert "jobs_suspected" in {index["name"] for index in inspect(connection).get_indexes("jobs")}
        # The limits of other statements are as before.
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "2s"
        assert connection.connection.driver_connection.answer_seconds == 2
    database.close()


# PostgreSQL that is away


@pytest.fixture
def own_postgres(postgres: PostgresServer) -> Iterator[PostgresServer]:
    yield postgres
    postgres.resume()


def touch(database: Database) -> None:
    with database.write() as connection:
        connection.execute(select(func.count()).select_from(models)).scalar_one()


def test_a_database_that_stops_is_logged_and_used_again_when_it_is_back(own_postgres: PostgresServer) -> None:
    database = Database(own_postgres.database())
    with pytest.raises(DatabaseUnavailable), database.write() as connection:
        add(connection, "pets")
        own_postgres.stop()
    try:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable) as caught:
                touch(database)
            assert caught.value.retry_after == 2.0
    finally:
        own_postgres.start()
    touch(database)
    with database.read() as connection:
        assert connection.execute(select(models.c.name)).all() == []
    database.close()


def test_a_database_that_hangs_costs_one_caller_seconds_and_the_others_none(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = own_postgres.database()
    # A busy machine may need more than a second to create the tables.
    Database(address).close()
    monkeypatch.setattr("headstart_server.database.postgres.SOCKET_SECONDS", 1)
    database = Database(address)
    touch(database)
    own_postgres.pause()
    with pytest.raises(DatabaseUnavailable):
        touch(database)

    together, attempts, rejected = threading.Barrier(8), [], []
    connect = database._backend.engine.connect

    def attempt() -> Connection:
        attempts.append(threading.get_ident())
        return connect()

    monkeypatch.setattr(database._backend.engine, "connect", attempt)

    def ask() -> None:
        together.wait(PATIENCE)
        with pytest.raises(DatabaseUnavailable):
            touch(database)
        rejected.append(threading.get_ident())

    callers = [threading.Thread(target=ask) for _ in range(together.parties)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    # One tries, for as long as the socket waits. A later call may try once more.
    assert len(rejected) == together.parties
    assert 1 <= len(attempts) <= 3
    own_postgres.resume()

    def answers() -> bool:
        with suppress(DatabaseUnavailable):
            touch(database)
            return True
        return False

    eventually(answers, PATIENCE, "an answer of the database")
    database.close()


def test_a_lock_that_does_not_come_is_an_error_and_no_outage(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart_server.database.postgres.LOCK_SECONDS", 1)
    database = Database(postgres.database())
    with database.write() as connection:
        database.lock(connection, Lock.QUEUE)
        with pytest.raises(DatabaseUnavailable, match="busy") as caught, database.write() as other:
            database.lock(other, Lock.QUEUE)
        assert caught.value.is_busy
        touch(database)
    database.close()


def test_a_slow_statement_is_busy_for_its_own_call_and_for_no_other(postgres: PostgresServer) -> None:
    database = Database(postgres.database(statement_timeout="1s"))
    database.close()
    with structlog.testing.capture_logs() as events:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="busy") as caught, database.write() as connection:
                connection.exec_driver_sql("SET LOCAL statement_timeout = '200ms'")
                connection.exec_driver_sql("SELECT pg_sleep(30)")
            assert caught.value.is_busy
            assert database.is_available
            touch(database)
    # Logged once in ten seconds, with the server's words.
    assert [event["event"] for event in events] == ["database_busy"]
    assert "statement timeout" in events[0]["error"]
    database.close()


def test_slow_statements_in_all_connections_leave_the_heartbeat_its_own(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart_server.database.postgres.CONNECTIONS", 1)
    monkeypatch.setattr("headstart_server.database.postgres.POOL_SECONDS", 0.2)
    database = Database(postgres.database())
    asleep, end = threading.Barrier(3), threading.Event()

    def sleep() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("SELECT 1")
            asleep.wait(PATIENCE)
            while not end.is_set():
                connection.exec_driver_sql("SELECT pg_sleep(0.5)")

    sleepers = [threading.Thread(target=sleep) for _ in range(2)]
    for sleeper in sleepers:
        sleeper.start()
    asleep.wait(PATIENCE)
    try:
        with pytest.raises(DatabaseUnavailable, match="busy"):
            touch(database)
        for _ in range(3):
            with database.write(is_heartbeat=True) as connection:
                connection.execute(select(func.count()).select_from(models)).scalar_one()
    finally:
        end.set()
        for sleeper in sleepers:
            sleeper.join(PATIENCE)
    touch(database)
    database.close()


def test_a_changed_password_is_an_outage_that_ends_when_it_is_changed_back(postgres: PostgresServer) -> None:
    database = Database(postgres.guarded("first").replace("@", ":first@"))
    touch(database)
    postgres.execute(f"ALTER ROLE {GUARDED} PASSWORD 'second'")
    postgres.end_sessions()
    with structlog.testing.capture_logs() as events:
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable) as caught:
                touch(database)
            assert (caught.value.is_busy, caught.value.retry_after) == (False, 2.0)
        assert not database.is_available
        postgres.execute(f"ALTER ROLE {GUARDED} PASSWORD 'first'")
        touch(database)
    assert database.is_available
    assert [event["event"] for event in events] == ["database_unavailable", "database_recovered"]
    assert "password authentication failed" in events[0]["error"]
    assert events[1]["seconds"] > 0
    database.close()


def test_revoked_rights_are_an_outage_that_ends_when_they_are_granted(postgres: PostgresServer) -> None:
    address = postgres.guarded("first")
    database = Database(address.replace("@", ":first@"))
    name = address.rpartition("/")[2]
    postgres.execute(f"ALTER TABLE models OWNER TO headstart; REVOKE ALL ON models FROM {GUARDED}", name)
    with structlog.testing.capture_logs() as events:
        for _ in range(5):
            with pytest.raises(DatabaseUnavailable) as caught:
                touch(database)
            assert caught.value.is_refused
        postgres.execute(f"GRANT ALL ON models TO {GUARDED}", name)
        touch(database)
    assert [event["event"] for event in events] == ["database_unavailable", "database_recovered"]
    assert "permission denied for table models" in events[0]["error"]
    database.close()


def test_a_database_that_is_removed_is_an_outage(postgres: PostgresServer) -> None:
    address = postgres.database()
    database = Database(address)
    postgres.execute(f"DROP DATABASE {address.rpartition('/')[2]} WITH (FORCE)")
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            touch(database)
    database.close()


def test_a_missing_schema_is_an_outage_that_an_operator_ends(postgres: PostgresServer) -> None:
    database = Database(postgres.database())
    with pytest.raises(DatabaseUnavailable) as raised, database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE missing.one (id INTEGER)")
    assert raised.value.is_refused
    touch(database)
    database.close()


def test_the_character_that_postgresql_cannot_hold_is_the_callers_fault(postgres: PostgresServer) -> None:
    database = Database(postgres.database())
    with pytest.raises(InvalidField, match="NUL"), database.write() as connection:
        add(connection, "a\0b")
    touch(database)
    database.close()


def test_only_one_call_at_a_time_looks_whether_the_database_is_back() -> None:
    breaker, entered, go_on = (
        CircuitBreaker("database", DatabaseUnavailable),
        threading.Event(),
        threading.Event(),
    )
    with pytest.raises(DatabaseUnavailable), breaker.guard():
        raise DatabaseUnavailable("gone")

    def probe() -> None:
        with breaker.guard():
            entered.set()
            assert go_on.wait(PATIENCE)

    thread = threading.Thread(target=probe)
    thread.start()
    assert entered.wait(PATIENCE)
    with pytest.raises(DatabaseUnavailable), breaker.guard():
        raise AssertionError("it was let through")
    go_on.set()
    thread.join(PATIENCE)
    with breaker.guard(), breaker.guard():
        pass


def test_outages_in_quick_succession_are_logged_once_in_ten_seconds() -> None:
    clock = ManualClock(0.0)
    breaker = CircuitBreaker("storage", StorageUnavailable, clock=clock)
    with structlog.testing.capture_logs() as events:
        for _ in range(2):
            for seconds in (1.0, 2.0, 1.0):
                with pytest.raises(StorageUnavailable), breaker.guard():
                    raise StorageUnavailable("s3://canary: refused")
                clock.advance(seconds)
                with breaker.guard():
                    pass
            clock.advance(10.0)
    logged = [(event["event"], event.get("error"), event.get("seconds")) for event in events]
    once = [("storage_unavailable", "s3://canary: refused", None), ("storage_recovered", None, 1.0)]
    assert logged == once * 2


def test_an_error_of_another_service_is_no_outage_of_this_one() -> None:
    breaker = CircuitBreaker("database", DatabaseUnavailable)
    with pytest.raises(StorageUnavailable), breaker.guard():
        raise StorageUnavailable
    assert not breaker.is_open


def test_the_heartbeat_is_tried_while_another_call_probes() -> None:
    breaker = CircuitBreaker("database", DatabaseUnavailable)
    with pytest.raises(DatabaseUnavailable), breaker.guard():
        raise DatabaseUnavailable
    with pytest.raises(DatabaseUnavailable, match="answer"), breaker.guard():
        with breaker.guard(always=True):
            pass
        raise DatabaseUnavailable


# Addresses


@pytest.mark.parametrize(
    "given", ["postgresql://u:p@h:1/n", "postgres://u:p@h:1/n", "postgresql+psycopg://u:p@h:1/n"]
)
def test_an_address_of_postgresql_takes_the_one_driver(given: str) -> None:
    assert address_of(given).render_as_string(hide_password=False) == "postgresql+psycopg://u:p@h:1/n"
    assert sqlite_file(given) is None


@pytest.mark.parametrize(
    ("given", "file"), [("sqlite:///a/b.sqlite3", "a/b.sqlite3"), ("sqlite:////a/b.sqlite3", "/a/b.sqlite3")]
)
def test_an_address_of_a_file_names_it(given: str, file: str) -> None:
    assert sqlite_file(given) == Path(file)
    assert sqlite_file(Path("what?x=1")) == Path("what?x=1")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "file.sqlite3",
        "mysql://u@h/n",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:secret@h:1",
        "sqlite:///a?b=c",
    ],
)
def test_an_invalid_address_is_reported_without_its_password(given: str) -> None:
    with pytest.raises(
        ValueError,
        match=r"Expected a database of sqlite:///FILE or postgresql://|names no database\. Append /NAME",
    ) as caught:
        address_of(given)
    assert "secret" not in str(caught.value)


def test_several_hosts_become_parameters_of_libpq() -> None:
    several = address_of("postgres://u:p%2C@a:1,[::1]:2,c/n?target_session_attrs=primary")
    assert (several.query["host"], several.query["port"], several.password) == ("a,::1,c", "1,2,5432", "p,")
    assert hosts(several) == ("a", "::1", "c")
    assert hosts(address_of("postgresql:///n?host=/run/postgresql")) == ("/run/postgresql",)
    assert shown(several).startswith("postgresql://u:***@/n?host=a%2C%3A%3A1%2Cc&port=")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("options=-c%20statement_timeout%3D0", "unknown parameter: 'options'"),
        ("connect_timeout=900", "unknown parameter: 'connect_timeout'"),
        ("sslmode=verify", "Expected one of: disable, allow, .*verify-full. Received: 'verify'"),
        ("target_session_attrs=standby", "Expected one of: any, read-write, primary"),
        ("sslmode=&target_session_attrs=any", "exactly one value of 'sslmode'"),
        ("sslmode", "exactly one value of 'sslmode'"),
        ("sslmode=require&sslmode=disable", "exactly one value of 'sslmode'"),
        ("host=a,b&port=1,2,3", "invalid hosts or ports"),
        ("host=a&port=b", "invalid hosts or ports"),
    ],
)
def test_a_parameter_of_the_address_that_cannot_be_used_is_named(given: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        address_of(f"postgresql://u:secret@h/n?{given}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_is_called_by_its_address_without_the_password(postgres: PostgresServer) -> None:
    address = postgres.database()
    database = Database(address.replace("@", ":secret@"))
    assert database.name == address.replace("@", ":***@")
    database.close()
