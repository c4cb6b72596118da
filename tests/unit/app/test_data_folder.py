"""How a server waits for its database when it starts."""

from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs

from headstart_server.app import data_folder
from headstart_server.database.database import Database
from headstart_server.errors import DatabaseUnavailable
from headstart_server.settings.settings import Settings

LOCKED = DatabaseUnavailable("canceling statement due to lock timeout", is_busy=True)
AWAY = DatabaseUnavailable("connection refused")


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "DATABASE_WAIT_SECONDS", -1.0)
    monkeypatch.setattr(data_folder.time, "sleep", lambda _: None)


def opened(folder: Path, *answers: Exception) -> None:
    """Open a database that gives some answers before it can be used."""
    with closing(Database(folder / "database.sqlite3")) as real:
        with mock.patch.object(data_folder, "Database", side_effect=[*answers, real]):
            found = data_folder._responding(Settings.of(data_dir=folder).storage, is_shared=False)
        assert found is real


def test_a_start_waits_for_another_server_that_changes_the_tables(tmp_path: Path) -> None:
    with capture_logs() as logs:
        opened(tmp_path, LOCKED, LOCKED)
    (entry,) = logs
    assert (entry["event"], entry["error"]) == ("waiting_for_database", LOCKED.detail)
    assert entry["remedy"] == "Another server may be changing its tables: wait until it is ready."
    assert 3500 < entry["wait_seconds"] <= 3600


def test_a_start_gives_up_a_database_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"does not answer: connection refused\. Waited"):
        opened(tmp_path, LOCKED, AWAY)


def test_a_start_gives_up_a_database_that_stays_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "BUSY_WAIT_SECONDS", -1.0)
    with pytest.raises(OSError, match="The database is busy: canceling statement due to lock timeout"):
        opened(tmp_path, LOCKED)
