"""ReviewService: captured inputs for review, and their contents."""

import json
from functools import partial

import numpy as np

from headstart.v1 import review_service_pb2 as pb
from headstart.v1 import review_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.feedback_service import FeedbackCalls
from headstart_server.api.grpc.messages.captures import captured_message, review_entry_message, status_message
from headstart_server.api.grpc.messages.common import page_key, page_token
from headstart_server.api.grpc.messages.pages import page_size_of
from headstart_server.backbones.preprocessing.thumbnails import thumbnail
from headstart_server.capture.captured_input import CapturedInput
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.capture.review_lists import ReviewLists
from headstart_server.datasets.thumbnail_store import SIDES
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import InvalidField
from headstart_server.feedback.feedback_service import FeedbackService
from headstart_server.learning.examples.stored_content import TENSOR_TYPE, decode
from headstart_server.models.version import Selector


class ReviewService(FeedbackCalls, stubs.ReviewServiceServicer):
    """Decodes, calls and encodes; the work is that of the rooms `capture` and `feedback`.

    Args:
        executor: where feedback is stored, lists are ranked and contents are read.
        max_pixels: maximum pixels of an image that gets a thumbnail.
    """

    def __init__(
        self,
        captured: CapturedInputs,
        lists: ReviewLists,
        feedback: FeedbackService,
        pool: BackbonePool,
        *,
        executor: BoundedExecutor,
        max_pixels: int,
    ) -> None:
        super().__init__(feedback, pool, executor)
        self._captured = captured
        self._lists = lists
        self._max_pixels = max_pixels

    async def ListReview(self, request: pb.ListReviewRequest, context: Context) -> pb.ListReviewResponse:
        if request.HasField("version") and request.alias:
            raise InvalidField("The request has a version and an alias. Send one of them.", field="alias")
        selector = Selector(
            model=request.model,
            number=request.version if request.HasField("version") else None,
            alias=request.alias or None,
        )
        key = page_key(request.page_token, str, int)
        after = None if key is None else (str(key[0]), max(int(key[1]), 0))
        return await self._executor.run(
            partial(self._listed, selector, page_size_of(request.page_size), after)
        )

    def _listed(self, selector: Selector, size: int, after: tuple[str, int] | None) -> pb.ListReviewResponse:
        page = self._lists.page(selector, size, after)
        return pb.ListReviewResponse(
            entries=map(review_entry_message, page.entries),
            next_page_token=page_token(page.following),
            status=status_message(self._captured.status(selector.model)),
            version=page.version,
        )

    async def GetCaptureStatus(
        self, request: pb.GetCaptureStatusRequest, context: Context
    ) -> pb.GetCaptureStatusResponse:
        status = await self._executor.run(self._captured.status_of, request.model)
        return pb.GetCaptureStatusResponse(status=status_message(status))

    async def GetCapturedInput(
        self, request: pb.GetCapturedInputRequest, context: Context
    ) -> pb.GetCapturedInputResponse:
        side = request.thumbnail_size if request.HasField("thumbnail_size") else None
        if side is not None and side not in SIDES:
            raise InvalidField(
                f"Expected a thumbnail_size of 64, 128, 256 or 512. Received: {side}.", field="thumbnail_size"
            )
        return await self._executor.run(partial(self._content, request.model, request.prediction_id, side))

    def _content(self, model: str, prediction_id: str, side: int | None) -> pb.GetCapturedInputResponse:
        captured, stored = self._captured.get(model, prediction_id)
        content, media_type = _shown(captured, stored)
        etag = captured.digest[:32]
        if side is not None:
            small = thumbnail(decode(captured.kind, stored), max_pixels=self._max_pixels, side=side)
            if small is None:
                raise InvalidField(
                    "The captured input is not an image, so it has no thumbnail. Read the content without "
                    "thumbnail_size.",
                    field="thumbnail_size",
                )
            content, media_type, etag = small, "image/jpeg", f"{etag}-{side}"
        return pb.GetCapturedInputResponse(
            content=content, media_type=media_type, etag=etag, captured_input=captured_message(captured)
        )


def _shown(captured: CapturedInput, stored: bytes) -> tuple[bytes, str]:
    """Return the content as callers read it: a tensor as a JSON list."""
    values = decode(captured.kind, stored)
    if isinstance(values, np.ndarray):
        return json.dumps(values.tolist()).encode(), TENSOR_TYPE
    return stored, captured.media_type
