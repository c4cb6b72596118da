"""ReviewService: captured inputs for review, and their contents."""

from functools import partial

from headstart.v1 import review_service_pb2 as pb
from headstart.v1 import review_service_pb2_grpc as stubs
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.grpc.feedback_service import FeedbackCalls
from headstart_server.api.grpc.messages.captures import captured_message, review_entry_message, status_message
from headstart_server.api.grpc.messages.common import page_key, page_token
from headstart_server.api.grpc.messages.pages import page_size_of
from headstart_server.backbones.preprocessing.content_files import file_of, media_type_of
from headstart_server.capture.captured_inputs import CapturedInputs, CapturedThumbnails
from headstart_server.capture.review_lists import ReviewLists
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.errors import InvalidField
from headstart_server.feedback.feedback_service import FeedbackService
from headstart_server.learning.examples.stored_example import decode
from headstart_server.models.version import Selector
from headstart_server.storage.thumbnail_store import JPEG


class ReviewService(FeedbackCalls, stubs.ReviewServiceServicer):
    """Decodes, calls and encodes; all work is the `capture` and `feedback` rooms'.

    Args:
        executor: runs the storing of feedback, the ranking of lists and the reading of contents.
    """

    def __init__(
        self,
        captured: CapturedInputs,
        thumbnails: CapturedThumbnails,
        lists: ReviewLists,
        feedback: FeedbackService,
        pool: BackbonePool,
        *,
        executor: BoundedExecutor,
    ) -> None:
        super().__init__(feedback, pool, executor)
        self._captured = captured
        self._thumbnails = thumbnails
        self._lists = lists

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
        return await self._executor.run(partial(self._content, request.model, request.prediction_id, side))

    def _content(self, model: str, prediction_id: str, side: int | None) -> pb.GetCapturedInputResponse:
        if side is None:
            captured, stored = self._captured.get(model, prediction_id)
            values = decode(captured.kind, stored)
            content, media_type = file_of(values), media_type_of(values)
            etag = captured.digest[:32]
        else:
            captured, content = self._thumbnails.get(model, prediction_id, side)
            media_type, etag = JPEG, f"{captured.digest[:32]}-{side}"
        return pb.GetCapturedInputResponse(
            content=content, media_type=media_type, etag=etag, captured_input=captured_message(captured)
        )
