"""A fine-tune: select the backbone if it is `auto`, extract features, fit, evaluate and publish."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headstart_server.auth.tenants import tenant_of
from headstart_server.embedding.cache import working_for
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.tails import VersionTail
from headstart_server.evaluation.paired_predictions import ComparedHead
from headstart_server.jobs.job import Findings, Job, JobStep, JobTrigger
from headstart_server.learning.features.feature_matrix import Float32
from headstart_server.learning.heads.recipe import Auto
from headstart_server.learning.metrics.backbone_selection import BackboneSelection
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.models.store import EXAMPLES_FILE, TAIL_FILE, encode_tail
from headstart_server.models.version import Manifest, TailFacts
from headstart_server.models.version_files import EVALUATION_FILE, encode_evaluation
from headstart_server.observability.energy import EnergyMeter, Measurement
from headstart_server.training.activations import JobActivations
from headstart_server.training.candidates import check_trainable_here
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureTable
from headstart_server.training.feature_step import FeatureStep
from headstart_server.training.fit_step import FitCheckpoint, FitStep
from headstart_server.training.progress import ProgressReporter, ProgressTools
from headstart_server.training.publish_step import PublishStep


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneSteps:
    """The steps of all fine-tunes of a server, without state of a single job."""

    reporting: ProgressTools
    features: FeatureStep
    fitting: FitStep
    publishing: PublishStep
    energy: EnergyMeter


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trained:
    """The results of a job's steps before the evaluation."""

    embedder: Embedder
    examples: ExampleList
    table: FeatureTable
    held_out: NDArray[np.bool_]
    made: FitCheckpoint
    tail: VersionTail | None
    own_views: Mapping[str, Float32]


class FineTuneRun:
    """One attempt at one job.

    Args:
        checkpoint: called between pieces of work; raises to stop.
    """

    def __init__(self, job: Job, steps: FineTuneSteps, checkpoint: Callable[[], None]) -> None:
        self._job = job
        self._steps = steps
        self._progress = ProgressReporter(job, steps.reporting, checkpoint)
        self._selection: BackboneSelection | None = None
        self._measurement = Measurement()

    @property
    def findings(self) -> Findings:
        """The findings so far, which are stored when the job ends in any way."""
        return replace(self._progress.findings, energy=self._steps.energy.so_far(self._measurement))

    def execute(self) -> int:
        """Run the job and return the number of its version; JobCancelledError or JobLostError end it."""
        tenant = tenant_of(self._job.spec.model)
        with working_for(tenant), self._steps.energy.measure() as self._measurement:
            # A server with Keras may have accepted the job before this one took its place.
            check_trainable_here(self._job.spec.recipe)
            features = self._steps.features
            self._selection = features.select(self._progress, self._steps.fitting.matrices)
            embedder = features.load(self._progress, self._selection)
            with features.activations(self._job.spec.recipe, self._job.job_id) as activations:
                trained = self._train(embedder, activations)
            return self._evaluate_and_publish(trained)

    def _train(self, embedder: Embedder, activations: JobActivations) -> _Trained:
        progress = self._progress
        with progress.step(JobStep.FEATURES):
            examples, table = self._steps.features.extract(embedder, activations, progress)
            held_out = table.held_out_mask(self._job.spec, progress.checkpoint)
        training = table.part(~held_out)
        made = self._steps.fitting.fit(
            embedder,
            training,
            activations,
            progress,
            lambda made: self._manifest(embedder, made, made.fitted.metrics, training),
        )
        tail = activations.tail(made.fitted.tail, self._job.spec.model)
        apart = table.part(held_out)
        own = activations.own_views(tail, embedder, apart.views, apart.digests, progress.checkpoint)
        return _Trained(
            embedder=embedder,
            examples=examples,
            table=table,
            held_out=held_out,
            made=made,
            tail=tail,
            own_views=own,
        )

    def _evaluate_and_publish(self, trained: _Trained) -> int:
        progress, table, fitted = self._progress, trained.table, trained.made.fitted
        with progress.step(JobStep.EVALUATE):
            result = evaluate_fit(
                fitted, table, trained.held_out, own=trained.own_views, checkpoint=progress.checkpoint
            )
            metrics = result.evaluation.metrics
            count = metrics.example_count
            progress.report(JobStep.EVALUATE, count, count, metrics, force=True)
            candidate = ComparedHead(
                head=fitted.head,
                tail=trained.tail,
                embedder=trained.embedder,
                known=replace(trained.examples, outcomes=result.outcomes),
            )
            promotion = self._steps.publishing.decide(candidate, progress)
            # The version's list has only the valid examples.
            analysis = replace(table, indexes=np.arange(len(table.examples))).analysis(
                fitted, trained.held_out, progress.checkpoint
            )
            evidence = analysis.files()
            findings = analysis.findings(
                seed=self._job.spec.seed,
                estimated_seconds=progress.seconds_so_far(),
                fault_count=progress.findings.excluded_count,
            )
        manifest = self._manifest(
            trained.embedder, trained.made, metrics, table.part(~trained.held_out), trained.tail
        )
        files = {
            EXAMPLES_FILE: candidate.known.to_bytes(),
            EVALUATION_FILE: encode_evaluation(result.evaluation, findings),
            **evidence,
            **({TAIL_FILE: encode_tail(fitted.tail)} if fitted.tail else {}),
        }
        publishing = self._steps.publishing
        number = publishing.publish(
            candidate, manifest, files, promotion, progress=progress, findings=lambda: self.findings
        )
        publishing.remove(progress.staged)
        observer = self._steps.reporting.observer
        observer.version_published(self._job.spec.model, number, metrics, manifest.example_count)
        return number

    def _manifest(
        self,
        embedder: Embedder,
        made: FitCheckpoint,
        metrics: Metrics,
        table: FeatureTable,
        tail: VersionTail | None = None,
    ) -> Manifest:
        spec, fitted = self._job.spec, made.fitted
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
            created=self._steps.publishing.now(),
            software=self._steps.publishing.software,
            runtime=embedder.runtime,
            stop_reason=fitted.stop_reason or "",
            fit_seconds=made.seconds,
            task=table.targets.task,
            thresholds=tuple(fitted.head.thresholds.tolist()),
            parent=spec.parent_version or 0,
            added_count=self._job.example_count if self._job.added_count is None else self._job.added_count,
            removed_count=self._job.removed_count,
            edited_count=self._job.edited_count,
            feedback_count=(self._job.added_count or 0) if self._job.trigger is JobTrigger.RETRAIN else 0,
            held_out_fraction=spec.held_out_fraction,
            note=fitted.note,
            requested_recipe=None if isinstance(spec.recipe, Auto) else spec.recipe,
            backbone_selection=self._selection,
            tail=None
            if fitted.tail is None or tail is None
            else TailFacts(blocks=fitted.tail.blocks, cut=tail.cut),
            energy=self._steps.energy.so_far(self._measurement),
        )
