"""The data loop of one simulated server: the real datasets, feedback, erasures, retraining and captures.

Only the learner is simulated: the head of each version is the same.
"""

import random
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from captures import new_capture
from fakes import FakeBackbone, make_head, make_manifest
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.capture.batches import BatchFeatures, BatchFiles
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.capture_rows import Gaps
from headstart_server.capture.capture_store import CaptureStore
from headstart_server.capture.captured_inputs import CapturedInputs
from headstart_server.datasets.batch_writer import BatchWriter
from headstart_server.datasets.dataset_catalog import DatasetCatalog, NamedExamples
from headstart_server.datasets.dataset_store import without
from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasureLog
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.errors import ServiceUnavailable, UnusableExamplesError, VersionNotFound
from headstart_server.evaluation.paired_predictions import ComparedHead
from headstart_server.feedback.feedback_service import FeedbackService, StoredCaptures
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.feedback.retraining import Retraining
from headstart_server.jobs.job import JobStep, JobTrigger
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.stored_example import exclusion_mark
from headstart_server.learning.heads.head import Head
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.promotion import Decision, Promotion, first_promotion
from headstart_server.models.store import EXAMPLES_FILE
from headstart_server.models.version import Manifest, Version
from headstart_server.training.erasure_service import ErasureService, Execution, FitLimits
from headstart_server.training.publish_step import PublishStep
from headstart_server.training.submission_service import open_submissions
from headstart_server.training.successor_publisher import SuccessorPublisher
from headstart_server.training.version_rebuilder import RebuiltHead, successor_manifest
from histories.stored_data import MODEL, content_of
from simulation.attempt import Attempt
from simulation.scheduler import TurnLock

if TYPE_CHECKING:
    from simulation.replica import Replica

#: Seconds between two looks for models to retrain, and for interrupted erasures.
RETRAIN_SECONDS, ERASURE_SECONDS = 1.0, 2.0


