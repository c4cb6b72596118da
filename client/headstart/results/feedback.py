"""Feedback on predictions, and the automatic retraining."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headstart.label_values import LabelValue


class FeedbackState(StrEnum):
    """The state of feedback."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    PENDING = "PENDING"
    TRAINING = "TRAINING"
    LEARNED = "LEARNED"
    SUPERSEDED = "SUPERSEDED"
    RECORDED = "RECORDED"


class FeedbackAnswer(StrEnum):
    """The kind of answer of feedback."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    LABEL = "LABEL"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"


class FeedbackOutcome(StrEnum):
    """The effect of sending feedback."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    ACCEPTED = "ACCEPTED"
    REPEATED = "REPEATED"
    REPLACED = "REPLACED"


class RetrainState(StrEnum):
    """The state of the automatic retraining of a model."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    IDLE = "IDLE"
    RUNNING = "RUNNING"
    BACKING_OFF = "BACKING_OFF"
    STOPPED = "STOPPED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """Feedback on a prediction, or the label of an input.

    Attributes:
        feedback_id: ID of the feedback.
        model: the model.
        state: state of the feedback.
        answer: kind of answer.
        label: the true label; None if the prediction was rejected.
        prediction_id: ID of the prediction; empty for an input without a prediction.
        predicted: the predicted label; None if it is unknown.
        version: the version that predicted; None if it is unknown.
        example_id: ID of the example that the feedback becomes.
        random_sample: whether the prediction belongs to the random sample.
        create_time: time at which the feedback was recorded.
        principal: the caller who sent it; empty without authentication.
        job_id: the job that trains or trained on it; empty before.
        learned_version: the version that was trained on it; None before.
    """

    feedback_id: str
    model: str
    state: FeedbackState
    answer: FeedbackAnswer
    label: LabelValue | None
    prediction_id: str
    predicted: LabelValue | None
    version: int | None
    example_id: str
    random_sample: bool
    create_time: datetime
    principal: str
    job_id: str
    learned_version: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SentFeedback:
    """The result of sending feedback: the feedback, or the earlier one that it repeats, and the effect."""

    feedback: Feedback
    outcome: FeedbackOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackStatistics:
    """Answers to predictions. The accuracy is that of the random sample only.

    Attributes:
        answer_count: number of answers to predictions.
        correct_count: number of answers that found the prediction correct.
        sample_count: number of answers to predictions of the random sample.
        accuracy: fraction of the random sample that was predicted correctly; None without answers.
        accuracy_low: lower bound of its 95 % confidence interval.
        accuracy_high: upper bound.
    """

    answer_count: int
    correct_count: int
    sample_count: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionFeedback:
    """Feedback on the predictions of a version."""

    version: int
    statistics: FeedbackStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class WeekFeedback:
    """Feedback on the predictions of an ISO week, such as ``2026-W49``."""

    week: str
    statistics: FeedbackStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFeedback:
    """Feedback on the predictions of a class."""

    class_name: str
    statistics: FeedbackStatistics


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackCount:
    """Number of feedback in a state."""

    state: FeedbackState
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainStatus:
    """State of the automatic retraining of a model.

    Attributes:
        state: the state.
        job_id: the running retrain; empty without one.
        last_job_id: the last retrain that ended; empty without one.
        last_version: the version that the last successful retrain published; None without one.
        failure_count: number of failed retrains since the last success.
        error: the last error; empty without failures.
        next_time: time before which no retrain starts; None if it has passed.
    """

    state: RetrainState
    job_id: str
    last_job_id: str
    last_version: int | None
    failure_count: int
    error: str
    next_time: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackSummary:
    """Statistics of the feedback of a model.

    Attributes:
        total: statistics of all answers.
        versions: statistics by the version that predicted.
        weeks: statistics by the week of the prediction.
        classes: statistics by the predicted class; empty unless the task is single-label.
        counts: number of feedback in each state.
        retrain: state of the automatic retraining; None without a policy.
    """

    total: FeedbackStatistics
    versions: tuple[VersionFeedback, ...]
    weeks: tuple[WeekFeedback, ...]
    classes: tuple[ClassFeedback, ...]
    counts: tuple[FeedbackCount, ...]
    retrain: RetrainStatus | None
