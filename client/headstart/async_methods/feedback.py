"""Methods about feedback."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Unpack

from headstart.async_methods.base import AsyncMethods
from headstart.calls import feedback_calls
from headstart.calls.feedback_calls import FeedbackSettings
from headstart.results import Feedback, FeedbackState, FeedbackSummary, SentFeedback

__all__ = ["AsyncFeedbackMethods"]


class AsyncFeedbackMethods(AsyncMethods):
    """Send feedback on predictions, and read it."""

    async def send_feedback(
        self, model: str, prediction_id: str | None = None, **settings: Unpack[FeedbackSettings]
    ) -> SentFeedback:
        """Send feedback on a prediction or the label of an input; as `Client.send_feedback`."""
        return await self._connection.send(feedback_calls.feedback_sending(model, prediction_id, settings))

    def feedback(self, model: str, *, states: Sequence[FeedbackState | str] = ()) -> AsyncIterator[Feedback]:
        """Yield the feedback of a model; as `Client.feedback`."""
        return self._connection.pages(partial(feedback_calls.feedback_list, model, states))

    async def feedback_summary(self, model: str, *, window: timedelta | None = None) -> FeedbackSummary:
        """Return statistics of feedback; as `Client.feedback_summary`."""
        return await self._connection.send(feedback_calls.feedback_summary(model, window))
