"""Transactions: whole or not at all, in turn, and readable meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from fakes import PATIENCE
from headstart_server.database.database import Database, SchemaError
from headstart_server.database.tables import (
    SCHEMA_VERSION,
    job_events,
    jobs,
    models,
    schema_version,
)
from headstart_server.errors import DatabaseUnavailable, StorageFull


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headstart.sqlite3"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    yield database
    database.close()


def add(connection: Connection, name: str, next_number: int = 1) -> None:
    connection.execute(insert(models).values(name=name, created=0.0, next_number=next_number))


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return sorted(connection.execute(select(models.c.name)).scalars())


class RefusedError(Exception):
    pass


def test_what_was_written_is_there_for_the_next_to_open_the_file(database: Database, path: Path) -> None:
    with database.write() as connection:
        add(connection, "pets")
    again = Database(path)
    assert names(again) == ["pets"]
    again.close()


@pytest.mark.parametrize("error", [RefusedError, KeyboardInterrupt])
def test_an_error_undoes_all_of_its_transaction_and_the_next_one_goes_on(
    database: Database, error: type[BaseException]
) -> None:
    with pytest.raises(error), database.write() as connection:
        add(connection, "pets")
        add(connection, "cars")
        raise error
    assert names(database) == []
    with database.write() as connection:
        add(connection, "pets")
    assert names(database) == ["pets"]


def test_a_statement_that_is_refused_undoes_its_transaction(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        add(connection, "pets")
        add(connection, "pets")
    assert names(database) == []


def test_a_full_disk_undoes_its_transaction_and_the_next_one_goes_on(database: Database) -> None:
    with pytest.raises(StorageFull, match="disk is full"), database.write() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 30")
        for number in range(10_000):
            add(connection, f"{number}-{'x' * 100}")
    assert names(database) == []
    with database.write() as connection:
        add(connection, "pets")
    assert names(database) == ["pets"]


def test_a_file_that_cannot_be_written_can_still_be_read(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as caught, database.write() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        add(connection, "pets")
    assert "readonly" in caught.value.detail
    # A server that starts does not wait for it.
    assert caught.value.is_refused
    assert database.is_available
    assert names(database) == []


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_is_removed_or_replaced_takes_no_writes(
    database: Database, path: Path, is_replaced: bool
) -> None:
    with database.write() as connection:
        add(connection, "pets")
    path.rename(path.with_suffix(".moved"))
    if is_replaced:
        path.touch()
    with pytest.raises(DatabaseUnavailable) as raised, database.write() as connection:
        add(connection, "lost")
    assert "the file" in raised.value.detail
    with pytest.raises(DatabaseUnavailable), database.read():
        pass
    assert not database.is_available
    path.with_suffix(".moved").replace(path)
    assert names(database) == ["pets"]


def test_a_damaged_file_is_an_outage(database: Database, path: Path) -> None:
    with database.write() as connection:
        for number in range(1000):
            add(connection, f"model-{number:04}")
    database.empty_log()
    database.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes([255]) * (path.stat().st_size - 4096))
    with pytest.raises(DatabaseUnavailable) as raised:
        names(database)
    assert "malformed" in raised.value.detail


def test_the_error_that_ended_the_transaction_is_raised(database: Database) -> None:
    # As SQLite does by itself when it cannot go on: there is nothing left to undo.
    with pytest.raises(RefusedError), database.write() as connection:
        connection.exec_driver_sql("ROLLBACK")
        raise RefusedError
    with database.write() as connection:
        add(connection, "pets")
    assert names(database) == ["pets"]


def test_writers_at_once_take_turns_and_lose_nothing(database: Database) -> None:
    with database.write() as connection:
        add(connection, "pets", next_number=0)
    ready = threading.Barrier(4)

    def count() -> None:
        ready.wait(PATIENCE)
        for _ in range(10):
            with database.write() as connection:
                seen = connection.execute(select(models.c.next_number)).scalar_one()
                connection.execute(update(models).values(next_number=seen + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with database.read() as connection:
        assert connection.execute(select(models.c.next_number)).scalar_one() == 40


def test_two_openers_of_one_file_take_turns_too(database: Database, path: Path) -> None:
    other = Database(path)
    with database.write() as connection:
        add(connection, "pets", next_number=0)

    def count(opened: Database) -> None:
        for _ in range(10):
            with opened.write() as connection:
                seen = connection.execute(select(models.c.next_number)).scalar_one()
                connection.execute(update(models).values(next_number=seen + 1))

    threads = [threading.Thread(target=count, args=(opened,)) for opened in (database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    with other.read() as connection:
        assert connection.execute(select(models.c.next_number)).scalar_one() == 20
    other.close()


def test_readers_see_the_last_commit_and_do_not_wait_for_a_writer(database: Database) -> None:
    with database.write() as connection:
        add(connection, "pets")
        assert names(database) == []
    assert names(database) == ["pets"]


def test_the_statements_of_a_snapshot_all_see_the_same_commit(database: Database) -> None:
    with database.snapshot() as snapshot:
        before = snapshot.execute(select(func.count()).select_from(models)).scalar_one()
        with database.write() as connection:
            add(connection, "pets")
        assert snapshot.execute(select(func.count()).select_from(models)).scalar_one() == before == 0
    assert names(database) == ["pets"]


def test_an_error_in_a_snapshot_leaves_its_connection_usable(database: Database) -> None:
    with pytest.raises(RefusedError), database.snapshot() as snapshot:
        snapshot.execute(select(models.c.name)).all()
        raise RefusedError
    with database.snapshot() as snapshot:
        assert snapshot.execute(select(models.c.name)).all() == []


def test_a_file_of_a_newer_headstart_is_refused_and_left_as_it_was(database: Database, path: Path) -> None:
    with database.write() as connection:
        connection.execute(update(schema_version).values(version=SCHEMA_VERSION + 1))
    database.close()
    with pytest.raises(SchemaError) as caught:
        Database(path)
    assert str(caught.value) == (
        f"The database {path} has schema {SCHEMA_VERSION + 1}; "
        f"this Headstart knows {SCHEMA_VERSION} at most. "
        "Start it with the Headstart that wrote it, or a newer one."
    )
    with database.read() as connection:
        assert connection.execute(select(schema_version.c.version)).scalars().all() == [SCHEMA_VERSION + 1]


def test_opening_again_keeps_one_row_of_the_schema(database: Database, path: Path) -> None:
    Database(path).close()
    with database.read() as connection:
        assert connection.execute(select(schema_version.c.version)).scalars().all() == [SCHEMA_VERSION]


@pytest.mark.parametrize("folder", ["what?mode=ro", "100% #1", "a b", "ä:@"])
def test_any_name_of_a_folder_is_taken_as_it_is(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    database = Database(tmp_path / folder / "headstart.sqlite3")
    with database.write() as connection:
        add(connection, "pets")
    database.close()
    assert (tmp_path / folder / "headstart.sqlite3").stat().st_size > 0


def test_events_go_with_their_job(database: Database) -> None:
    fields = {"kind": "fine_tune", "state": "queued", "model": "pets", "payload": {}, "created": 0.0}
    with database.write() as connection:
        connection.execute(insert(jobs).values(job_id="j", **fields))
        connection.execute(insert(job_events).values(job_id="j", seq=1, time=0.0, attempt=0, data={}))
        connection.execute(delete(jobs))
    with database.read() as connection:
        assert connection.execute(select(job_events)).all() == []


def test_commits_are_synced_and_readers_do_not_block(database: Database) -> None:
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
