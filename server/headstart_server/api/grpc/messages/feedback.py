"""Conversions between messages of feedback and their values."""

import datetime
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from headstart.v1 import feedback_pb2 as pb
from headstart_server.api.grpc.messages.common import content_of, target_of
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.api.grpc.messages.times import optional_seconds
from headstart_server.errors import InvalidField
from headstart_server.feedback.feedback import AnswerCount, Feedback, FeedbackCounts, FeedbackOutcome
from headstart_server.feedback.feedback_service import SentFeedback
from headstart_server.learning.metrics.metrics import wilson_interval
from headstart_server.models.feedback_rows import Answer, FeedbackState
from headstart_server.models.retrain_policy import MAX_SECONDS

STATES = numbers_of(FeedbackState, pb.FeedbackState)
OUTCOMES = numbers_of(FeedbackOutcome, pb.FeedbackOutcome)
#: The Monday of week 0.
_MONDAY = datetime.date(1970, 1, 5)
MAX_CLASSES = 1000
_Key = TypeVar("_Key", bound=Hashable)


def sent_feedback_of(request: pb.SendFeedbackRequest, principal: str) -> SentFeedback:
    """Return the feedback that a request sends."""
    subject, answer = request.WhichOneof("subject"), request.WhichOneof("answer")
    if subject is None:
        raise InvalidField("The subject is missing. Send a prediction_id or an input.", field="subject")
    if answer is None:
        raise InvalidField("The answer is missing. Send a label, confirmed or rejected.", field="answer")
    if answer != "label" and not getattr(request, answer):
        raise InvalidField(f"{answer} is false. Set it to true, or send another answer.", field=answer)
    if subject == "prediction_id" and not request.prediction_id:
        raise InvalidField(
            "The prediction_id is empty. Predictions have an ID if the model has a capture policy. Set one, "
            "or send the input instead.",
            field="prediction_id",
        )
    if subject == "prediction_id" and request.HasField("version"):
        raise InvalidField("The version of a prediction is known. Send no version with it.", field="version")
    return SentFeedback(
        model=request.model,
        prediction_id=request.prediction_id,
        content=content_of(request.input, "input") if subject == "input" else None,
        answer=Answer(answer),
        target=target_of(request.label, 0) if answer == "label" else None,
        request_id=request.request_id,
        number=request.version if request.HasField("version") else None,
        principal=principal,
    )


def states_of(request: pb.ListFeedbackRequest) -> list[FeedbackState]:
    """Return the states in a request."""
    known = {number: state for state, number in STATES.items()}
    for number in request.states:
        if number not in known:
            raise InvalidField(f"Expected states of 1 to {len(known)}. Received: {number}.", field="states")
    return [known[number] for number in request.states]


def window_of(request: pb.GetFeedbackSummaryRequest) -> float | None:
    """Return the seconds of a request's window; None for all time."""
    seconds = optional_seconds(request, "window_duration")
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise InvalidField(
            f"The window has {seconds:g} seconds. Choose more than 0 and at most {MAX_SECONDS:.0f}.",
            field="window_duration",
        )
    return seconds


def feedback_message(feedback: Feedback) -> pb.Feedback:
    """Return the message of feedback."""
    about = feedback.prediction
    return message_of(
        feedback,
        pb.Feedback,
        label=feedback.target,
        prediction_id=about.prediction_id or "",
        predicted=about.predicted,
        version=about.version,
        random_sample=about.is_random,
        learned_version=feedback.learned,
    )


def summary_message(counts: FeedbackCounts) -> pb.GetFeedbackSummaryResponse:
    """Return the message of statistics."""
    answers = counts.answers
    by_version = _grouped(answers, lambda each: each.version)
    by_week = _grouped(answers, lambda each: each.week)
    by_class = _grouped(answers, lambda each: each.class_name)
    return pb.GetFeedbackSummaryResponse(
        total=_statistics(answers),
        versions=[
            pb.VersionFeedback(version=number, statistics=_statistics(by_version[number]))
            for number in sorted(number for number in by_version if number is not None)
        ],
        weeks=[
            pb.WeekFeedback(week=_week(week), statistics=_statistics(by_week[week]))
            for week in sorted(by_week)
        ],
        classes=[
            pb.ClassFeedback(class_name=name, statistics=_statistics(by_class[name]))
            for name in sorted(filter(None, by_class))[:MAX_CLASSES]
        ],
        counts=[
            pb.FeedbackCount(state=STATES[state], count=count)
            for state, count in sorted(counts.by_state.items(), key=lambda item: STATES[item[0]])
        ],
    )


def _grouped(
    answers: Iterable[AnswerCount], key: Callable[[AnswerCount], _Key]
) -> Mapping[_Key, list[AnswerCount]]:
    groups: defaultdict[_Key, list[AnswerCount]] = defaultdict(list)
    for each in answers:
        groups[key(each)].append(each)
    return groups


def _statistics(answers: Iterable[AnswerCount]) -> pb.FeedbackStatistics:
    found = list(answers)
    sampled = sum(each.sampled for each in found)
    message = pb.FeedbackStatistics(
        answer_count=sum(each.answers for each in found),
        correct_count=sum(each.correct for each in found),
        sample_count=sampled,
    )
    if sampled:
        accuracy = sum(each.sampled_correct for each in found) / sampled
        message.accuracy = accuracy
        message.accuracy_low, message.accuracy_high = wilson_interval(accuracy, sampled)
    return message


def _week(number: int) -> str:
    year, week, _ = (_MONDAY + datetime.timedelta(weeks=number)).isocalendar()
    return f"{year:04d}-W{week:02d}"
