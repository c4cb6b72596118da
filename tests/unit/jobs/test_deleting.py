"""An ended job can be deleted; its version stays."""

import pytest

from fakes import Desk
from headstart_server.errors import JobNotFinished, JobNotFound
from headstart_server.jobs import webhook_rows
from postgres import on_both_databases

pytestmark = on_both_databases


def test_an_ended_job_is_deleted_with_its_events_and_its_version_stays(desk: Desk) -> None:
    job = desk.running("a", request_id="r")
    number = desk.succeed(job)
    desk.ledger.delete("a")
    for look in (lambda: desk.ledger.get("a"), lambda: desk.ledger.events("a", 0)):
        with pytest.raises(JobNotFound):
            look()
    assert desk.shelf.registry.version("pets", number).manifest.job_id == "a"
    assert desk.shelf.registry.version("pets", number).has_examples
    with pytest.raises(JobNotFound):
        desk.ledger.delete("a")
    # Its request ID is free again.
    assert desk.submit("b", request_id="r", request_hash="other").job_id == "b"


def test_a_job_that_has_not_ended_is_not_deleted(desk: Desk) -> None:
    desk.submit("a")
    with pytest.raises(JobNotFinished, match="is queued"):
        desk.ledger.delete("a")
    job = desk.claim()
    with pytest.raises(JobNotFinished, match="is running"):
        desk.ledger.delete("a")
    desk.succeed(job)
    desk.ledger.delete("a")


def test_a_job_whose_webhook_is_not_delivered_is_not_deleted(desk: Desk) -> None:
    desk.submit("a", webhook="https://hooks.example.com/in")
    desk.ledger.cancel("a")
    with pytest.raises(JobNotFinished, match="webhook"):
        desk.ledger.delete("a")
    database = desk.shelf.database
    with database.write("test") as connection:
        claimed = webhook_rows.claim(connection, desk.clock(), 10.0)
        assert claimed is not None
        webhook_rows.deliver(connection, claimed, desk.clock())
    desk.ledger.delete("a")
    with pytest.raises(JobNotFound):
        desk.ledger.get("a")
