"""The composition root: creates each object of a server once, and passes it down."""

import os
import socket
import uuid
from contextlib import ExitStack
from importlib.metadata import version as package_version

import structlog
from threadpoolctl import threadpool_limits

from headstart_server.api.grpc.job_watcher import JobWatcher
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.app import configured
from headstart_server.app.backbone_catalog import catalog_of, default_backbone
from headstart_server.app.captures import open_captures
from headstart_server.app.data_folder import (
    emptied,
    open_database,
    open_feature_store,
    open_roots,
)
from headstart_server.app.data_lock import lock_data
from headstart_server.app.embedders import embedder_factory
from headstart_server.app.example_copies import ExampleCopies
from headstart_server.auth.authenticator import Authenticator
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.worker.optional_packages import trains_networks
from headstart_server.capture.batches import BatchFiles
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.database.address import address_of as database_address
from headstart_server.database.address import hosts
from headstart_server.datasets.batch_writer import BatchWriter
from headstart_server.datasets.dataset_catalog import DatasetCatalog, NamedExamples
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasedMembers, ErasureLog
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.datasets.example_reader import ExampleReader
from headstart_server.embedding.backbone_pool import BackbonePool, BackboneSource
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.waiters import Waiters
from headstart_server.errors import ServiceUnavailable
from headstart_server.evaluation.influence_models import InfluenceModels
from headstart_server.evaluation.promotion_check import PromotionCheck
from headstart_server.feedback.feedback_service import FeedbackService, StoredCaptures
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.feedback.retraining import RETRAIN_SECONDS, Retrainer, Retraining
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.claiming import ReplicaSettings
from headstart_server.jobs.heartbeat import Heartbeat, Lease
from headstart_server.jobs.job_control import JobControl
from headstart_server.jobs.job_counts import DataCounts, JobCounts
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_runner import JobRunner
from headstart_server.jobs.job_store import open_job_store
from headstart_server.jobs.poller import Poller
from headstart_server.jobs.quotas import TenantUsageGauge, tenant_limits
from headstart_server.jobs.reservations import Reservations
from headstart_server.jobs.workers import WorkerPool
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.traffic import Traffic
from headstart_server.observability.energy import EnergyMeter
from headstart_server.observability.power import counters, open_gpus
from headstart_server.observability.telemetry import Telemetry
from headstart_server.observability.trace_setting import open_tracing
from headstart_server.processes.engine_client import RemoteFeatureStore
from headstart_server.processes.part import WHOLE, Part
from headstart_server.processes.remote_backbones import EngineBackbones
from headstart_server.settings.groups import ObservabilityGroup, StorageGroup
from headstart_server.settings.job_groups import JobsGroup
from headstart_server.settings.settings import Settings
from headstart_server.storage.thumbnail_store import ThumbnailStore
from headstart_server.training.erasure_service import ErasureService, FitLimits
from headstart_server.training.feature_step import FeatureStep
from headstart_server.training.fine_tune import FineTuneRun, FineTuneSteps
from headstart_server.training.fit_step import FitStep
from headstart_server.training.progress import ProgressTools
from headstart_server.training.publish_step import PublishStep
from headstart_server.training.submission_service import open_submissions
from headstart_server.training.successor_publisher import SuccessorPublisher
from headstart_server.training.version_rebuilder import VersionRebuilder
from headstart_server.webhooks.policy import WebhookPolicy

log = structlog.get_logger(__name__)

#: The fraction of concurrent calls that may wait for a backbone, so that loaded ones stay reachable.
WAITING_SHARE = 4
#: Maximum training rows that are between archive and backbone at the same time.
TRAIN_WINDOW = 32


