from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
import typer

from headstart.cli.session import Session
from headstart.cli.training.submission import Submission
from headstart.errors import (
    DeadlineExceeded,
    ErrorDetails,
    HeadstartError,
    JobCancelled,
    JobFailed,
    ResourceExhausted,
    Unavailable,
)


class FakeSession:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.note = self.notes.append

    def command(self, arguments: str) -> str:
        return f"headstart {arguments}"


def interrupted(request_id: str | None = None, **state: Any) -> list[str]:
    """Interrupt a submission with this state, and return what the command prints."""
    notes, caught = ended(KeyboardInterrupt(), request_id, **state)
    assert isinstance(caught, typer.Exit)
    assert caught.exit_code == 130
    return notes


def ended(
    error: BaseException,
    request_id: str | None = None,
    *,
    reports: Sequence[tuple[int, int | None]] = (),
    job: Any = None,
) -> tuple[list[str], BaseException]:
    """End a submission by an error; return what the command prints, and the error that follows."""
    session = FakeSession()
    submission = Submission(cast(Session, session), "pets", request_id)
    for count, total in reports:
        submission.uploaded(count, total)
    submission.job = job
    with pytest.raises(BaseException) as caught, submission.followed():  # noqa: PT011
        raise error
    return session.notes, caught.value


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


def unavailable(reason: str = "") -> Unavailable:
    return Unavailable(ErrorDetails(code=grpc.StatusCode.UNAVAILABLE, message="no", reason=reason))


def test_a_complete_upload_without_an_answer_may_start_the_job():
    error = unavailable()

    (first, second), caught = ended(error, "id-1", reports=[(2, 2)])

    assert first == (
        "If the server received the request, the job may still start. Check with: headstart job list pets"
    )
    assert second.endswith("--request-id id-1")
    assert caught is error


def test_a_refusal_and_an_incomplete_upload_start_nothing():
    assert ended(unavailable("STORAGE_UNAVAILABLE"), reports=[(2, 2)])[0] == []
    assert ended(unavailable(), reports=[(1, 2)])[0] == []


def failed(kind: type[HeadstartError], reason: str) -> HeadstartError:
    return kind(ErrorDetails(code=grpc.StatusCode.UNKNOWN, message="no", reason=reason))


@pytest.mark.parametrize(
    "error",
    [
        unavailable(),
        unavailable("DATABASE_UNAVAILABLE"),
        failed(DeadlineExceeded, ""),
        failed(ResourceExhausted, "RATE_EXCEEDED"),
    ],
)
def test_a_confirmed_job_is_named_whatever_ends_the_wait(error: HeadstartError):
    notes, _ = ended(error, job=SimpleNamespace(job_id="job-1"))

    assert notes == ["The server accepted the job. Watch it: headstart job watch job-1"]


@pytest.mark.parametrize("kind", [JobFailed, JobCancelled])
def test_a_job_that_has_ended_is_not_watched(kind: type[HeadstartError]):
    assert ended(failed(kind, "CANCELLED"), job=SimpleNamespace(job_id="job-1"))[0] == []
