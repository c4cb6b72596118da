"""The request that starts a job, and what its interruption leaves behind."""

import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headstart.cli.exits import ExitCode
from headstart.cli.session import Session
from headstart.errors import DeadlineExceeded, HeadstartError, JobCancelled, JobFailed, Unavailable
from headstart.job import Job


class Submission:
    """The request that starts a job: not sent, sent, or confirmed by the server.

    A server accepts a job even if its caller disconnects before the response.
    """

    def __init__(self, session: Session, model: str, request_id: str | None) -> None:
        self.request_id = request_id or str(uuid.uuid4())
        self.is_sent = False  # completely, in this attempt or in an earlier one
        self.job: Job | None = None
        self._session = session
        self._model = model

    def uploaded(self, count: int, total: int | None) -> None:
        """Record the progress of the upload, whose last report has two equal numbers."""
        self.is_sent = self.is_sent or count == total

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Print the next commands if the block is interrupted or fails while the job may exist."""
        try:
            yield
        except KeyboardInterrupt:
            self._print_after_interruption()
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except HeadstartError as error:
            self._print_after(error)
            raise

    def _print_after_interruption(self) -> None:
        note, command = self._session.note, self._session.command
        if self.job is not None:
            job_id = self.job.job_id
            note(f"The job continues on the server. Watch it: {command(f'job watch {job_id}')}")
            note(f"Or cancel it: {command(f'job cancel {job_id}')}")
        elif self.is_sent:
            self._print_repetition("Interrupted before the server confirmed the job. It may still start.")
        else:
            note("Interrupted before the server took the job. Nothing was started.")

    def _print_after(self, error: HeadstartError) -> None:
        if isinstance(error, JobFailed | JobCancelled):
            return
        # With a reason, the error is the answer of a server that started nothing.
        is_outage = isinstance(error, DeadlineExceeded | Unavailable) and not error.reason
        if self.job is not None:
            watch = self._session.command(f"job watch {self.job.job_id}")
            self._session.note(f"The server accepted the job. Watch it: {watch}")
        elif self.is_sent and is_outage:
            self._print_repetition("If the server received the request, the job may still start.")

    def _print_repetition(self, problem: str) -> None:
        jobs = self._session.command(f"job list {shlex.quote(self._model)}")
        self._session.note(f"{problem} Check with: {jobs}")
        self._session.note(
            "To continue, repeat the command with the same request ID, which starts at most one job: "
            f"--request-id {shlex.quote(self.request_id)}"
        )
