"""Retrains a model from its feedback: chooses the parent and the feedback, and submits the job."""

import random
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np
import structlog

from headstart_server.auth.tenants import tenant_of
from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.edited_examples import EditedExamples
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.datasets.parents import Parent
from headstart_server.embedding.modality import check_modality
from headstart_server.errors import (
    ArtifactDamaged,
    DatabaseUnavailable,
    Draining,
    ExamplesNotKept,
    HeadstartError,
    JobQueueFull,
    Loading,
    ServiceUnavailable,
    StorageFull,
    UndecodableInput,
    VersionNotFound,
    WrittenByNewerRelease,
    WrongModality,
    WrongTask,
)
from headstart_server.feedback.feedback import Feedback, ReadyModel, RetrainState
from headstart_server.feedback.feedback_service import check_task_of
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.jobs.job import Job
from headstart_server.jobs.spec import PRIORITIES, FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.heads.recipe import reopened_recipe
from headstart_server.models.feedback_rows import ChosenFeedback, FeedbackChangedError
from headstart_server.models.registry import Registry
from headstart_server.models.retrain_policy import RetrainPolicy
from headstart_server.models.version import Selector, Version
from headstart_server.training.rebasing import inherited
from headstart_server.training.submission_service import SubmissionService

log = structlog.get_logger(__name__)

#: Mean seconds between two checks; a random part keeps replicas apart.
RETRAIN_SECONDS = 1.0
#: Maximum seconds that a stopping server waits for the thread.
STOP_SECONDS = 5.0


