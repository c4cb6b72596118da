from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from headstart.cli.session import Session
from headstart.cli.training.submission import Submission


class FakeSession:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.note = self.notes.append

    def command(self, arguments: str) -> str:
        return f"headstart {arguments}"


def interrupted(request_id: str | None = None, **state: Any) -> list[str]:
    """Interrupt a submission with this state, and return what the command prints."""
    session = FakeSession()
    submission = Submission(cast(Session, session), "pets", request_id)
    for count, total in state.pop("reports", []):
        submission.uploaded(count, total)
    submission.job = state.pop("job", None)
    with pytest.raises(typer.Exit) as caught, submission.interruptible():
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    return session.notes


def test_an_incomplete_upload_starts_nothing():
    notes = ["Interrupted before the server took the job. Nothing was started."]

    assert interrupted() == notes
    assert interrupted(reports=[(0, 2), (1, 2)]) == notes
    assert interrupted(reports=[(0, None), (1, None)]) == notes


def test_a_complete_upload_may_start_the_job():
    first, second = interrupted("my id", reports=[(0, 2), (2, 2)])

    assert first.endswith("It may still start. Check with: headstart job list pets")
    assert second.endswith("--request-id 'my id'")


def test_an_upload_that_is_sent_again_may_have_started_the_job_before():
    first, _ = interrupted(reports=[(0, 2), (2, 2), (0, 2), (1, 2)])

    assert "It may still start." in first


def test_a_confirmed_job_continues():
    assert interrupted(job=SimpleNamespace(job_id="job-1")) == [
        "The job continues on the server. Watch it: headstart job watch job-1",
        "Or cancel it: headstart job cancel job-1",
    ]
