"""Captured inputs as feedback takes them."""

from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.feedback.feedback import AnsweredPrediction
from headstart_server.feedback.feedback_service import CapturedContent


class StoredCaptures:
    """Finds captured inputs with their contents."""

    def __init__(self, captured: CapturedInputs) -> None:
        self._captured = captured

    def may_arrive(self, prediction_id: str) -> bool:
        """Return whether another process may still store the input of a prediction."""
        return self._captured.may_arrive(prediction_id)

    def find(self, model: str, prediction_id: str) -> CapturedContent | None:
        """Return the input of a prediction; None if it is not stored."""
        found = self._captured.find(model, prediction_id)
        content = None if found is None else self._captured.input_of(found)
        if found is None or content is None:
            return None
        return CapturedContent(
            content=content,
            prediction=AnsweredPrediction(
                version=found.version,
                predicted=found.predicted,
                is_random=found.random_sample,
                time=found.created,
            ),
        )
