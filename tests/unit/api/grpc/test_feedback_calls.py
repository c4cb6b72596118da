"""Feedback on a prediction whose input another replica has not stored yet is tried again."""

import asyncio
from typing import Any

import pytest

from headstart_server.api.grpc import feedback_service
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.feedback_service import FeedbackCalls
from headstart_server.errors import PredictionNotCaptured
from headstart_server.feedback.feedback_service import SentFeedback
from headstart_server.models.feedback_rows import Answer

SENT = SentFeedback(model="pets", prediction_id="p", answer=Answer.CONFIRMED)


class Service:
    """Finds the prediction at a later try."""

    def __init__(self, *, found_at: int, may_arrive: bool) -> None:
        self.tries, self._found_at, self._may_arrive = 0, found_at, may_arrive

    def send(self, sent: SentFeedback) -> tuple[str, str]:
        self.tries += 1
        if self.tries < self._found_at:
            raise PredictionNotCaptured("No input is stored.")
        return "feedback", "accepted"

    def may_arrive(self, sent: SentFeedback) -> bool:
        return self._may_arrive


def record(service: Service) -> Any:
    calls = FeedbackCalls(service, None, BoundedExecutor(1))  # type: ignore[arg-type]
    return asyncio.run(calls._recorded(SENT))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_service, "_PAUSES", (0.0, 0.0, 0.0))


def test_a_fresh_prediction_of_another_replica_is_waited_for() -> None:
    service = Service(found_at=3, may_arrive=True)
    assert record(service) == ("feedback", "accepted")
    assert service.tries == 3


@pytest.mark.parametrize(("may_arrive", "tries"), [(False, 1), (True, 4)])
def test_a_prediction_that_is_not_stored_fails_after_a_bounded_time(may_arrive: bool, tries: int) -> None:
    service = Service(found_at=99, may_arrive=may_arrive)
    with pytest.raises(PredictionNotCaptured):
        record(service)
    assert service.tries == tries
