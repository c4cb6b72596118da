"""A preview of a fine-tune without a job: features, a head and findings in its examples."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from headstart_server.backbones.contract.backbone import BackboneInfo
from headstart_server.datasets.dataset_store import Dataset, DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.dataset_features import CHECK_SECONDS
from headstart_server.errors import HeadstartError
from headstart_server.evaluation.batch_predictor import MAX_LISTED_FAULTS
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.examples.dataset import DatasetSummary, ExampleFault
from headstart_server.learning.examples.target_count import check_trainable
from headstart_server.learning.heads.fitting import fit
from headstart_server.learning.heads.recipe import Partial, quick_recipe, required_views
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.training.activations import check_room
from headstart_server.training.evaluation_result import evaluate_fit
from headstart_server.training.extraction import FeatureExtraction

#: Maximum examples in flight to the backbone during a validation.
PREVIEW_WINDOW = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewResult:
    """The preview of a fine-tune."""

    evaluation: Evaluation
    findings: DatasetFindings


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """The result of a validation."""

    valid: bool  # whether it would be accepted and not fail for its data
    example_count: int
    class_counts: dict[str, int]  # number of examples of each class, by name
    faults: tuple[ExampleFault, ...]  # invalid examples, at most 100
    fault_count: int  # number of invalid examples
    warnings: tuple[str, ...]  # conditions that do not fail it
    message: str  # why it is not valid; empty if it is
    # findings in the examples, and metrics of a version of them; None if it is not valid
    previewed: PreviewResult | None = None


class PreviewService:
    """Validates the examples of uploads without a job.

    Args:
        max_activation_bytes: maximum bytes of one job's activations.
    """

    def __init__(self, datasets: DatasetStore, pool: BackbonePool, *, max_activation_bytes: int) -> None:
        self._datasets = datasets
        self._pool = pool
        self._max_activation_bytes = max_activation_bytes
        self._turn = threading.Lock()

    def validate(
        self,
        spec: FineTuneSpec,
        job_id: str,
        summary: DatasetSummary,
        backbone: str,
        checkpoint: Callable[[], None],
    ) -> Validation:
        """Pass every stored example through the backbone, and fit a head if that is possible."""
        while True:
            try:
                return self._validated(spec, job_id, summary, backbone, checkpoint)
            except ExampleErasedError:
                # An example of the parent, which is left out now.
                checkpoint()

    def _validated(
        self,
        spec: FineTuneSpec,
        job_id: str,
        summary: DatasetSummary,
        backbone: str,
        checkpoint: Callable[[], None],
    ) -> Validation:
        embedder = self._pool.load(backbone, checkpoint)
        with closing(self._datasets.open(job_id)) as dataset:
            began = time.monotonic()
            # As a job would, so that the features stay cached for it.
            views = required_views(quick_recipe(spec.recipe), embedder.info.views)
            extraction = FeatureExtraction(dataset, views, embedder.info.modality)
            extraction.run(embedder, window=PREVIEW_WINDOW, checkpoint=checkpoint)
            verdict = self._verdict(spec, summary, dataset, extraction, embedder.info)
            if not verdict.valid:
                return verdict
            with self._fitting(checkpoint):
                return replace(verdict, previewed=_preview(spec, extraction, began, checkpoint))

    @contextmanager
    def _fitting(self, checkpoint: Callable[[], None]) -> Iterator[None]:
        """Fit one head at a time without a job, so that jobs and Predicts are not starved."""
        while not self._turn.acquire(timeout=CHECK_SECONDS):
            checkpoint()
        try:
            yield
        finally:
            self._turn.release()

    def _verdict(
        self,
        spec: FineTuneSpec,
        summary: DatasetSummary,
        dataset: Dataset,
        extraction: FeatureExtraction,
        info: BackboneInfo,
    ) -> Validation:
        faults = [extraction.faults[index] for index in sorted(extraction.faults)]
        allowed = spec.droppable(summary.example_count)
        message = ""
        if len(faults) > allowed:
            message = (
                f"{len(faults)} of {summary.example_count} examples cannot be used, and "
                f"max_excluded_fraction allows {allowed}."
            )
        else:
            try:
                kept = [dataset.examples[index] for index in extraction.usable]
                check_trainable((example.target, example.held_out) for example in kept)
                recipe = spec.recipe
                if isinstance(recipe, Partial):
                    cut = info.tails[recipe.blocks].cut
                    check_room(cut, extraction.content_count, self._max_activation_bytes)
            except HeadstartError as error:
                message = error.message
        return Validation(
            valid=not message,
            example_count=summary.example_count,
            class_counts=summary.class_counts,
            faults=tuple(faults[:MAX_LISTED_FAULTS]),
            fault_count=len(faults),
            warnings=tuple(_warnings(summary)),
            message=message,
        )


def _preview(
    spec: FineTuneSpec, extraction: FeatureExtraction, began: float, checkpoint: Callable[[], None]
) -> PreviewResult:
    """Fit a head and analyze the examples, which must be trainable."""
    table = extraction.table()
    held_out = table.held_out_mask(spec, checkpoint)
    trained = table.part(~held_out)
    fitted = fit(
        quick_recipe(spec.recipe),
        trained.views,
        trained.targets,
        trained.digests,
        seed=spec.seed,
        modality=table.modality,
        checkpoint=checkpoint,
    )
    evaluated = evaluate_fit(fitted, table, held_out, checkpoint=checkpoint)
    findings = table.analysis(fitted, held_out, checkpoint).findings(
        seed=spec.seed,
        estimated_seconds=time.monotonic() - began,
        fault_count=len(extraction.faults),
    )
    return PreviewResult(evaluation=evaluated.evaluation, findings=findings)


def _warnings(summary: DatasetSummary) -> list[str]:
    single = [name for name, count in summary.class_counts.items() if count == 1]
    if not single:
        return []
    return [
        f"{len(single)} of {len(summary.class_counts)} classes have a single example, such as {single[0]!r}: "
        "their accuracy cannot be estimated."
    ]
