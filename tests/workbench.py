"""The way of fine-tunes from upload to published version in one process, on a backbone without a network."""

from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fakes import FakeBackbone, FakeSource, JobDriver, ManualClock, Recorder
from headstart_server.datasets.batch_writer import BatchRequest, BatchWriter
from headstart_server.datasets.dataset_catalog import DatasetCatalog, NamedExamples
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasedMembers, ErasureLog
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.datasets.named_dataset import NamedDataset
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.queue import BatchSizes, LaneQueue
from headstart_server.evaluation.evaluator import Evaluator
from headstart_server.evaluation.promotion_check import PromotionCheck
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import Job
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList
from headstart_server.models.version import Selector, Version
from headstart_server.observability.energy import EnergyMeter
from headstart_server.observability.tracing import NO_TRACING, Tracing
from headstart_server.training.erasure_service import ErasureService, Execution, FitLimits
from headstart_server.training.feature_step import FeatureStep
from headstart_server.training.fine_tune import FineTuneRun, FineTuneSteps
from headstart_server.training.fit_step import FitStep
from headstart_server.training.preview_service import Validation
from headstart_server.training.progress import ProgressTools
from headstart_server.training.publish_step import PublishStep
from headstart_server.training.rebasing import RebaseService, RebaseSpec
from headstart_server.training.submission_service import SubmissionService, open_submissions
from headstart_server.training.successor_publisher import SuccessorPublisher
from headstart_server.training.version_rebuilder import VersionRebuilder


def pet(word: str, place: int, label: str | None = None, **fields: object) -> Example:
    """An example whose features lie close to those of the same word."""
    content = f"{word}:{place}".encode()
    return Example(content=content, target=Target.of_label(label or word), id=f"{word}{place}", **fields)


def pets(each: int = 6, words: Iterable[str] = ("cat", "dog", "emu"), start: int = 0) -> list[Example]:
    """Examples of some classes, `each` of every one."""
    return [pet(word, place) for place in range(start, start + each) for word in words]


