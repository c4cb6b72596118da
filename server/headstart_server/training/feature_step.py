"""The first steps of a fine-tune: select the backbone if it is `auto`, and extract features."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import RowFeatures
from headstart_server.evaluation.batch_predictor import MAX_LISTED_FAULTS
from headstart_server.jobs.job import JobStep
from headstart_server.learning.examples.dataset import ExampleFault
from headstart_server.learning.features.matrices import Matrices
from headstart_server.learning.heads.recipe import Recipe, required_views
from headstart_server.learning.metrics.backbone_selection import BackboneSelection
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.training.activations import JobActivations
from headstart_server.training.backbone_selector import BackboneSelector
from headstart_server.training.candidates import check_recipe
from headstart_server.training.extraction import FeatureExtraction, FeatureTable, check_faults
from headstart_server.training.progress import ProgressReporter


class FeatureStep:
    """Computes the features of a job's examples.

    Args:
        window: maximum examples in flight between archive and backbone.
        scratch: folder for the files of running jobs; emptied at each start.
        max_activation_bytes: maximum bytes of one job's activations in it.
        memory_bytes: maximum memory of all jobs; None for no limit.
    """

    def __init__(
        self,
        datasets: DatasetStore,
        pool: BackbonePool,
        *,
        window: int,
        scratch: Path,
        max_activation_bytes: int,
        memory_bytes: int | None = None,
    ) -> None:
        self.window = window
        self._datasets = datasets
        self._pool = pool
        self._scratch = scratch
        self._max_activation_bytes = max_activation_bytes
        self._memory_bytes = memory_bytes

    def select(self, progress: ProgressReporter, matrices: Matrices) -> BackboneSelection | None:
        """Select the backbone, or return the selection of an earlier attempt; None if the spec names one."""
        if not progress.job.spec.selects_backbone:
            return None
        selector = BackboneSelector(
            progress, pool=self._pool, datasets=self._datasets, matrices=matrices, window=self.window
        )
        with progress.step(JobStep.SELECT_BACKBONE):
            return selector.select()

    def load(self, progress: ProgressReporter, selection: BackboneSelection | None) -> Embedder:
        """Load the backbone of a job. Raise InvalidField if it does not support the recipe."""
        spec = progress.job.spec
        name = spec.backbone if selection is None else selection.backbone
        embedder = self._pool.load(name, progress.checkpoint)
        # The backbone may not have been prepared yet when the job was accepted.
        check_recipe(embedder.info, spec.recipe)
        return embedder

    @contextmanager
    def activations(self, recipe: Recipe, name: str) -> Iterator[JobActivations]:
        """Provide the activations that a recipe needs; their folder is removed at the end of the block."""
        activations = JobActivations(recipe, self._max_activation_bytes, self._memory_bytes)
        with activations.folder(self._scratch, name):
            yield activations

    def extract(
        self, embedder: Embedder, activations: JobActivations, progress: ProgressReporter
    ) -> tuple[ExampleList, FeatureTable]:
        """Return the valid examples with features; raise UnusableExamplesError if too many are invalid."""
        job = progress.job
        views = required_views(job.spec.recipe, embedder.info.views)

        def keep(digest: str, row: RowFeatures) -> None:
            activations.add(digest, row.views)
            progress.add_seconds("decode", row.decoded)
            progress.add_seconds("backbone", row.ran / row.batch_rows)

        def report(done: int, total: int) -> None:
            progress.report(JobStep.FEATURES, done, total, force=done == total)

        with closing(progress.retry_until_available(lambda: self._datasets.open(job.job_id))) as dataset:
            extraction = FeatureExtraction(dataset, views, embedder.info.modality)
            extraction.run(
                embedder,
                window=self.window,
                checkpoint=progress.checkpoint,
                cuts=activations.begin(embedder.info, extraction.content_count),
                taken=keep,
                progress=report,
            )
        activations.finish()
        _record_faults(progress, extraction.faults)
        check_faults(job.spec, extraction.faults, len(dataset))
        table = extraction.table()
        return ExampleList(examples=table.examples, left_out=dataset.left_out), table


def _record_faults(progress: ProgressReporter, faults: Mapping[int, ExampleFault]) -> None:
    listed = [faults[index] for index in sorted(faults)]
    progress.findings = replace(
        progress.findings, excluded=tuple(listed[:MAX_LISTED_FAULTS]), excluded_count=len(listed)
    )
