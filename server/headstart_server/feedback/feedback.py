"""Values of feedback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.models.feedback_rows import Answer, FeedbackState


class FeedbackOutcome(Enum):
    """What a request did: it was accepted, repeated an earlier one, or replaced earlier feedback."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    REPLACED = "replaced"


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweredPrediction:
    """The prediction that feedback is about, as far as it is known.

    Attributes:
        prediction_id: its ID; None for an input without a prediction.
        version: the version that made it; None if it is unknown.
        predicted: the predicted label; None if it is unknown.
        is_random: whether it was captured by the random sample.
        time: when it was made, in seconds since 1970; None if it is unknown.
    """

    prediction_id: str | None = None
    version: int | None = None
    predicted: Target | None = None
    is_random: bool = False
    time: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFeedback:
    """Feedback to record.

    Attributes:
        feedback_id: its ID, and the name of the archive of its content.
        request_id: the caller's ID of the request; None for none.
        request_hash: digest of everything that the caller sent.
        target: the true label; None if it is unknown.
        nbytes: bytes of the archive; 0 without one.
    """

    feedback_id: str
    model: str
    request_id: str | None
    request_hash: str
    principal: str
    answer: Answer
    target: Target | None
    prediction: AnsweredPrediction
    digest: str
    kind: str
    nbytes: int

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
    """Recorded feedback.

    Attributes:
        number: its place among all feedback.
        target: the true label; None if it is unknown.
        prediction: the prediction that it is about; whether it was random, and its time, are left out.
        created: when it was recorded, in seconds since 1970.
        job_id: the job that trains on it or has learned it; empty for none.
        learned: the version that learned it; None for none.
        request_id: the caller's ID of the request; None for none.
        nbytes: bytes of the archive; 0 without one.
    """

    feedback_id: str
    number: int
    model: str
    state: FeedbackState
    answer: Answer
    target: Target | None
    prediction: AnsweredPrediction
    example_id: str
    principal: str
    created: float
    job_id: str
    learned: int | None
    request_id: str | None
    digest: str
    kind: str
    nbytes: int

    @property
    def stored(self) -> StoredExample:
        """Its example, whose content is in its archive. Raise ValueError if its true label is unknown."""
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
    """Answers about the predictions of one version in one week, with one predicted class.

    Attributes:
        version: the version; None if it is unknown.
        week: weeks since 1970-01-05, a Monday.
        class_name: the predicted class; empty if it is unknown.
        answers: number of answers whose correctness is known.
        correct: number of them that found the prediction correct.
        sampled: number of them about randomly sampled predictions.
        sampled_correct: number of those that found the prediction correct.
    """

    version: int | None
    week: int
    class_name: str
    answers: int
    correct: int
    sampled: int
    sampled_correct: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainState:
    """What the automatic retraining of a model does.

    Attributes:
        job_id: the job under way; empty for none.
        last_job_id: the last job that ended; empty for none.
        last_version: the version that the last successful retrain published; 0 for none.
        last_baseline: the version that the alias named then; 0 for none.
        failures: number of failed retrains since the last success.
        error: reason and message of the last failure; empty without one.
        not_before: time before which no retrain starts, in seconds since 1970.
    """

    job_id: str = ""
    last_job_id: str = ""
    last_version: int = 0
    last_baseline: int = 0
    failures: int = 0
    error: Mapping[str, str] = field(default_factory=dict)
    not_before: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackCounts:
    """Counts of a model's feedback."""

    by_state: Mapping[FeedbackState, int]
    answers: Sequence[AnswerCount]