class Objects:
    """The objects of one server over one data folder.

    Args:
        settings: the settings of the server.
        source: provides the backbones; None uses the `Catalog`.
        closing: closes the opened objects, in reverse order.
        part: the part of the server that this process is.

    Raises:
        BlockingIOError: another server uses the data folder.
        BackboneNotFound: the default backbone is unknown.
        DeclarationError: the settings of a declared backbone are invalid.
    """

    def __init__(
        self,
        settings: Settings,
        source: BackboneSource | None,
        closing: ExitStack,
        part: Part = WHOLE,
    ) -> None:
        self.settings = settings
        self.part = part
        self.local_dir = part.folder(settings.storage.data_dir)
        # Solvers and heads run small products in many threads: more BLAS threads would only contend.
        threadpool_limits(1, user_api="blas")
        self._software = package_version("headstart")
        self._observe(settings.observability)
        self.authenticator = Authenticator(settings.auth.access_file)
        self.memory_bytes = configured.memory_bytes(settings)
        self.shared_bytes = configured.memory_share(self.memory_bytes, part)
        self._open_storage(settings.storage, closing)
        local = source or catalog_of(settings)
        self.source: BackboneSource = local
        if not part.runs_jobs:
            self.source = EngineBackbones(local, part.engine, processes=part.place.count)
        self.dataset_uris = configured.dataset_reader(settings)
        self._create_jobs(settings.jobs)
        self._create_embedding(settings, local, closing)
        self._create_training(settings)
        self._open_submissions(settings)
        self._create_feedback()
        self.exporter = configured.exporter(local, self.registry, emptied(self.local_dir / "exports"), part)
        self._create_erasures(settings.jobs)
        self.audit = configured.audit_log(settings.auth, part, closing)

    @property
    def is_alone(self) -> bool:
        """Whether no other process runs jobs on the same database."""
        return self.database.is_file

    def _stop_running(self, job_id: str) -> None:
        self.heartbeat.cancel(job_id)
        self.part.engine.note("cancel", job_id)

    def _wake_workers(self) -> None:
        self.workers.wake()
        self.part.engine.note("wake")

    def _observe(self, observability: ObservabilityGroup) -> None:
        self.telemetry = Telemetry(self._software)
        self.tracing = open_tracing(observability.trace_url, os.environ, self._software)
        # Only the engine measures GPUs.
        self.gpus = open_gpus() if self.part.runs_jobs else None
        self.energy = EnergyMeter(
            counters(self.gpus, watts_per_core=observability.cpu_watts_per_core),
            grid_gco2e_per_kwh=observability.grid_gco2_per_kwh,
        )

    def _open_storage(self, storage: StorageGroup, closing: ExitStack) -> None:
        part = self.part
        if not part.shares_data:
            lock_data(storage, closing)
        LOCATIONS.add(self.settings, hosts(database_address(storage.database_target)))
        self.roots = open_roots(storage, self.local_dir, part.share(storage.artifact_cache or 0))
        self.database = database = open_database(storage, self.roots, closing, is_shared=part.shares_data)
        self.versions = VersionStore(self.roots.versions)
        version_bytes = part.share(storage.version_cache_memory or 0)
        self.resident = ResidentVersions(version_bytes)
        self.datasets = DatasetStore(
            self.roots.datasets,
            configured.dataset_limits(self.settings.limits),
            ErasedMembers(database).among,
            label_bytes=self.shared_bytes,
        )
        self.archives = ArchiveRetention(database, self.datasets, max_bytes=storage.example_storage or 0)
        self.registry = Registry(database, self.versions, self.resident, on_deleted=self._sweep_archives)
        self.influence = InfluenceModels(
            self.registry,
            self.datasets.reader,
            window=TRAIN_WINDOW,
            max_bytes=version_bytes // 2,
        )
        thumbnail_bytes = part.share(storage.thumbnail_storage or 0)
        captured_bytes = thumbnail_bytes // 4
        thumbnails = ThumbnailStore(self.local_dir / "thumbnails", max_bytes=thumbnail_bytes - captured_bytes)
        self.captured_images = ThumbnailStore(
            self.local_dir / "captured-thumbnails", max_bytes=captured_bytes
        )
        self.catalog = DatasetCatalog(database, on_deleted=self._sweep_archives)
        self.named = NamedExamples(self.catalog, self.datasets)
        self.examples = ExampleReader(
            self.registry,
            self.catalog,
            self.datasets,
            thumbnails,
            max_pixels=self.settings.limits.max_pixels,
        )
        self.capture_files = BatchFiles(self.roots.captures)

    def _create_jobs(self, jobs: JobsGroup) -> None:
        limits, telemetry = self.settings.limits, self.telemetry
        self.notifier = JobNotifier()
        # A job whose backbone only other replicas have waits for one of them.
        names = None if self.is_alone else [info.name for info in self.source.list()]
        replica = ReplicaSettings(
            owner=f"{socket.gethostname()}/{uuid.uuid4().hex}",
            slots=jobs.job_workers,
            lease_seconds=jobs.lease_duration,
            memory_bytes=self.memory_bytes,
            backbones=names,
            trains_networks=names is None or trains_networks(),
        )
        self.job_store = open_job_store(
            self.database,
            self.registry,
            self.notifier,
            replica,
            limits=configured.queue_limits(limits),
            tenant_limits=tenant_limits(limits, self.authenticator),
            webhook=jobs.webhook_url,
            on_taken_over=telemetry.job_taken_over,
            on_claim_failed=telemetry.claim_failed,
        )
        self.job_control = JobControl(self.job_store.queue, self._stop_running, self._sweep_archives)
        self.captures = open_captures(
            self.database,
            self.capture_files,
            self.registry,
            self.job_store.quotas.tenant_limits,
            self.telemetry,
            images=self.captured_images,
            max_pixels=self.settings.limits.max_pixels,
        )
        self.batches = BatchWriter(self.database, self.datasets, self.job_store.quotas.tenant_limits)
        self.traffic = Traffic(self.database, self.job_store.queue.owner)
        self.usage = TenantUsageGauge(self.job_store.quotas.usage)
        self.job_counts = JobCounts(self.database)
        self.data_counts = DataCounts(self.database)
        self.heartbeat = Heartbeat(
            self.job_store.queue,
            self.job_store.runs,
            Lease(seconds=jobs.lease_duration, interval=jobs.heartbeat_interval),
            is_shared=not self.is_alone,
        )
        self.poller = Poller(self.job_store.reader, self.notifier, self.registry.index.sync)
        self.watcher = JobWatcher(self.job_store.reader, self.notifier)

    def _create_embedding(self, settings: Settings, local: BackboneSource, closing: ExitStack) -> None:
        part, storage = self.part, settings.storage
        self.cache = (
            FeatureCache(
                storage.feature_cache_memory or 0,
                open_feature_store(storage, self.telemetry, is_shared=self.database.is_shared),
                self.telemetry.cache_looked_up,
            )
            if part.runs_jobs
            # The engine has the features, and counts the lookups.
            else FeatureCache(0, RemoteFeatureStore(part.engine))
        )
        closing.callback(self.cache.close)
        self.pool = BackbonePool(
            self.source,
            embedder_factory(settings, self.cache, self.telemetry, part),
            default_backbone(local, settings.backbones.default_backbone),
            waiters=Waiters(
                max_calls=max(1, part.share(settings.limits.max_concurrent_requests) // WAITING_SHARE)
            ),
        )
        closing.callback(self.pool.close)

    def _create_training(self, settings: Settings) -> None:
        jobs, max_activation_bytes = settings.jobs, settings.limits.max_activation_size
        self.scratch = emptied(self.local_dir / "scratch")
        self.gate = PromotionCheck(self.registry, self.pool, self.datasets.reader, window=TRAIN_WINDOW)
        runs = self.job_store.runs
        self.steps = FineTuneSteps(
            reporting=ProgressTools(runs=runs, observer=self.telemetry, tracing=self.tracing),
            features=FeatureStep(
                self.datasets,
                self.pool,
                window=TRAIN_WINDOW,
                scratch=self.scratch,
                max_activation_bytes=max_activation_bytes,
                memory_bytes=self.memory_bytes,
            ),
            fitting=FitStep(self.versions, configured.matrices(settings.backbones)),
            publishing=PublishStep(runs, self.versions, self.gate, software=f"headstart {self._software}"),
            energy=self.energy,
        )
        self.reservations = Reservations(self.heartbeat, self.memory_bytes)
        self.workers = WorkerPool(
            self.job_store.queue,
            self.heartbeat,
            JobRunner(
                self.job_store.queue,
                runs,
                lambda job, checkpoint: FineTuneRun(job, self.steps, checkpoint),
                self.telemetry,
                tracing=self.tracing,
            ),
            lambda _: self._sweep_archives(),
            size=jobs.job_workers,
            time_limit=jobs.job_time_limit or float("inf"),
            reservations=self.reservations,
        )

    def _open_submissions(self, settings: Settings) -> None:
        jobs = settings.jobs
        self.webhooks = WebhookPolicy(
            jobs.allow_webhook, own=jobs.webhook_url, allow_private=jobs.allow_private_addresses
        )
        self.submissions = open_submissions(
            self.job_store,
            self.datasets,
            self.pool,
            self.registry,
            wake_workers=self._wake_workers,
            max_activation_bytes=settings.limits.max_activation_size,
            memory_bytes=self.memory_bytes,
            tracing=self.tracing,
            webhooks=self.webhooks,
            uris=self.dataset_uris,
            named=self.named,
        )

    def _create_feedback(self) -> None:
        store = FeedbackStore(self.database, self.job_store.quotas.tenant_limits)
        self.feedback = FeedbackService(
            store,
            self.registry,
            self.datasets,
            self.pool,
            captured=StoredCaptures(self.captures.stored),
            on_sent=self.telemetry.feedback_sent,
        )
        cleaner = self.job_store.cleaner
        self.retrainer = Retrainer(
            Retraining(
                store,
                self.registry,
                self.datasets,
                self.submissions,
                # The fence of the model's row prevents conflicts; the turn saves the other replicas the work.
                take_turn=lambda: (
                    not self.database.is_shared or cleaner.take_cleaning_turn("retrain", RETRAIN_SECONDS)
                ),
                on_considered=self.telemetry.retrain_considered,
            )
        )

    def _create_erasures(self, jobs: JobsGroup) -> None:
        self.copies = ExampleCopies(
            self.cache,
            self.influence,
            self.examples,
            self.exporter,
            self.roots.copies,
            ranking=self.captures.ranking,
            captured_images=self.captured_images,
        )
        self.capture_eraser = CaptureEraser(self.database, self.capture_files, self.copies.drop_captured)
        self.eraser = ExampleEraser(
            self.database, self.registry, self.datasets, self.copies.drop, self.capture_eraser
        )
        self.erasures = ErasureService(
            self.eraser,
            ErasureLog(self.database),
            VersionRebuilder(
                self.registry,
                self.datasets,
                self.pool,
                features=self.steps.features,
                fitting=self.steps.fitting,
                publishing=self.steps.publishing,
                memory_bytes=self.memory_bytes,
            ),
            SuccessorPublisher(ErasureLog(self.database), self.registry, self.versions, self.gate),
            ErasureClaims(self.database, owner=self.job_store.queue.owner, is_dead=self.heartbeat.is_dead),
            limits=FitLimits(
                threads=max(1, available_cores()),
                reservations=self.reservations,
                seconds=jobs.job_time_limit or float("inf"),
            ),
        )

    def _sweep_archives(self) -> None:
        """Remove unneeded examples; the next cleaning retries failed removals."""
        try:
            self.archives.sweep()
            self.usage.refresh()
        except ServiceUnavailable as error:
            log.warning("archive_cleanup_failed", error=error.detail)
        except Exception:
            log.exception("archive_cleanup_failed")
