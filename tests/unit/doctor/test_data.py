"""The report of captured inputs, feedback, datasets and erasures, from either kind of database."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from captures import Captures
from fakes import ManualClock
from headstart_server.capture.capture_rows import Gaps
from headstart_server.database.data_facts import DataFacts
from headstart_server.database.database import Database
from headstart_server.database.dataset_tables import datasets, erasures
from headstart_server.database.feedback_tables import retrains
from headstart_server.database.probe import examine
from headstart_server.doctor.database import data_findings
from headstart_server.doctor.finding import Finding, Status
from headstart_server.models.retrain_policy import RetrainPolicy
from postgres import PostgresServer, on_both_databases

NOTHING = DataFacts(
    captured=0,
    captured_bytes=0,
    captured_models=0,
    lost={},
    last_loss=None,
    feedback_bytes=0,
    pending=0,
    oldest_pending=None,
    stopped={},
    datasets=0,
    open_datasets=0,
    examples=0,
    dataset_bytes=0,
    oldest_erasure=None,
)


@pytest.fixture
def captures(tmp_path: Path, address: str | None) -> Iterator[Captures]:
    made = Captures(tmp_path, ManualClock(time.time()), address=address)
    yield made
    made.close()


def finding(facts: DataFacts, name: str) -> Finding:
    return next(each for each in data_findings(facts) if each.name == name)


def test_without_data_three_findings_are_right() -> None:
    found = list(data_findings(NOTHING))
    assert [each.name for each in found] == ["captured inputs", "feedback", "datasets"]
    assert {each.status for each in found} == {Status.OK}


def test_a_loss_of_last_week_and_a_policy_that_still_tries_are_no_warnings() -> None:
    old = replace(NOTHING, lost={"storage": 1}, last_loss=7 * 86_400.0, pending=5, oldest_pending=60.0)
    assert {each.status for each in data_findings(old)} == {Status.OK}
    assert "5 wait for a retrain" in finding(old, "feedback").summary


@on_both_databases
def test_the_database_is_read_as_it_is(captures: Captures, tmp_path: Path, address: str | None) -> None:
    captures.model()
    captures.write(["one", "two"])
    captures.store.note_gaps("pets", Gaps(quota_full=3))
    captures.publisher.registry.update_model(
        "pets", {"retrain": RetrainPolicy(alias="stable", min_feedback_count=1, max_failures=2)}
    )
    with captures.database.write() as connection:
        error = {"reason": "NO_CLASSES", "message": "One class is left."}
        connection.execute(update(retrains).values(failures=2, error=error))
        connection.execute(insert(datasets), [_dataset("a", "ready"), _dataset("b", "open")])
        began = captures.database.now(connection) - 7200
        values = {"erasure_id": "e", "tenant": "", "request_id": "e", "example_id": "x", "model": "pets"}
        connection.execute(insert(erasures).values(**values, started=began, contents=0))
    facts = examine(address or tmp_path / "headstart.sqlite3").data
    assert facts is not None
    assert (facts.captured, facts.captured_models, facts.lost) == (2, 1, {"quota": 3})
    assert facts.captured_bytes == captures.inputs.status("pets").captured_bytes
    assert (facts.datasets, facts.open_datasets, facts.examples, facts.dataset_bytes) == (2, 1, 20, 200)
    assert facts.stopped == {"pets": "One class is left."}
    statuses = {each.name: each.status for each in data_findings(facts)}
    assert statuses == {
        "captured inputs": Status.WARNING,
        "feedback": Status.WARNING,
        "datasets": Status.OK,
        "erasures": Status.WARNING,
    }
    assert "3 (quota full)" in finding(facts, "captured inputs").summary
    assert "pets: One class is left." in finding(facts, "feedback").summary


@pytest.fixture(params=["sqlite", "postgresql"])
def own_address(request: pytest.FixtureRequest) -> str | None:
    """The address of a database that no other test uses; None for a file in the test's folder."""
    if request.param == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.database()


@pytest.mark.parametrize(
    "change", ["DROP TABLE capture_gaps", "ALTER TABLE capture_gaps RENAME COLUMN last TO other"]
)
def test_a_database_that_is_not_complete_has_no_findings(
    tmp_path: Path, own_address: str | None, change: str
) -> None:
    made = Database(own_address or tmp_path / "headstart.sqlite3")
    with made.write() as connection:
        connection.exec_driver_sql(change)
    made.close()
    assert examine(own_address or tmp_path / "headstart.sqlite3").data is None


def _dataset(name: str, state: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(("tenant", "display_name", "description"), ""),
        "dataset_id": name,
        "name": name,
        "state": state,
        "tags": {},
        "next_batch": 1,
        "example_count": 10,
        "nbytes": 100,
        "class_counts": {},
        "checksum": "0" * 64,
        "revision": 1,
        "created": 0.0,
        "written": 0.0,
    }
