"""Accepts feedback: checks it, stores its content, then records it."""

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from headstart_server.backbones.contract.backbone import Content
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.cache import content_digest
from headstart_server.embedding.modality import check_modality, kind_of
from headstart_server.errors import (
    AliasNotFound,
    DatabaseUnavailable,
    HeadstartError,
    InputTooLarge,
    InvalidField,
    ServiceUnavailable,
    UndecodableInput,
    UnknownClass,
    WrongTask,
)
from headstart_server.feedback.feedback import (
    AnsweredPrediction,
    Feedback,
    FeedbackOutcome,
    NewFeedback,
    not_captured_error,
)
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.example_checks import checked_target
from headstart_server.learning.examples.stored_example import encode
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.models.feedback_rows import Answer
from headstart_server.models.registry import Registry
from headstart_server.models.retrain_policy import RetrainPolicy, UnknownClasses
from headstart_server.models.version import Selector, Version

_TASKS = {
    Task.SINGLE_LABEL: "one class",
    Task.MULTI_LABEL: "a set of classes",
    Task.REGRESSION: "a number",
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CapturedContent:
    """The content of a captured input, and its prediction without the ID."""

    content: Content
    prediction: AnsweredPrediction


class StoredCaptures:
    """Finds captured inputs with their contents."""

    def __init__(self, captured: CapturedInputs) -> None:
        self._captured = captured

    def may_arrive(self, prediction_id: str) -> bool:
        """Return whether another process may still store the input of a prediction."""
        return self._captured.may_arrive(prediction_id)

    def find(self, model: str, prediction_id: str) -> CapturedContent | None:
        """Return the input of a prediction; None if it is not stored."""
        found = self._captured.find(model, prediction_id)
        content = None if found is None else self._captured.input_of(found)
        if found is None or content is None:
            return None
        return CapturedContent(
            content=content,
            prediction=AnsweredPrediction(
                version=found.version,
                predicted=found.predicted,
                is_random=found.random_sample,
                time=found.created,
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SentFeedback:
    """Feedback as a caller sends it."""

    model: str
    prediction_id: str = ""  # the prediction that it is about; empty for an input without a prediction
    content: Content | None = None  # the input; None for a prediction
    answer: Answer
    target: Target | None = None  # the true label; None unless the answer is a label
    request_id: str = ""  # the caller's ID of the request; empty if it sent none
    number: int | None = None  # the version that predicted an input; None if the caller does not specify it
    principal: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the request without the request ID."""
        values = {
            "prediction_id": self.prediction_id,
            "content": None if self.content is None else content_digest(self.content),
            "answer": self.answer.value,
            "target": None if self.target is None else self.target.to_json(),
            "number": self.number,
        }
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class FeedbackService:
    """Accepts feedback.

    Args:
        on_sent: called with the outcome of each accepted request.
    """

    def __init__(
        self,
        store: FeedbackStore,
        registry: Registry,
        datasets: DatasetStore,
        pool: BackbonePool,
        *,
        captured: StoredCaptures,
        on_sent: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.store = store
        self._registry = registry
        self._datasets = datasets
        self._pool = pool
        self._captured = captured
        self._on_sent = on_sent

    def send(self, sent: SentFeedback) -> tuple[Feedback, FeedbackOutcome]:
        """Record feedback. Once this returns, the feedback and its content are durable.

        Returns:
            The feedback, or the earlier one if the request repeats it, and the outcome of the request.

        Raises:
            WrongTask, WrongModality, UndecodableInput or InputTooLarge: the model cannot be trained on it.
            TenantQuotaExceeded: the tenant's storage quota is exceeded.
            Loading: the backbone that checks the input is not loaded yet; this starts the loading.
            StorageFull, StorageUnavailable or DatabaseUnavailable: the feedback cannot be stored now.
        """
        found, outcome = self._send(sent)
        self._on_sent(outcome.value)
        return found, outcome

    def may_arrive(self, sent: SentFeedback) -> bool:
        """Return whether a call that failed with `PredictionNotCaptured` may succeed within a second."""
        return bool(sent.prediction_id) and self._captured.may_arrive(sent.prediction_id)

    def _send(self, sent: SentFeedback) -> tuple[Feedback, FeedbackOutcome]:
        sent = replace(sent, target=_checked(sent.target))
        earlier = self.store.replayed(sent.model, sent.request_id or None, sent.digest)
        if earlier is not None:
            return earlier, FeedbackOutcome.REPEATED
        self._registry.reader.model(sent.model)
        policy, _ = self.store.retrain_state(sent.model)
        version = self._reference(sent.model, policy)
        content, prediction = self._subject(sent, version)
        target = prediction.predicted if sent.answer is Answer.CONFIRMED else sent.target
        if target is not None:
            _check_target(target, version, policy)
        return self._record(sent, content, prediction, target)

    def _reference(self, model: str, policy: RetrainPolicy | None) -> Version:
        """Return the version that feedback must fit: the version to retrain, or the default version."""
        if policy is not None:
            with suppress(AliasNotFound):
                return self._registry.selected(Selector(model=model, alias=policy.alias))
        return self._registry.selected(Selector(model=model))

    def _subject(self, sent: SentFeedback, version: Version) -> tuple[Content, AnsweredPrediction]:
        if sent.prediction_id:
            captured = self._captured.find(sent.model, sent.prediction_id)
            if captured is None:
                raise not_captured_error(sent.prediction_id)
            if sent.answer is Answer.CONFIRMED and captured.prediction.predicted is None:
                raise InvalidField(
                    "The prediction has no label to confirm. Send the true label.",
                    field="confirmed",
                )
            if sent.answer is not Answer.REJECTED:
                # Another version may have predicted it, from another backbone.
                self._check_content(captured.content, version, "prediction_id")
            return captured.content, replace(captured.prediction, prediction_id=sent.prediction_id)
        if sent.content is None:
            raise InvalidField("Send a prediction_id or an input.", field="subject")
        if sent.answer is not Answer.LABEL:
            raise InvalidField(
                f"Feedback about an input without prediction cannot be {sent.answer.value}. Send the true "
                "label, or the prediction_id.",
                field=sent.answer.value,
            )
        self._check_content(sent.content, version, "input")
        if sent.number is not None:
            self._registry.reader.version(sent.model, sent.number)
        return sent.content, AnsweredPrediction(version=sent.number)

    def _check_content(self, content: Content, version: Version, field: str) -> None:
        """Check that a retrain can use an input, because an undecodable input would fail each retrain."""
        backbone = version.manifest.backbone
        check_modality(self._pool.metadata(backbone), content, field)
        limit = self._datasets.limits.max_input_bytes
        nbytes = len(encode(content)[1])
        if nbytes > limit:
            raise InputTooLarge(
                f"The input is too large. Expected at most {limit} bytes. Received: {nbytes}.", field=field
            )
        try:
            self._pool.get(backbone).decode(content)
        except (UndecodableInput, InputTooLarge) as error:
            error.field = field
            raise

    def _record(
        self, sent: SentFeedback, content: Content, prediction: AnsweredPrediction, target: Target | None
    ) -> tuple[Feedback, FeedbackOutcome]:
        feedback_id = f"feedback-{uuid.uuid4().hex}"
        new = NewFeedback(
            feedback_id=feedback_id,
            model=sent.model,
            request_id=sent.request_id or None,
            request_hash=sent.digest,
            principal=sent.principal,
            answer=sent.answer,
            target=target,
            prediction=prediction,
            digest=content_digest(content),
            kind=kind_of(content),
            nbytes=0,
        )
        if target is None:
            return self.store.add(new)
        example = Example(content=content, target=target, id=new.example_id)
        # The archive is durable before its row exists. A cleaning removes archives without a row.
        nbytes = self._datasets.write_single(feedback_id, example)
        try:
            found, outcome = self.store.add(replace(new, nbytes=nbytes))
        except DatabaseUnavailable:
            # The row may still have been written.
            raise
        except BaseException:
            self._remove(feedback_id)
            raise
        if outcome is FeedbackOutcome.REPEATED:
            self._remove(feedback_id)
        return found, outcome

    def _remove(self, feedback_id: str) -> None:
        with suppress(ServiceUnavailable):
            self._datasets.remove(feedback_id)


def _checked(target: Target | None) -> Target | None:
    """Return a label in its normal form."""
    if target is None:
        return None
    try:
        return checked_target(target, 0)
    except HeadstartError as error:
        error.field = (error.field or "").removeprefix("examples[0].")
        error.message = error.message.replace("Example 0", "The feedback").replace(
            "example 0", "the feedback"
        )
        raise


def check_task_of(target: Target, version: Version) -> None:
    """Raise WrongTask if a label is of another kind than those of a version."""
    manifest = version.manifest
    if target.task is not manifest.task:
        raise WrongTask(
            f"The label is {_TASKS[target.task]}, but version {version.number} of model '{version.model}' "
            f"predicts {_TASKS[manifest.task]}. Send a label of the same kind.",
            field="label",
        )


def _check_target(target: Target, version: Version, policy: RetrainPolicy | None) -> None:
    check_task_of(target, version)
    if policy is None or policy.unknown_classes is UnknownClasses.ALLOW or target.task is Task.REGRESSION:
        return
    unknown = sorted(set(target.shares) - set(version.manifest.class_names))
    if unknown:
        raise UnknownClass(
            f"Version {version.number} of model '{version.model}' does not know the class {unknown[0]!r}, "
            "and the retrain policy rejects unknown classes. Send a known class, or change the policy.",
            field="label",
            metadata={"class_name": unknown[0], "version": str(version.number)},
        )
