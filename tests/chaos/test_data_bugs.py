"""A server with a bug in datasets, edits or erasures breaks promises that the checker finds."""

import random
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from chaos import feedback_calls
from chaos.caller import Caller
from chaos.data_calls import MODEL, DataClients
from chaos.replica import Replica
from headstart_server.database.database import Database
from headstart_server.models.store import VersionStore
from histories import examples, feedback, stored_data
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


def promises_about_feedback(folder: Path, bug: str) -> list[str]:
    """Send feedback and erase some of it on one server that has a bug; return what the checker finds."""
    address, artifacts = f"sqlite:///{folder / 'jobs.sqlite3'}", folder / "artifacts"
    server = Replica(folder / "replica", database=address, artifacts=str(artifacts), bug=bug)
    history = History(time.monotonic)
    try:
        server.start()
        with closing(Caller([server.target], history, random.Random(3))) as caller:
            feedback_calls.begin(caller, "fed", min_feedback_count=1000, max_delay=1e6)
            sent = [feedback_calls.send(caller, "fed", f"new {place}") for place in range(3)]
            # One with a rebuild removes the archives that nothing needs at its end, so it is the first.
            for feedback_id, rebuild in zip(sent, (True, False), strict=False):
                assert feedback_id is not None
                feedback_calls.erase(caller, "fed", feedback_id, rebuild=rebuild)
    finally:
        server.kill()
    with closing(Database(address)) as database:
        final, retrains = feedback.read(database, VersionStore(artifacts / "versions"))
        return [
            *feedback.violations(history, final, retrains, may_wait=True),
            *examples.violations(history, stored_data.read(database, artifacts, MODEL)),
        ]


@pytest.mark.parametrize(
    ("bug", "what"),
    [
        ("", ""),
        ("feedback-stays", "of the erased example"),
        ("content-stays", "has the content of the erased"),
    ],
)
def test_feedback_of_an_erased_example_is_found(tmp_path: Path, bug: str, what: str) -> None:
    found = promises_about_feedback(tmp_path, bug)
    assert any(what in violation for violation in found) if bug else found == []


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
