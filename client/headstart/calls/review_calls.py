"""Calls about captured inputs as values."""

from headstart.calls.calls import Call, Page
from headstart.calls.model_calls import PAGE_SIZE
from headstart.decode import decode
from headstart.results import CapturedContent, CaptureStatus, ReviewEntry
from headstart.v1 import review_service_pb2 as pb
from headstart.version_ref import VersionRef

__all__ = ["capture_status", "captured_input", "review_list"]

_SERVICE = "/headstart.v1.ReviewService/"


def review_list(version: VersionRef, token: str, *, size: int = PAGE_SIZE) -> Call[Page[ReviewEntry]]:
    """Return the call of ListReview."""
    return Call(
        path=_SERVICE + "ListReview",
        request=_list_request(version, size, token),
        response=pb.ListReviewResponse,
        read=lambda response: Page(
            items=tuple(decode(entry, ReviewEntry) for entry in response.entries),
            next_token=response.next_page_token,
        ),
    )


def capture_status(model: str) -> Call[CaptureStatus]:
    """Return the call of GetCaptureStatus."""
    return Call(
        path=_SERVICE + "GetCaptureStatus",
        request=pb.GetCaptureStatusRequest(model=model),
        response=pb.GetCaptureStatusResponse,
        read=lambda response: decode(response.status, CaptureStatus),
    )


def captured_input(model: str, prediction_id: str, thumbnail_size: int | None) -> Call[CapturedContent]:
    """Return the call of GetCapturedInput."""
    return Call(
        path=_SERVICE + "GetCapturedInput",
        request=pb.GetCapturedInputRequest(
            model=model, prediction_id=prediction_id, thumbnail_size=thumbnail_size
        ),
        response=pb.GetCapturedInputResponse,
        read=lambda response: decode(response, CapturedContent),
    )


def _list_request(version: VersionRef, size: int, token: str) -> pb.ListReviewRequest:
    return pb.ListReviewRequest(
        model=version.model,
        version=version.version,
        alias=version.alias,
        page_size=size,
        page_token=token,
    )
