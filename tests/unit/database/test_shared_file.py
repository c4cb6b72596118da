"""Several processes of one server write to one SQLite file."""

import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from headstart_server.database.database import Database

WRITER = """
import sys
from sqlalchemy import text
from headstart_server.database.database import Database

database = Database(sys.argv[1], is_shared=True)
for _ in range(40):
    with database.write("test") as connection:
        (value,) = connection.execute(text("SELECT value FROM counter")).one()
        connection.execute(text("UPDATE counter SET value = :value"), {"value": value + 1})
database.close()
"""
HOLDER = """
import os, signal, sys
from headstart_server.database.database import Database

database = Database(sys.argv[1], is_shared=True)
with database.write("test"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def opened(path: Path) -> Database:
    database = Database(f"sqlite:///{path}", is_shared=True)
    with database.write("test") as connection:
        connection.execute(text("CREATE TABLE counter (value INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))
    return database


def test_writers_take_turns_and_lose_nothing(tmp_path: Path):
    database = opened(tmp_path / "rows.sqlite3")
    assert database.is_shared
    assert database.is_file
    command = [sys.executable, "-c", WRITER, f"sqlite:///{tmp_path / 'rows.sqlite3'}"]
    writers = [subprocess.Popen(command) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    with database.read() as connection:
        assert connection.execute(text("SELECT value FROM counter")).scalar_one() == 120
    database.close()


def test_a_writer_that_is_killed_holds_up_no_other(tmp_path: Path):
    database = opened(tmp_path / "rows.sqlite3")
    command = [sys.executable, "-c", HOLDER, f"sqlite:///{tmp_path / 'rows.sqlite3'}"]
    assert subprocess.run(command, check=False).returncode == -9
    with database.write("test") as connection:
        connection.execute(text("UPDATE counter SET value = 7"))
    database.close()


def test_a_file_of_one_process_is_not_shared(tmp_path: Path):
    database = Database(tmp_path / "rows.sqlite3")
    assert not database.is_shared
    assert not (tmp_path / "rows.sqlite3-turn").exists()
    database.close()
