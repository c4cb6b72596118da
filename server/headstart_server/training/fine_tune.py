"""The steps of a fine-tune: choose where the backbone is `auto`, features, fit, evaluate, publish."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart_server.auth.tenants import tenant_of
from headstart_server.backbones.contract.tail_training import TailEpoch
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.cache_scope import working_for
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures
from headstart_server.errors import (
    DatabaseUnavailable,
    QuotaExceeded,
    StorageUnavailable,
    TenantQuotaExceeded,
)
from headstart_server.evaluation.batch_predictor import MAX_LISTED_FAULTS
from headstart_server.evaluation.fit_analysis import FitAnalysis
from headstart_server.evaluation.paired_predictions import ComparedHead
from headstart_server.evaluation.promotion_check import (
    MAX_PROMOTION_CHECKS,
    PromotionCheck,
    alias_moved_promotion,
)
from headstart_server.jobs.job import Findings, Job, JobStep
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto, Partial, required_views
from headstart_server.learning.heads.ridge import NUMPY
from headstart_server.learning.metrics.backbone_selection import BackboneSelection
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.models import evaluation_file
from headstart_server.models.registry import AliasMovedError
from headstart_server.models.store import EXAMPLES_FILE, VersionStore
from headstart_server.models.tail_file import TAIL_FILE, encode
from headstart_server.models.version import Manifest, TailFacts
from headstart_server.observability.energy import EnergyMeter, Measurement
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.training.activations import JobActivations
from headstart_server.training.backbone_selector import BackboneSelector
from headstart_server.training.candidates import check_recipe, check_trainable_here
from headstart_server.training.evaluation_result import EvaluationResult, evaluate_fit
from headstart_server.training.extraction import FeatureExtraction, FeatureTable, check_faults
from headstart_server.training.fit_checkpoint import FitCheckpoints
from headstart_server.training.progress import RETRY_SECONDS, ProgressReporter

#: Seconds of a fit from which on it is put aside: what took less is sooner fitted again than written.
STAGE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneTools:
    """What a run works with.

    Attributes:
        job_store: where progress and the end are written.
        datasets: where examples are read.
        pool: where features come from.
        versions: where heads are written.
        observer: is told of steps and versions.
        gate: judges whether an alias may be moved.
        window: most examples under way between archive and backbone at once.
        scratch: folder for the files of running jobs; what is left in it may be removed at any start.
        max_activation_bytes: most bytes of one job's activations there.
        memory_bytes: most bytes of memory of all jobs; None for no limit.
        software: name and version of this software, for manifests.
        matrices: where large heads are solved.
        clock: seconds that only go up.
        now: seconds since 1970.
        sleep: waits so many seconds.
        tracing: makes spans of a job's steps.
        energy: measures what runs cost.
    """

    job_store: JobStore
    datasets: DatasetStore
    pool: BackbonePool
    versions: VersionStore
    observer: Telemetry
    gate: PromotionCheck
    window: int
    scratch: Path
    max_activation_bytes: int
    software: str
    memory_bytes: int | None = None
    matrices: Matrices = NUMPY
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    tracing: Tracing = NO_TRACING
    energy: EnergyMeter = field(default_factory=lambda: EnergyMeter(()))


class FineTuneRun:
    """One attempt at one job.

    Args:
        job: the job as it was claimed.
        tools: what to work with.
        checkpoint: called between pieces of work; raises to stop.
    """

    def __init__(self, job: Job, tools: FineTuneTools, checkpoint: Callable[[], None]) -> None:
        self._job = job
        self._tools = tools
        self._checkpoint = checkpoint
        self._progress = ProgressReporter(
            job,
            tools.job_store,
            tools.observer,
            checkpoint,
            clock=tools.clock,
            sleep=tools.sleep,
            tracing=tools.tracing,
        )
        self._activations = JobActivations(job.spec.recipe, tools.max_activation_bytes, tools.memory_bytes)
        self._staged_fits = FitCheckpoints(tools.versions)
        # What an earlier attempt's fit took.
        self._fit_seconds = 0.0
        self._choice: BackboneSelection | None = None
        self._measurement = Measurement()

    @property
    def findings(self) -> Findings:
        """What was found so far; it goes with the job's end, whatever that is."""
        return replace(self._progress.findings, energy=self._tools.energy.so_far(self._measurement))

    def execute(self) -> int:
        """Carry out the job to its published version.

        Returns:
            The version's number.

        Raises:
            HeadstartError: why the job failed.
            JobCancelledError or JobLostError: the job store's, or the checkpoint's.
        """
        tenant = tenant_of(self._job.spec.model)
        with working_for(tenant), self._tools.energy.measure() as self._measurement:
            return self._execute()

    def _execute(self) -> int:
        # A server with Keras may have accepted the job before this one took its place.
        check_trainable_here(self._job.spec.recipe)
        embedder = self._tools.pool.load(self._backbone())
        # The backbone may not have been prepared yet when the job was accepted.
        check_recipe(embedder.info, self._job.spec.recipe)
        with self._activations.folder(self._tools.scratch, self._job.job_id):
            with self._progress.step(JobStep.FEATURES):
                dataset, table = self._features(embedder)
                held_out_mask = table.held_out_mask(self._job.spec, self._checkpoint)
            trained = table.part(~held_out_mask)
            with self._progress.step(JobStep.FIT):
                fitted = self._fitted_before(trained) or self._fit(embedder, trained)
            self._stage(embedder, fitted, trained)
            tail = self._activations.tail(fitted.tail, self._job.spec.model)
            apart = table.part(held_out_mask)
            own = self._activations.own_views(tail, embedder, apart.views, apart.digests, self._checkpoint)
        with self._progress.step(JobStep.EVALUATE):
            found = self._evaluate(fitted, table, held_out_mask, own)
            candidate = ComparedHead(
                head=fitted.head,
                tail=tail,
                embedder=embedder,
                known=replace(dataset, outcomes=found.outcomes),
            )
            promotion = self._judge(candidate)
            assessment = self._assessment(fitted, table, held_out_mask)
            evidence = assessment.files()
            findings = assessment.findings(
                seed=self._job.spec.seed,
                estimated_seconds=self._progress.seconds_so_far(),
                fault_count=self.findings.excluded_count,
            )
        metrics = found.evaluation.metrics
        manifest = self._manifest(embedder, fitted, metrics, trained)
        if fitted.tail is not None and tail is not None:
            manifest = replace(manifest, tail=TailFacts(blocks=fitted.tail.blocks, cut=tail.cut))
        files = {
            EXAMPLES_FILE: candidate.known.to_bytes(),
            evaluation_file.EVALUATION_FILE: evaluation_file.encode(found.evaluation, findings),
            **evidence,
            **({TAIL_FILE: encode(fitted.tail)} if fitted.tail else {}),
        }
        number = self._publish(candidate, manifest, files, promotion)
        self._remove(self._progress.staged)
        self._tools.observer.version_published(self._job.spec.model, number, metrics, manifest.example_count)
        return number

    # Steps

    def _backbone(self) -> str:
        """The backbone to fit on: where the spec leaves it open chosen now, or by an earlier attempt."""
        spec = self._job.spec
        if not spec.selects_backbone:
            return spec.backbone
        tools = self._tools
        choosing = BackboneSelector(
            self._job,
            pool=tools.pool,
            datasets=tools.datasets,
            progress=self._progress,
            matrices=tools.matrices,
            window=tools.window,
            checkpoint=self._checkpoint,
            clock=tools.clock,
        )
        with self._progress.step(JobStep.SELECT_BACKBONE):
            self._choice = choosing.choice()
        return self._choice.backbone

    def _features(self, embedder: Embedder) -> tuple[ExampleList, FeatureTable]:
        views = required_views(self._job.spec.recipe, embedder.info.views)
        job_id = self._job.job_id
        with closing(
            self._progress.retry_until_available(lambda: self._tools.datasets.open(job_id))
        ) as dataset:
            extraction = FeatureExtraction(dataset, views)
            extraction.run(
                embedder,
                window=self._tools.window,
                checkpoint=self._checkpoint,
                cuts=self._activations.begin(embedder.info, extraction.content_count),
                taken=self._take,
                progress=self._tell_features,
            )
        self._activations.finish()
        self._drop(extraction.faults, len(dataset))
        table = extraction.table()
        return ExampleList(examples=table.examples, left_out=dataset.left_out), table

    def _take(self, digest: str, row: RowFeatures) -> None:
        self._activations.add(digest, row.views)
        self._progress.add_seconds("decode", row.decoded)
        self._progress.add_seconds("backbone", row.ran / row.batch_rows)

    def _tell_features(self, done: int, total: int) -> None:
        self._progress.report(JobStep.FEATURES, done, total, force=done == total)

    def _drop(self, faults: Mapping[int, ExampleFault], count: int) -> None:
        """Note faulty examples, and fail if there are more of them than the spec allows."""
        listed = [faults[index] for index in sorted(faults)]
        self._progress.findings = replace(
            self.findings, excluded=tuple(listed[:MAX_LISTED_FAULTS]), excluded_count=len(listed)
        )
        check_faults(self._job.spec, faults, count)

    def _fit(self, embedder: Embedder, table: FeatureTable) -> FittedHead:
        spec = self._job.spec
        self._progress.report(JobStep.FIT, 0, 0, force=True)
        tails = self._activations.tools(embedder, table.digests, self._tell_epoch, self._checkpoint)
        fitted = fit(
            spec.recipe,
            table.views,
            table.targets,
            table.digests,
            seed=spec.seed,
            modality=table.modality,
            tails=tails,
            checkpoint=self._checkpoint,
            matrices=self._tools.matrices,
        )
        if fitted.note:
            self._progress.report(JobStep.FIT, 1, 1, message=fitted.note, force=True)
        return fitted

    def _fitted_before(self, table: FeatureTable) -> FittedHead | None:
        """What an earlier attempt fitted, if it lies whole where that attempt put it."""
        staged = self._progress.staged
        found = None
        if staged is not None:
            found = self._progress.retry_until_available(
                lambda: self._staged_fits.read(staged, len(table.targets))
            )
        if found is None:
            self._progress.staged = None
            return None
        self._fit_seconds = found.seconds
        return found.fitted

    def _stage(self, embedder: Embedder, fitted: FittedHead, table: FeatureTable) -> None:
        """Put a fit aside that took long, so that the job's next attempt need not fit again."""
        if self._progress.staged is not None or self._progress.seconds(JobStep.FIT) < STAGE_SECONDS:
            return
        artifact = f"{self._job.job_id}.{self._job.attempt}.fit"
        manifest = self._manifest(embedder, fitted, fitted.metrics, table)
        self._progress.retry_until_available(lambda: self._staged_fits.write(artifact, fitted, manifest))
        self._progress.staged = artifact
        self._progress.report(JobStep.FIT, 1, 1, message=fitted.note, force=True)

    def _tell_epoch(self, epoch: TailEpoch) -> None:
        recipe = self._job.spec.recipe
        epochs = recipe.max_epochs if isinstance(recipe, Partial) else 0
        noun = "epoch" if epoch.number == 1 else "epochs"
        message = f"Out-of-fold loss {epoch.loss:.4g} after {epoch.number} {noun}."
        self._progress.report(JobStep.FIT, epoch.number, epochs, message=message)

    def _evaluate(
        self,
        fitted: FittedHead,
        table: FeatureTable,
        held_out_mask: NDArray[np.bool_],
        own: Mapping[str, Float32],
    ) -> EvaluationResult:
        found = evaluate_fit(fitted, table, held_out_mask, own=own)
        metrics = found.evaluation.metrics
        self._progress.report(
            JobStep.EVALUATE, metrics.example_count, metrics.example_count, metrics, force=True
        )
        return found

    def _assessment(
        self,
        fitted: FittedHead,
        table: FeatureTable,
        held_out_mask: NDArray[np.bool_],
    ) -> FitAnalysis:
        return FitAnalysis(
            examples=table.examples,
            # The version's list has the usable ones alone.
            indexes=np.arange(len(table.examples)),
            views=table.views,
            targets=table.targets,
            held_out=held_out_mask,
            fitted=fitted,
            modality=table.modality,
            checkpoint=self._checkpoint,
            truncated=table.truncated,
        )

    def _judge(self, candidate: ComparedHead) -> Promotion | None:
        spec = self._job.spec
        return self._progress.retry_until_available(
            lambda: self._tools.gate.decide(spec, candidate, self._checkpoint)
        )

    def _publish(
        self,
        candidate: ComparedHead,
        manifest: Manifest,
        files: Mapping[str, bytes],
        promotion: Promotion | None,
    ) -> int:
        versions, job = self._tools.versions, self._job
        artifact = f"{job.job_id}.{job.attempt}"
        # The commit that ends the job carries the time of the step, so its own part is not in it.
        with self._progress.step(JobStep.PUBLISH):
            manifest, size_bytes = self._progress.retry_until_available(
                lambda: versions.write(artifact, candidate.head, manifest, files)
            )

        def succeed(promotion: Promotion | None) -> int:
            while True:
                try:
                    return self._tools.job_store.runs.succeed(
                        job,
                        self._progress.progress(JobStep.PUBLISH, 1, 1, manifest.metrics),
                        self.findings,
                        artifact=artifact,
                        size_bytes=size_bytes,
                        manifest=manifest,
                        promotion=promotion,
                    )
                except DatabaseUnavailable:
                    # It may be published or not. The fence knows, whoever has the job by then.
                    self._tools.sleep(RETRY_SECONDS)
                    with suppress(JobCancelledError, JobLostError):
                        self._checkpoint()

        try:
            for _ in range(MAX_PROMOTION_CHECKS):
                try:
                    return succeed(promotion)
                except AliasMovedError:
                    promotion = self._judge(candidate)
            baseline = 0 if promotion is None else promotion.baseline
            return succeed(alias_moved_promotion(job.spec.alias or "", baseline))
        except (JobCancelledError, JobLostError, QuotaExceeded, TenantQuotaExceeded):
            # After any other error the version may be published; if not, a cleaning removes its files.
            self._remove(artifact)
            raise

    def _remove(self, artifact: str | None) -> None:
        """Remove files that are needed no more; a cleaning finds them if the bucket is away."""
        if artifact is not None:
            with suppress(StorageUnavailable):
                self._tools.versions.remove(artifact)

    def _manifest(
        self, embedder: Embedder, fitted: FittedHead, metrics: Metrics, table: FeatureTable
    ) -> Manifest:
        spec = self._job.spec
        return Manifest(
            model=spec.model,
            job_id=self._job.job_id,
            backbone=embedder.info.name,
            backbone_digest=embedder.digest,
            dataset_digest=self._job.dataset_digest,
            recipe=fitted.recipe,
            seed=spec.seed,
            example_count=len(table.targets),
            class_names=table.targets.class_names,
            metrics=metrics,
            display_name=spec.display_name,
            tags=spec.tags,
            created=self._tools.now(),
            software=self._tools.software,
            runtime=embedder.runtime,
            stop_reason=fitted.stop_reason or "",
            fit_seconds=self._fit_seconds or self._progress.seconds(JobStep.FIT),
            task=table.targets.task,
            thresholds=tuple(fitted.head.thresholds.tolist()),
            parent=spec.parent_version or 0,
            added_count=self._job.example_count if self._job.added_count is None else self._job.added_count,
            removed_count=self._job.removed_count,
            note=fitted.note,
            requested_recipe=None if isinstance(spec.recipe, Auto) else spec.recipe,
            backbone_selection=self._choice,
            energy=self._tools.energy.so_far(self._measurement),
        )
