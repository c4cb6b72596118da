"""A server with a bug in datasets, edits or erasures breaks promises that the checker finds."""

import random
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from chaos.caller import Caller
from chaos.data_calls import MODEL, DataClients
from chaos.replica import Replica
from headstart_server.database.database import Database
from histories import stored_data
from histories.examples import violations
from histories.history import History

ROUNDS = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def broken_promises(folder: Path, bug: str) -> list[str]:
    """Upload, edit and erase on one server that has a bug, and return what the checker finds."""
    address, artifacts = f"sqlite:///{folder / 'jobs.sqlite3'}", folder / "artifacts"
    server = Replica(folder / "replica", database=address, artifacts=str(artifacts), bug=bug)
    history, clients = History(time.monotonic), DataClients(threading.Event())
    try:
        server.start()
        with closing(Caller([server.target], history, random.Random(3))) as caller:
            for _ in range(ROUNDS):
                clients.upload(caller)
                clients.edit(caller)
                clients.erase(caller)
            clients.edit(caller)
    finally:
        server.kill()
    with closing(Database(address)) as database:
        return list(violations(history, stored_data.read(database, artifacts, MODEL)))


def test_a_server_without_a_bug_keeps_its_promises(tmp_path: Path) -> None:
    assert broken_promises(tmp_path, "") == []


@pytest.mark.parametrize(
    ("bug", "what"),
    [
        ("lost-batch", "acknowledged batch 1 of dataset"),
        ("half-batch", "examples and has"),
        ("lost-edit", f"of {MODEL} has example"),
        ("content-stays", "has the content of the erased example"),
        ("erased-is-inherited", f"of {MODEL} has the erased example"),
    ],
)
def test_a_bug_is_found(tmp_path: Path, bug: str, what: str) -> None:
    assert any(what in violation for violation in broken_promises(tmp_path, bug))
