"""Methods about captured inputs and feedback."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Unpack

from headstart.calls import feedback_calls
from headstart.calls.feedback_calls import FeedbackSettings
from headstart.methods.base import Methods
from headstart.results import (
    CapturedContent,
    CaptureStatus,
    Feedback,
    FeedbackState,
    FeedbackSummary,
    ReviewEntry,
    SentFeedback,
)
from headstart.version_ref import version_ref


class ReviewMethods(Methods):
    """List captured inputs for review, and read them."""

    def review(
        self, model: str, *, version: int | None = None, alias: str | None = None
    ) -> Iterator[ReviewEntry]:
        """Yield captured inputs without feedback, the most valuable to label first.

        The order is that of the first page. Pages are requested as needed.

        Args:
            model: the model, or ``model@version``.
            version: the number of the version whose uncertainty ranks the inputs. None: the newest.
            alias: the alias of that version.

        Raises:
            NotFound: the model or version does not exist.
        """
        target = version_ref(model, version, alias)
        return self._connection.pages(partial(feedback_calls.review_list, target))

    def captured_input(
        self, model: str, prediction_id: str, *, thumbnail_size: int | None = None
    ) -> CapturedContent:
        """Return a captured input with its content.

        Args:
            model: the model.
            prediction_id: the ID of the prediction.
            thumbnail_size: length of the longer side of a thumbnail: 64, 128, 256 or 512. None: the content.

        Raises:
            NotFound: the model has no captured input of this prediction.
            InvalidArgument: the size is not supported, or the input is not an image.
        """
        return self._connection.send(feedback_calls.captured_input(model, prediction_id, thumbnail_size))

    def capture_status(self, model: str) -> CaptureStatus:
        """Return how much a model has captured, and how much was lost.

        Raises:
            NotFound: the model does not exist.
        """
        return self._connection.send(feedback_calls.capture_status(model))


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