class Retrainer:
    """Checks periodically for models to retrain, in a separate thread."""

    def __init__(self, retraining: "Retraining") -> None:
        self._retraining = retraining
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retrainer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, whose retrain ends at its next feedback once submissions are closed.

        Reading a content may take long. A retrain that is not accepted then begins again after the start.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(RETRAIN_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
            try:
                self._retraining.run()
            except DatabaseUnavailable:
                # The heartbeat logs it.
                continue
            except Exception:
                log.exception("retrain_look_failed")


#: Maximum feedback of one retrain; more waits for the next retrain.
MAX_FEEDBACK = 5000
#: Minimum number of sampled predictions for which low accuracy in production starts a retrain.
MIN_SAMPLE = 20
#: Errors that the policy does not cause: the retrain is tried again, perhaps by a newer replica.
_PASSING = (ServiceUnavailable, StorageFull, JobQueueFull, Loading, Draining, WrittenByNewerRelease)
_INSTEAD = "Fine-tune the model with all its examples, and keep them."


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainCause:
    """The input of a policy: pending feedback, seconds since the oldest of it, and accuracy in production.

    The accuracy is None if too few predictions were sampled.
    """

    pending: int
    waited: float
    accuracy: float | None

    def starts(self, policy: RetrainPolicy) -> bool:
        """Return whether a policy starts a retrain; False without pending feedback."""
        if not self.pending:
            return False
        has_enough = policy.min_feedback_count is not None and self.pending >= policy.min_feedback_count
        is_late = policy.max_delay is not None and self.waited >= policy.max_delay
        has_dropped = (
            policy.min_accuracy is not None
            and self.accuracy is not None
            and self.accuracy < policy.min_accuracy
        )
        return has_enough or is_late or has_dropped


class Retraining:
    """Submits retrains.

    Args:
        take_turn: returns whether this replica may submit a retrain now.
        on_considered: called with `submitted` or `failed`.
    """

    def __init__(
        self,
        store: FeedbackStore,
        registry: Registry,
        datasets: DatasetStore,
        submissions: SubmissionService,
        *,
        take_turn: Callable[[], bool] = lambda: True,
        on_considered: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._datasets = datasets
        self._submissions = submissions
        self._take_turn = take_turn
        self._on_considered = on_considered

    def run(self) -> Sequence[Job]:
        """Submit a retrain of each model whose policy starts one; return the jobs."""
        jobs = []
        for each in self._store.ready():
            if not self._submissions.admission.is_open:
                break
            job = self._consider(each)
            if job is not None:
                log.info("retrain_submitted", model=each.name, job_id=job.job_id, feedback=job.added_count)
                self._on_considered("submitted")
                jobs.append(job)
        return jobs

    def _consider(self, each: ReadyModel) -> Job | None:
        model, policy, state = each.name, each.policy, each.state
        if state.failures >= policy.max_failures:
            return None
        try:
            baseline = self._registry.reader.alias_number(model, policy.alias)
            accuracy = self._accuracy(model, policy, baseline)
            cause = RetrainCause(pending=each.pending, waited=each.waited, accuracy=accuracy)
            if not cause.starts(policy) or not self._take_turn():
                return None
            return self._submit(model, policy, state, baseline)
        except FeedbackChangedError:
            # Another replica was faster, or the feedback changed meanwhile: the next check decides.
            pass
        except _PASSING as error:
            log.info("retrain_postponed", model=model, error=error.message)
        except HeadstartError as error:
            log.warning("retrain_failed", model=model, reason=error.reason, error=error.message)
            self._note_failure(model, error.reason, error.message)
        except Exception:
            fault = uuid.uuid4().hex
            log.exception("retrain_failed", model=model, reason="INTERNAL", fault=fault)
            self._note_failure(model, "INTERNAL", f"A fault of the server; its log has id {fault}.")
        return None

    def _note_failure(self, model: str, reason: str, message: str) -> None:
        self._on_considered("failed")
        self._store.note_failure(model, reason, message)

    def _accuracy(self, model: str, policy: RetrainPolicy, baseline: int) -> float | None:
        """Return the accuracy of the alias's version in production, estimated from the random sample."""
        if policy.min_accuracy is None or not baseline:
            return None
        found = self._store.answers_of(model, baseline)
        return found.sampled_correct / found.sampled if found.sampled >= MIN_SAMPLE else None

    def _submit(self, model: str, policy: RetrainPolicy, state: RetrainState, baseline: int) -> Job:
        version, parent = self._parent(model, state, baseline)
        feedback, superseded = _newest(self._store.pending(model, MAX_FEEDBACK))
        if not feedback:
            raise FeedbackChangedError(model)
        parent, held_out = _without(parent, {each.digest for each in feedback})
        chosen = ChosenFeedback(
            feedback_ids=[each.feedback_id for each in feedback],
            superseded=[each.feedback_id for each in superseded],
            baseline=baseline,
            last_version=state.last_version,
            last_baseline=state.last_baseline,
        )
        spec = _spec(policy, version).check()
        upload = self._submissions.upload(
            spec, "", parent=parent, repeated=False, tenant=tenant_of(model), feedback=chosen
        )
        unfit: dict[str, HeadstartError] = {}
        with closing(upload), closing(self._datasets.reader()) as reader:
            for each in feedback:
                self._submissions.admission.check_open()
                stored = each.stored._replace(held_out=each.digest in held_out)
                content = self._read(model, each, reader)
                try:
                    self._check_fits(stored, content, version)
                except (UndecodableInput, WrongModality, WrongTask) as error:
                    unfit[each.feedback_id] = error
                    continue
                if not unfit:
                    upload.add([_example(stored, content)])
            if not unfit:
                return upload.accept()
        first = next(iter(unfit.values()))
        log.warning("feedback_left_out", model=model, feedback=len(unfit), error=first.message)
        self._store.leave_out(model, unfit, chosen.superseded)
        raise FeedbackChangedError(model)

    def _check_fits(self, stored: StoredExample, content: Content, version: Version) -> None:
        """Raise an error if a version cannot learn feedback, which another version of the alias could."""
        check_task_of(stored.target, version)
        pool, backbone = self._submissions.backbones.pool, version.manifest.backbone
        check_modality(pool.metadata(backbone), content, "feedback")
        if isinstance(content, np.ndarray):
            # Backbones differ in the arrays that they accept, but not in the images or texts.
            pool.get(backbone).decode(content)

    def _read(self, model: str, each: Feedback, reader: ArchiveReader) -> Content:
        """Return the content of feedback; raise FeedbackChangedError if it was erased or replaced."""
        try:
            return reader.read(each.stored)
        except ArtifactDamaged:
            pending = self._store.pending(model, MAX_FEEDBACK)
            if each.feedback_id in {one.feedback_id for one in pending}:
                raise
            raise FeedbackChangedError(model) from None

    def _parent(self, model: str, state: RetrainState, baseline: int) -> tuple[Version, Parent]:
        """Return the parent version: the last retrained version while the alias names its baseline.

        So feedback in a version that was not promoted is also in the next version.
        """
        if state.last_version and baseline in (state.last_baseline, state.last_version):
            with suppress(VersionNotFound, ExamplesNotKept):
                return self._inherited(model, state.last_version)
        try:
            return self._inherited(model, baseline or self._registry.selected(Selector(model=model)).number)
        except VersionNotFound:
            if not baseline:
                raise
            # The alias has moved meanwhile, because it cannot name a deleted version.
            raise FeedbackChangedError(model) from None

    def _inherited(self, model: str, number: int) -> tuple[Version, Parent]:
        version = self._registry.reader.version(model, number)
        return version, inherited(self._registry, self._datasets, version, _INSTEAD)


def _newest(pending: Sequence[Feedback]) -> tuple[list[Feedback], list[Feedback]]:
    newest = {each.digest: each for each in pending}
    chosen = [each for each in pending if newest[each.digest] is each]
    return chosen, [each for each in pending if newest[each.digest] is not each]


def _without(parent: Parent, digests: set[str]) -> tuple[Parent, set[str]]:
    """Return a parent without the examples with some contents, and the held-out ones of these contents."""
    kept: list[StoredExample] = []
    replaced: list[StoredExample] = []
    for example in parent.examples:
        (replaced if example.digest in digests else kept).append(example)
    held_out = {example.digest for example in replaced if example.held_out}
    left_out = [*parent.left_out, *replaced]
    return replace(parent, edited=EditedExamples(examples=kept, left_out=left_out)), held_out


def _spec(policy: RetrainPolicy, version: Version) -> FineTuneSpec:
    manifest = version.manifest
    return FineTuneSpec(
        model=version.model,
        backbone=manifest.backbone,
        recipe=manifest.requested_recipe or reopened_recipe(manifest.recipe),
        seed=manifest.seed,
        tags=manifest.tags,
        alias=policy.alias,
        promote_if=policy.promote_if,
        parent_version=version.number,
        task=manifest.task,
        priority=PRIORITIES[0],
        webhook=policy.webhook,
    )


def _example(stored: StoredExample, content: Content) -> Example:
    return Example(
        content=content, target=stored.target, id=stored.id, held_out=stored.held_out, feedback=True
    )
