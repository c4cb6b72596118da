"""The feedback methods of ReviewService."""

import asyncio
from collections.abc import Sequence
from typing import Any

from headstart.v1 import feedback_pb2 as pb
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.caller import caller
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.messages.common import page_key, page_token
from headstart_server.api.grpc.messages.feedback import (
    OUTCOMES,
    feedback_message,
    sent_feedback_of,
    states_of,
    summary_message,
    window_of,
)
from headstart_server.api.grpc.messages.pages import page_of, page_size_of
from headstart_server.api.grpc.messages.retraining import status_message
from headstart_server.api.grpc.requests.request_parsing import in_thread_if_large, request_bytes
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import PredictionNotCaptured
from headstart_server.feedback.feedback import Feedback, FeedbackOutcome
from headstart_server.feedback.feedback_service import FeedbackService, SentFeedback

#: Seconds between attempts to record feedback whose prediction another replica may not have stored yet.
_PAUSES = (0.1, 0.2, 0.3, 0.4, 0.5)


class FeedbackCalls:
    """Decodes, calls and encodes; all work is the `feedback` room's."""

    def __init__(self, feedback: FeedbackService, pool: BackbonePool, executor: BoundedExecutor) -> None:
        self._feedback = feedback
        self._pool = pool
        self._executor = executor

    async def SendFeedback(
        self, request: pb.SendFeedbackRequest, context: Context
    ) -> pb.SendFeedbackResponse:
        sent = await in_thread_if_large(sent_feedback_of, request, caller().principal.name)
        # Its content is copied.
        del request

        async def send() -> pb.SendFeedbackResponse:
            found, outcome = await self._recorded(sent)
            return pb.SendFeedbackResponse(feedback=feedback_message(found), outcome=OUTCOMES[outcome])

        return await self._pool.when_ready(send, request_bytes)

    async def _recorded(self, sent: SentFeedback) -> tuple[Feedback, FeedbackOutcome]:
        """Record feedback; the replica that predicted may not have stored the input yet."""
        for pause in _PAUSES:
            try:
                return await self._executor.run(self._feedback.send, sent)
            except PredictionNotCaptured:
                if not self._feedback.may_arrive(sent):
                    raise
            await asyncio.sleep(pause)
        return await self._executor.run(self._feedback.send, sent)

    async def ListFeedback(
        self, request: pb.ListFeedbackRequest, context: Context
    ) -> pb.ListFeedbackResponse:
        states = states_of(request)

        def fetch(before: list[Any] | None, limit: int) -> Sequence[Feedback]:
            return self._feedback.store.list(
                request.model, states=states, before=before[0] if before else None, limit=limit
            )

        found, last = await asyncio.to_thread(
            page_of,
            fetch,
            feedback_message,
            lambda feedback: [feedback.number],
            after=page_key(request.page_token, int),
            size=page_size_of(request.page_size),
        )
        return pb.ListFeedbackResponse(feedback=found, next_page_token=page_token(last))

    async def GetFeedbackSummary(
        self, request: pb.GetFeedbackSummaryRequest, context: Context
    ) -> pb.GetFeedbackSummaryResponse:
        window = window_of(request)
        return await self._executor.run(self._summary, request.model, window)

    def _summary(self, model: str, window: float | None) -> pb.GetFeedbackSummaryResponse:
        store = self._feedback.store
        message = summary_message(store.counts(model, window))
        policy, state = store.retrain_state(model)
        if policy is not None:
            message.retrain.CopyFrom(status_message(policy, state, store.now()))
        return message