class Workbench:
    """All that a fine-tune passes; jobs run when a test starts them.

    Args:
        folder: where files go.
        driver: the job store and the registry.
        backbones: further ones in addition to `fake`.
        limits: of datasets.
        kept_bytes: most bytes of examples kept for versions.
        loaded: whether backbones are loaded from the beginning.
    """

    def __init__(
        self,
        folder: Path,
        driver: JobDriver,
        *backbones: FakeBackbone,
        limits: DatasetLimits | None = None,
        kept_bytes: int = 1 << 30,
        loaded: bool = True,
    ) -> None:
        self.driver = driver
        self.registry = driver.publisher.registry
        self.seen = Recorder()
        self.backbone = FakeBackbone()
        self.cache = FeatureCache(1 << 20)
        self._batchers: list[Batcher] = []
        self.folder = folder / "datasets"
        erased = ErasedMembers(driver.publisher.database)
        self.datasets = DatasetStore(self.folder, limits or DatasetLimits(), erased.among)
        self.archives = ArchiveRetention(driver.publisher.database, self.datasets, max_bytes=kept_bytes)
        self.eraser = ExampleEraser(
            driver.publisher.database,
            self.registry,
            self.datasets,
            lambda digests, _: self.cache.remove(digests),
        )
        database = driver.publisher.database
        self.catalog = DatasetCatalog(database)
        self.batches = BatchWriter(database, self.datasets, driver.job_store.quotas.tenant_limits)
        self.named = NamedExamples(self.catalog, self.datasets)
        self.clock = ManualClock(0.0)
        self.source = FakeSource(self.backbone, *backbones)
        self.pool = BackbonePool(self.source, self._embedder, "fake")
        for name in ("fake", *(backbone.info.name for backbone in backbones)):
            if loaded:
                self.pool.load(name)
        self.submissions = self.open_submissions()
        self.rebasing = RebaseService(self.submissions, self.registry)
        self.bench = Evaluator(
            self.registry,
            self.pool,
            driver.job_store.reader.is_under_way,
            self.datasets.reader,
            limits=self.datasets.limits,
            window=5,
        )
        self.steps = FineTuneSteps(
            reporting=ProgressTools(runs=driver.job_store.runs, observer=self.seen, clock=self.clock),
            features=FeatureStep(
                self.datasets, self.pool, window=5, scratch=folder, max_activation_bytes=1 << 20
            ),
            fitting=FitStep(driver.publisher.store),
            publishing=PublishStep(
                driver.job_store.runs,
                driver.publisher.store,
                PromotionCheck(self.registry, self.pool, self.datasets.reader, window=5),
                software="headstart test",
                now=driver.clock,
            ),
            energy=EnergyMeter(()),
        )

    def open_submissions(self, tracing: Tracing = NO_TRACING) -> SubmissionService:
        """Return a service that accepts fine-tunes."""
        return open_submissions(
            self.driver.job_store,
            self.datasets,
            self.pool,
            self.registry,
            wake_workers=lambda: None,
            max_activation_bytes=1 << 20,
            tracing=tracing,
            named=self.named,
        )

    def erasure_service(
        self,
        threads: int = 1,
        *,
        memory_bytes: int | None = None,
        claims: Any = None,
        execution: Execution | None = None,
        **limits: Any,
    ) -> ErasureService:
        """Return the service of a new process that erases examples with rebuild."""
        database = self.driver.publisher.database
        log = ErasureLog(database)
        gate = PromotionCheck(self.registry, self.pool, self.datasets.reader, window=5)
        return ErasureService(
            self.eraser,
            log,
            VersionRebuilder(
                self.registry,
                self.datasets,
                self.pool,
                features=self.steps.features,
                fitting=self.steps.fitting,
                publishing=self.steps.publishing,
                memory_bytes=memory_bytes,
            ),
            SuccessorPublisher(log, self.registry, self.driver.publisher.store, gate),
            claims or ErasureClaims(database),
            limits=FitLimits(threads=threads, **limits),
            execution=execution,
        )

    def _embedder(self, backbone: FakeBackbone) -> Embedder:
        queue = LaneQueue(BatchSizes(4, 3))
        clock = self.clock

        def run(rows: NDArray[np.generic], cuts: Collection[str] = ()) -> dict[str, NDArray[np.float32]]:
            clock.advance(backbone.seconds)
            return backbone.run(rows, cuts)

        batcher = Batcher(run, queue, self.seen, clock=clock)
        batcher.start()
        self._batchers.append(batcher)
        return Embedder(backbone, batcher, self.cache, max_pending=10)

    def close(self) -> None:
        for batcher in self._batchers:
            batcher.close()

    def accept(self, examples: Sequence[Example] = (), *, request_id: str = "", **spec: object) -> Job:
        """Send a fine-tune; returns the accepted job."""
        upload = self.submissions.open(_spec(spec), request_id, validate_only=False)
        try:
            upload.add(examples)
            upload.gather()
            return upload.accept()
        finally:
            upload.close()

    def validate(self, examples: Sequence[Example] = (), **spec: object) -> Validation:
        """What `validate_only` finds."""
        upload = self.submissions.open(_spec(spec), "", validate_only=True)
        try:
            upload.add(examples)
            upload.gather()
            return upload.validate()
        finally:
            upload.close()

    def write(
        self, name: str, batch: int, examples: Sequence[Example], expected: bytes = b""
    ) -> NamedDataset:
        """Write a batch of a dataset."""

        def checksum(before: bytes) -> bytes:
            return sha256(before + b"".join(example.id.encode() for example in examples)).digest()

        request = BatchRequest(
            dataset=name, number=batch, examples=examples, checksum=checksum, expected=expected
        )
        return self.batches.write(request)

    def stored_dataset(self, name: str, *batches: Sequence[Example]) -> NamedDataset:
        """Create, write and finish a dataset."""
        self.catalog.create(name, {"display_name": "", "description": "", "tags": {}})
        for number, batch in enumerate(batches):
            self.write(name, number, batch)
        return self.catalog.finish(name)

    def run(self, job: Job | None = None, checkpoint: Callable[[], None] = lambda: None) -> int:
        """Run the next job to its version; returns the version's number."""
        return FineTuneRun(job or self.driver.claim(), self.steps, checkpoint).execute()

    def published(self, examples: Sequence[Example] = (), **spec: object) -> Version:
        """Fine-tune, and give the version."""
        model = self.accept(examples, **spec).spec.model
        return self.registry.reader.version(model, self.run())

    def rebase(
        self,
        request_id: str = "",
        *,
        model: str = "pets",
        version: int | None = None,
        source_alias: str | None = None,
        **spec: object,
    ) -> Job:
        """Have a version fitted again, by default the newest; returns the accepted job."""
        source = Selector(model=model, number=version, alias=source_alias)
        return self.rebasing.accept(RebaseSpec(source=source, **spec), request_id)

    def rebased(self, **spec: object) -> Version:
        """Fit a version again, and return the new one."""
        model = self.rebase(**spec).spec.model
        return self.registry.reader.version(model, self.run())

    def examples(self, version: Version) -> ExampleList:
        """The list of a version's examples."""
        found = self.registry.files.examples(version)
        assert found is not None
        return found

    def ids(self, version: Version) -> list[str]:
        return [example.id for example in self.examples(version).examples]

    def forget_features(self) -> None:
        """Take all features out of the cache, so that they are computed again."""
        digests = {
            example.digest
            for version in self.registry.reader.versions("pets", limit=1000)
            for example in self.examples(version).examples
        }
        self.cache.remove(digests)
        self.backbone.decoded.clear()

    def files(self) -> set[str]:
        """The jobs whose archives are there after a sweep."""
        self.archives.sweep()
        return {path.stem for path in self.folder.iterdir()}


def removals(*ids: str) -> tuple[ExampleEdit, ...]:
    """Edits that leave examples out."""
    return tuple(ExampleEdit(id=name, remove=True) for name in ids)


def _spec(fields: dict[str, object]) -> FineTuneSpec:
    return FineTuneSpec(**{"model": "pets", "backbone": "", **fields})
