"""Calls about captured inputs and feedback."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypedDict

from headstart.calls.calls import Call, Page, page_of
from headstart.calls.model_calls import PAGE_SIZE
from headstart.decode import decode
from headstart.encode import label_message
from headstart.inputs.contents import Content, input_message
from headstart.label_values import LabelValue
from headstart.results import (
    CapturedContent,
    CaptureStatus,
    Feedback,
    FeedbackState,
    FeedbackSummary,
    ReviewEntry,
    SentFeedback,
)
from headstart.v1 import feedback_pb2 as pb
from headstart.v1 import review_service_pb2 as reviews
from headstart.version_ref import VersionRef


def review_list(version: VersionRef, token: str) -> Call[Page[ReviewEntry]]:
    """Return the call of ListReview."""
    return Call.of(
        _list_request(version, token),
        read=lambda response: page_of(response, response.entries, ReviewEntry),
    )


def capture_status(model: str) -> Call[CaptureStatus]:
    """Return the call of GetCaptureStatus."""
    return Call.of(
        reviews.GetCaptureStatusRequest(model=model),
        read=lambda response: decode(response.status, CaptureStatus),
    )


def captured_input(model: str, prediction_id: str, thumbnail_size: int | None) -> Call[CapturedContent]:
    """Return the call of GetCapturedInput."""
    return Call.of(
        reviews.GetCapturedInputRequest(
            model=model, prediction_id=prediction_id, thumbnail_size=thumbnail_size
        ),
        read=lambda response: decode(response, CapturedContent),
    )


def _list_request(version: VersionRef, token: str) -> reviews.ListReviewRequest:
    return reviews.ListReviewRequest(
        model=version.model,
        version=version.version,
        alias=version.alias,
        page_size=PAGE_SIZE,
        page_token=token,
    )


class FeedbackSettings(TypedDict, total=False):
    """The subject and the answer of feedback.

    ``input`` instead of a prediction; ``label``, ``confirmed`` or ``rejected``; ``version``, the number of
    the version that predicted an input; ``request_id``, by default a new one.
    """

    input: Content
    label: LabelValue
    confirmed: bool
    rejected: bool
    version: int
    request_id: str


def feedback_sending(model: str, prediction_id: str | None, settings: FeedbackSettings) -> Call[SentFeedback]:
    """Return the call of SendFeedback."""
    if (prediction_id is None) == ("input" not in settings):
        raise ValueError("Pass either a prediction_id or an input.")
    answers = [name for name in ("label", "confirmed", "rejected") if _is_given(settings.get(name))]
    if len(answers) != 1:
        received = f" Received: {', '.join(answers)}" if answers else ""
        raise ValueError(f"Pass one of label, confirmed and rejected.{received}")
    fields: dict[str, Any] = {"prediction_id": prediction_id}
    if "input" in settings:
        fields["input"] = input_message(settings["input"])
    fields[answers[0]] = label_message(settings["label"]) if answers[0] == "label" else True
    request = pb.SendFeedbackRequest(
        model=model,
        request_id=settings.get("request_id") or uuid.uuid4().hex,
        version=settings.get("version"),
        **fields,
    )
    return Call.of(
        request,
        read=lambda response: decode(response, SentFeedback),
        # The request ID makes it so.
        repeatable=True,
    )


def _is_given(answer: object) -> bool:
    """Return whether an answer is neither None nor False; the label 0.0 equals False, and is given."""
    return answer is not None and answer is not False


def feedback_list(model: str, states: Sequence[FeedbackState | str], token: str) -> Call[Page[Feedback]]:
    """Return the call of ListFeedback."""
    named: Any = [_state(state) for state in states]
    return Call.of(
        pb.ListFeedbackRequest(model=model, states=named, page_size=PAGE_SIZE, page_token=token),
        read=lambda response: page_of(response, response.feedback, Feedback),
    )


def feedback_summary(model: str, window: timedelta | None) -> Call[FeedbackSummary]:
    """Return the call of GetFeedbackSummary."""
    return Call.of(
        pb.GetFeedbackSummaryRequest(model=model, window_duration=window),
        read=lambda response: decode(response, FeedbackSummary),
    )


def _state(name: str) -> int:
    known = {value.removeprefix("FEEDBACK_STATE_"): number for value, number in pb.FeedbackState.items()}
    number = known.get(name.upper(), 0)
    if not number:
        states = ", ".join(sorted(each.lower() for each in known if known[each]))
        raise ValueError(f"states must be some of {states}. Received: {name!r}")
    return number