class DataLoop:
    """The objects of the data loop of one replica."""

    def __init__(self, replica: "Replica") -> None:
        world, database, store = replica.world, replica.database, replica.job_store
        self._replica = replica
        self.datasets = replica.datasets
        self.catalog = DatasetCatalog(database, on_deleted=replica.sweep)
        self.batches = BatchWriter(database, self.datasets, _no_limits)
        files = BatchFiles(replica.folder_of(world.captures))
        self.captures = CaptureStore(database, files, _no_limits)
        self.captured = CapturedInputs(database, files)
        self.capture_eraser = CaptureEraser(database, files)
        pool: Any = SimulatedPool()
        self.submissions = open_submissions(
            store,
            self.datasets,
            pool,
            replica.registry,
            wake_workers=replica.woken.set,
            max_activation_bytes=1,
            named=NamedExamples(self.catalog, self.datasets),
        )
        self.feedback_store = FeedbackStore(database, _no_limits)
        self.feedback = FeedbackService(
            self.feedback_store,
            replica.registry,
            self.datasets,
            pool,
            captured=StoredCaptures(self.captured),
        )
        self.retraining = Retraining(
            self.feedback_store,
            replica.registry,
            self.datasets,
            self.submissions,
            take_turn=lambda: store.cleaner.take_cleaning_turn("retrain", RETRAIN_SECONDS),
        )
        gate: Any = SimulatedGate(replica)
        self.publishing = PublishStep(
            store.runs, replica.versions, gate, software="simulation", now=world.database_now
        )
        self._create_erasures(gate)

    def _create_erasures(self, gate: Any) -> None:
        replica = self._replica
        scheduler = replica.world.scheduler
        self.eraser = ExampleEraser(
            replica.database,
            replica.registry,
            self.datasets,
            _drop_nothing,
            self.capture_eraser,
            clock=replica.clock,
            dropping=TurnLock(scheduler),
        )
        log = ErasureLog(replica.database)
        rebuilder: Any = SimulatedRebuilder(replica)
        self.erasures = ErasureService(
            self.eraser,
            log,
            rebuilder,
            SuccessorPublisher(log, replica.registry, replica.versions, gate, clock=replica.clock),
            ErasureClaims(replica.database, owner=replica.host.name, is_dead=replica.heartbeat.is_dead),
            limits=FitLimits(threads=1),
            execution=Execution(
                executor=lambda _: SameThread(),
                turn=TurnLock(scheduler),
                wait=scheduler.sleep,
                clock=replica.clock,
            ),
        )

    def submit(self, spec: FineTuneSpec, request_id: str) -> str:
        """Accept a fine-tune, as the server does."""
        upload = self.submissions.open(spec, request_id, validate_only=False)
        with closing(upload):
            upload.gather()
            return upload.accept().job_id

    def capture(self, prediction_id: str, version: int) -> None:
        """Store the input of a prediction, as the thread of the captures does."""
        row = np.zeros(2, np.float32)
        name = content_of(prediction_id)
        new = new_capture(prediction_id, MODEL, row, name, version=version, kind="image")
        features = BatchFeatures(backbone_digest="b" * 64, views={"last": row[None]})
        try:
            self.captures.write(MODEL, [new], features)
        except ServiceUnavailable:
            self.captures.note_gaps(MODEL, Gaps(storage_failed=1))
            raise

    def newest(self) -> tuple[int, ExampleList]:
        """Return the newest version with its examples."""
        registry = self._replica.registry
        (version,) = registry.reader.versions(MODEL, limit=1)
        return version.number, registry.files.examples(version) or ExampleList(examples=[])

    def finish_cleaning(self) -> None:
        """Do what remains to be done a long time after everything else."""
        # Once more after that: what was found to be done is looked at again.
        for _ in range(2):
            self.eraser.carry_out()
        self.capture_eraser.clean()
        self.capture_eraser.remove_orphans(0.0)

    def clean_rows(self) -> dict[str, Callable[[], object]]:
        """Return the steps of a cleaning of rows."""
        return {
            "erased_examples": self.eraser.carry_out,
            "erased_digests": self.eraser.follower.forget_digests,
            "captured_inputs": self.capture_eraser.clean,
            "dropped": self.eraser.follower.drop_here,
        }


class SimulatedPool:
    """A pool with one backbone that accepts everything."""

    def __init__(self) -> None:
        self._backbone = _backbone()

    def request(self, name: str) -> BackboneInfo:
        """Return a backbone that a caller named."""
        del name
        return self._backbone.info

    metadata = request

    def get(self, name: str) -> FakeBackbone:
        """Return a loaded backbone."""
        del name
        return self._backbone


class SimulatedGate:
    """Promotes some versions, as chance has it."""

    def __init__(self, replica: "Replica") -> None:
        self._replica = replica
        self._chance: random.Random = replica.world.chance

    def decide(
        self, spec: FineTuneSpec, candidate: ComparedHead, checkpoint: Callable[[], None]
    ) -> Promotion | None:
        """Judge a candidate, as `PromotionCheck.decide`."""
        del candidate, checkpoint
        if spec.promote_if is None or spec.alias is None:
            return None
        baseline = self._replica.registry.reader.alias_number(spec.model, spec.alias)
        return self._judged(spec.alias, baseline) if baseline else first_promotion(spec.alias)

    def judge_replacement(
        self, version: Version, candidate: ComparedHead, left_out: Collection[str]
    ) -> Promotion | None:
        """Judge a successor, as `PromotionCheck.judge_replacement`."""
        del candidate, left_out
        return self._judged(next(iter(version.aliases), ""), version.number)

    def _judged(self, alias: str, baseline: int) -> Promotion:
        decision = Decision.PROMOTED if self._chance.random() < 0.5 else Decision.KEPT
        return Promotion(alias=alias, decision=decision, baseline=baseline, reasons=())


