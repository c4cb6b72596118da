"""Values of feedback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from headstart_server.errors import PredictionNotCaptured
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.models.feedback_rows import Answer, FeedbackState
from headstart_server.models.retrain_policy import RetrainPolicy


class FeedbackOutcome(Enum):
    """The outcome of a request: accepted, repeated an earlier one, or replaced earlier feedback."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    REPLACED = "replaced"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredPrediction:
    """The prediction that feedback is about; unknown values are None."""

    prediction_id: str | None = None  # its ID; None for an input without a prediction
    version: int | None = None  # the version that made it; None if it is unknown
    predicted: Target | None = None  # the predicted label; None if it is unknown
    is_random: bool = False  # whether it was captured by the random sample
    time: float | None = None  # when it was made, in seconds since 1970; None if it is unknown


def not_captured_error(prediction_id: str) -> PredictionNotCaptured:
    """Return the error of feedback about a prediction whose input is not stored."""
    return PredictionNotCaptured(
        f"No input of prediction {prediction_id[:80]!r} is stored: it was not captured, or it has expired or "
        "was erased. Send the input instead of the prediction ID.",
        metadata={"prediction_id": prediction_id},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFeedback:
    """Feedback to record."""

    feedback_id: str  # its ID, and the name of the archive of its content
    model: str
    request_id: str | None  # the caller's ID of the request; None if it sent none
    request_hash: str  # digest of everything that the caller sent
    principal: str
    answer: Answer
    target: Target | None  # the true label; None if it is unknown
    prediction: AnsweredPrediction
    digest: str
    kind: str
    nbytes: int  # bytes of the archive; 0 without one

    @property
    def example_id(self) -> str:
        """The ID of its example in a version."""
        return self.prediction.prediction_id or self.feedback_id

    @property
    def is_correct(self) -> bool | None:
        """Whether the prediction was correct; None if that is unknown."""
        predicted = self.prediction.predicted
        if self.prediction.prediction_id is None:
            return None
        if self.answer is not Answer.LABEL:
            return self.answer is Answer.CONFIRMED
        if predicted is None or self.target is None or self.target.task is Task.REGRESSION:
            return None
        if self.target.task is Task.MULTI_LABEL:
            return self.target.shares.keys() == predicted.shares.keys()
        return self.target.label == predicted.label


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback:
    """Recorded feedback."""

    feedback_id: str
    number: int  # its number in the order of all feedback
    model: str
    state: FeedbackState
    answer: Answer
    target: Target | None  # the true label; None if it is unknown
    # the prediction that it is about, without `is_random` and `time`
    prediction: AnsweredPrediction
    example_id: str
    principal: str
    created: float  # when it was recorded, in seconds since 1970
    job_id: str  # the job that trains on it, or whose version was trained on it; empty without a job
    learned: int | None  # the version that was trained on it; None without a version
    request_id: str | None  # the caller's ID of the request; None if it sent none
    digest: str
    kind: str
    nbytes: int  # bytes of the archive; 0 without one

    @property
    def stored(self) -> StoredExample:
        """Return its example, whose content is in its archive; raise ValueError without a true label."""
        if self.target is None:
            raise ValueError(f"The true label of {self.feedback_id} is unknown.")
        return StoredExample(
            target=self.target,
            id=self.example_id,
            held_out=False,
            digest=self.digest,
            kind=self.kind,
            archive=self.feedback_id,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerCount:
    """Counts of feedback on a version's predictions, by week and predicted class."""

    version: int | None  # the version; None if it is unknown
    week: int  # weeks since 1970-01-05, a Monday
    class_name: str  # the predicted class; empty if it is unknown
    answers: int  # number of predictions whose correctness is known
    correct: int  # number of these that were correct
    sampled: int  # number of these that were randomly sampled
    sampled_correct: int  # number of randomly sampled ones that were correct


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainState:
    """The state of a model's automatic retraining."""

    job_id: str = ""  # the running job; empty if none runs
    last_job_id: str = ""  # the last job that ended; empty if none has
    last_version: int = 0  # the version that the last successful retrain published; 0 if none has
    last_baseline: int = 0  # the version that the alias named before that retrain; 0 if none
    failures: int = 0  # number of failed retrains since the last success
    # reason and message of the last failure; empty without one
    error: Mapping[str, str] = field(default_factory=dict)
    not_before: float = 0.0  # time before which no retrain starts, in seconds since 1970


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadyModel:
    """A model with pending feedback that may retrain now."""

    name: str
    policy: RetrainPolicy
    state: RetrainState
    pending: int  # number of pending feedback
    waited: float  # seconds since the oldest pending feedback


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackCounts:
    """Counts of a model's feedback."""

    by_state: Mapping[FeedbackState, int]
    answers: Sequence[AnswerCount]
