"""Bugs in the data loop that the simulation must find, planted for the time of a block."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

from sqlalchemy import Connection, delete, update

from chaos.data_bugs import content_stays
from headstart_server.capture.captured_inputs import mark_reviewed
from headstart_server.database.feedback_tables import feedback, retrains
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.feedback import feedback_store
from headstart_server.jobs import job_runs
from headstart_server.models import feedback_rows
from headstart_server.models.feedback_rows import ChosenFeedback
from headstart_server.models.replacement import Successor
from headstart_server.training import successor_publisher


@contextmanager
def _feedback_learned_twice() -> Iterator[None]:
    """A retrain does not check that the feedback that it takes is still pending, nor its model's fence."""

    def take(connection: Connection, model: str, job_id: str, chosen: ChosenFeedback, *, now: float) -> None:
        del model, now
        here = feedback.c.feedback_id.in_(list(chosen.feedback_ids))
        connection.execute(update(feedback).where(here).values(state="training", job_id=job_id))

    with mock.patch.object(feedback_rows, "take", take):
        yield


@contextmanager
def _feedback_not_learned() -> Iterator[None]:
    """The end of a retrain counts all feedback as learned, also feedback that the job did not have."""

    def learn(connection: Connection, job_id: str, number: int) -> None:
        del job_id
        here = feedback.c.state.in_(["training", "pending"])
        connection.execute(update(feedback).where(here).values(state="learned", learned=number))
        connection.execute(update(retrains).values(job_id=None, last_version=number))

    with mock.patch.object(feedback_rows, "learn", learn):
        yield


@contextmanager
def _lost_feedback() -> Iterator[None]:
    """A retrain that fails takes its feedback with it."""

    def give_back(connection: Connection, job_id: str, now: float) -> None:
        lost = delete(feedback).where(feedback.c.job_id == job_id, feedback.c.state == "training")
        connection.execute(lost)
        free = update(retrains).where(retrains.c.job_id == job_id)
        connection.execute(free.values(job_id=None, not_before=now))

    with mock.patch.object(feedback_rows, "give_back", give_back):
        yield


@contextmanager
def _erased_is_published() -> Iterator[None]:
    """A version is published though one of its examples was erased while its job ran."""
    with mock.patch.object(job_runs, "check_not_erased"):
        yield


@contextmanager
def _erased_is_copied() -> Iterator[None]:
    """An erasure does not look for the copies that a retrain makes of feedback meanwhile."""

    def exclude(self: ExampleEraser, request: object, found: Any, also: Any = None) -> Any:
        del request
        self._note(found, also)
        return found

    with mock.patch.object(ExampleEraser, "_exclude_found", exclude):
        yield


@contextmanager
def _retrain_forgets() -> Iterator[None]:
    """Retraining does not follow the version of the last retrain to its successor."""
    with mock.patch.object(feedback_rows, "replace_version"):
        yield


@contextmanager
def _successor_overwritten() -> Iterator[None]:
    """All successors of a version have the same files."""
    with mock.patch.object(successor_publisher, "uuid") as uuid:
        uuid.uuid4.return_value.hex = "0" * 32
        yield


@contextmanager
def _erased_in_successor() -> Iterator[None]:
    """A successor is published though one of its examples was erased since it was fitted."""

    def successor(**fields: Any) -> Successor:
        return Successor(**{**fields, "members": ()})

    with mock.patch.object(successor_publisher, "Successor", successor):
        yield


@contextmanager
def _erased_capture_returns() -> Iterator[None]:
    """Feedback is recorded though the captured input that it is about was erased since it was read."""

    def mark(connection: Connection, model: str, prediction_id: str, now: float) -> bool:
        mark_reviewed(connection, model, prediction_id, now)
        return True

    with mock.patch.object(feedback_store, "mark_reviewed", mark):
        yield


#: Each bug as a block in which the server has it.
DATA_BUGS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "feedback-learned-twice": _feedback_learned_twice,
    "feedback-not-learned": _feedback_not_learned,
    "lost-feedback": _lost_feedback,
    "erased-is-published": _erased_is_published,
    "erased-is-copied": _erased_is_copied,
    "content-stays": content_stays,
    "retrain-forgets": _retrain_forgets,
    "successor-overwritten": _successor_overwritten,
    "erased-in-successor": _erased_in_successor,
    "erased-capture-returns": _erased_capture_returns,
}