class SimulatedRebuilder:
    """Makes the successor of a version, as `VersionRebuilder` does, without a fit."""

    def __init__(self, replica: "Replica") -> None:
        self._replica = replica

    def version(self, model: str, number: int) -> Version | None:
        """Return a version; None if it was deleted."""
        try:
            return self._replica.registry.reader.version(model, number)
        except VersionNotFound:
            return None

    def estimated_bytes(self, version: Version) -> int:
        """Return no estimate."""
        del version
        return 0

    def rebuild(self, version: Version, checkpoint: Callable[[], None]) -> RebuiltHead:
        """Return the successor of a version."""
        del checkpoint
        world = self._replica.world
        listed = self._replica.registry.files.examples_alone(version)
        assert listed is not None
        gone = set(self._replica.datasets.erased(listed.archives))
        kept = ExampleList(examples=without(listed, gone).examples)
        left_out = {
            exclusion_mark(one.digest) for one in listed.examples if (one.archive, one.member) in gone
        }
        world.scheduler.sleep(world.chance.uniform(0.05, 0.3))
        candidate = ComparedHead(head=head(), embedder=None, known=kept)
        manifest = replace(successor_manifest(version, kept), created=world.database_now())
        files = {EXAMPLES_FILE: kept.to_bytes()}
        return RebuiltHead(candidate=candidate, manifest=manifest, files=files, left_out=left_out)

    def forget(self) -> None:
        """Keep nothing."""


class SameThread(Executor):
    """Carries out work when it is submitted."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Carry out some work."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: all work is done."""


class DataRun(Attempt):
    """An attempt at a job of the data loop: it reads all examples and publishes a version of them."""

    def execute(self) -> int:
        """Run the job and return the number of its version."""
        world, progress = self._replica.world, self._progress
        seconds = world.chance.choice((0.1, 0.3, 1.0, 2.5))
        with progress.step(JobStep.FEATURES):
            examples = self._read()
            world.scheduler.sleep(seconds / 2)
            self._checkpoint()
        with progress.step(JobStep.FIT):
            world.scheduler.sleep(seconds / 2)
            if world.fails_retrain(self._job):
                raise UnusableExamplesError("The simulation lets this retrain fail.", reason="SIMULATED")
        candidate = ComparedHead(head=head(), embedder=None, known=examples)
        publishing = self._replica.data.publishing
        promotion = publishing.decide(candidate, progress)
        job = self._job
        manifest = manifest_of(
            job.job_id,
            parent=job.spec.parent_version or 0,
            added_count=job.added_count or 0,
            feedback_count=(job.added_count or 0) if job.trigger is JobTrigger.RETRAIN else 0,
        )
        files = {EXAMPLES_FILE: examples.to_bytes()}
        return publishing.publish(
            candidate, manifest, files, promotion, progress=progress, findings=lambda: self.findings
        )

    def _read(self) -> ExampleList:
        datasets = self._replica.datasets
        job_id = self._job.job_id
        with closing(self._progress.retry_until_available(lambda: datasets.open(job_id))) as dataset:
            if dataset.contradictions(Modality.IMAGE):
                raise UnusableExamplesError("Examples contradict each other.", reason="CONTRADICTION")
            for index, example in enumerate(dataset.examples):
                content = dataset.read(index)
                assert isinstance(content, bytes)
                assert content.startswith(b"quick:"), example
            return ExampleList(examples=dataset.examples, left_out=dataset.left_out)


@cache
def head() -> Head:
    """Return the head of each version."""
    return make_head(classes=2, size=2)


def manifest_of(job_id: str, **changes: Any) -> Manifest:
    """Return the manifest of a version."""
    return make_manifest(MODEL, job_id, backbone=_backbone().info.name, **changes)


@cache
def _backbone() -> FakeBackbone:
    return FakeBackbone()


def _no_limits(tenant: str) -> TenantLimits:
    del tenant
    return TenantLimits()


def _drop_nothing(digests: Collection[str], archives: Collection[str]) -> None:
    """Do nothing: this machine keeps no features and no copies of archives."""
