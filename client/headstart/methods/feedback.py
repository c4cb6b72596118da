"""Methods about feedback."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Unpack

from headstart.calls import feedback_calls
from headstart.calls.feedback_calls import FeedbackSettings
from headstart.methods.base import Methods
from headstart.results import Feedback, FeedbackState, FeedbackSummary, SentFeedback

__all__ = ["FeedbackMethods"]


class FeedbackMethods(Methods):
    """Send feedback on predictions, and read it."""

    def send_feedback(
        self, model: str, prediction_id: str | None = None, **settings: Unpack[FeedbackSettings]
    ) -> SentFeedback:
        """Send feedback on a prediction, or the label of an input. It is durable once this returns.

        Args:
            model: the model.
            prediction_id: the ID of a prediction whose input was captured. None: pass ``input``.
            **settings: ``input``, an input without a captured prediction; the answer, one of ``label``,
                ``confirmed`` and ``rejected``; ``version``, the number of the version that predicted the
                input; ``request_id``, which makes the call safe to repeat.

        Raises:
            NotFound: the model does not exist.
            FailedPrecondition: the input of the prediction is not stored. Send the input.
            InvalidArgument: the label or the input is invalid, or the policy rejects a new class.
            ValueError: the subject or the answer is missing or given twice.
        """
        return self._connection.send(feedback_calls.feedback_sending(model, prediction_id, settings))

    def feedback(self, model: str, *, states: Sequence[FeedbackState | str] = ()) -> Iterator[Feedback]:
        """Yield the feedback of a model, newest first. Pages are requested as needed.

        Args:
            model: the model.
            states: the states, such as ``"pending"``; empty for all.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.pages(partial(feedback_calls.feedback_list, model, states))

    def feedback_summary(self, model: str, *, window: timedelta | None = None) -> FeedbackSummary:
        """Return the accuracy in production, counts of feedback, and the state of the retraining.

        Args:
            model: the model.
            window: the length of the window, which ends now. None: all feedback.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.send(feedback_calls.feedback_summary(model, window))
