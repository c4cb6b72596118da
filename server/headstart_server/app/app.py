"""The composition root: builds each object once, passes it down, and runs the server to its end."""

import asyncio
import fcntl
import gc
import math
import os
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

import structlog
from prometheus_client import start_http_server
from threadpoolctl import threadpool_limits

from headstart_server.api.compat.compat_predictor import CompatPredictor
from headstart_server.api.compat.services import services_of
from headstart_server.api.grpc.access import AccessInterceptor
from headstart_server.api.grpc.caller import caller
from headstart_server.api.grpc.dataset_manifest import read_dataset_list
from headstart_server.api.grpc.evaluation_service import EvaluationService
from headstart_server.api.grpc.executors import LOAD_THREADS, REMOVAL_THREADS, UPLOAD_THREADS, BoundedExecutor
from headstart_server.api.grpc.fine_tuning_service import FineTuningService
from headstart_server.api.grpc.job_watcher import JobWatcher
from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.api.grpc.messages.reports import report_document
from headstart_server.api.grpc.model_service import ModelService
from headstart_server.api.grpc.prediction_service import PredictionService
from headstart_server.api.grpc.rate_limits import address_of, rates_of
from headstart_server.api.grpc.redaction import LOCATIONS
from headstart_server.api.grpc.server_info import server_info
from headstart_server.api.grpc.server_service import ServerService
from headstart_server.api.grpc.telemetry_interceptor import CallInterceptor, Context
from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.server import Server, ServerSettings
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator
from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.contract.backbone import Backbone
from headstart_server.backbones.contract.cores import available_cores
from headstart_server.backbones.contract.runtimes import RuntimeKind, has_gpu, runtime_settings
from headstart_server.backbones.networks.declaration import Declaration, declared
from headstart_server.backbones.runtimes.keras_matrices import KerasMatrices
from headstart_server.backbones.sources.allowed_sources import check_sources
from headstart_server.backbones.worker.optional_packages import has_keras
from headstart_server.database.address import address_of as database_address
from headstart_server.database.address import hosts, sqlite_file
from headstart_server.database.database import PLACE as DATABASE_PLACE
from headstart_server.database.database import Database
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_archive import archive_name
from headstart_server.datasets.example_eraser import Forgetting, ForgottenPlaces
from headstart_server.datasets.retained_examples import KeptExamples
from headstart_server.datasets.uris.location import Kind
from headstart_server.datasets.uris.policy import data_policy
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.embedding.backbone_pool import BackbonePool, BackboneSource
from headstart_server.embedding.batcher import Batcher
from headstart_server.embedding.cache import FeatureCache
from headstart_server.embedding.cache_scope import shared_key, tenant_key
from headstart_server.embedding.embedder import Embedder
from headstart_server.embedding.feature_store import FeatureStore
from headstart_server.embedding.queue import Lane, LaneQueue
from headstart_server.embedding.sqlite_file import delete
from headstart_server.embedding.waiters import Waiters
from headstart_server.errors import (
    DatabaseUnavailable,
    ExportUnavailable,
    ServiceUnavailable,
    StorageFull,
    StorageUnavailable,
)
from headstart_server.evaluation.evaluator import MeasuringBench
from headstart_server.evaluation.promotion_gate import GateKeeper
from headstart_server.export.cache import ExportCache
from headstart_server.export.exporter import Exporter, ExportNetwork
from headstart_server.jobs.archive_retention import Archives
from headstart_server.jobs.cleaning import run_steps
from headstart_server.jobs.heartbeat import Heart, Lease
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_counts import JobCounts
from headstart_server.jobs.job_notifier import Changes
from headstart_server.jobs.ledger import Ledger
from headstart_server.jobs.limits import QueueLimits
from headstart_server.jobs.poller import Poller
from headstart_server.jobs.tenant_limits import TenantUsage, tenant_limits
from headstart_server.jobs.workers import WorkerPool
from headstart_server.learning.examples.dataset import DatasetLimits
from headstart_server.learning.features.matrices import DeviceError, Matrices
from headstart_server.learning.heads.ridge import NUMPY
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.traffic import Traffic
from headstart_server.observability import metrics
from headstart_server.observability.energy import EnergyMeter
from headstart_server.observability.power import Gpus, counters, gpu_gauges, open_gpus
from headstart_server.observability.telemetry import Telemetry, configure_logs, process_age
from headstart_server.observability.trace_setting import open_tracing
from headstart_server.prediction.prediction_monitor import PredictionMonitor
from headstart_server.prediction.predictor import Predictor
from headstart_server.report.reporter import Reporter
from headstart_server.settings.groups import StorageGroup
from headstart_server.settings.job_groups import BackbonesGroup, LimitsGroup
from headstart_server.settings.settings import Settings, is_loopback
from headstart_server.storage import failpoints
from headstart_server.storage.circuit_breaker import FULL_DISKS
from headstart_server.storage.disk import PLACE as ARTIFACTS_PLACE
from headstart_server.storage.disk import probe
from headstart_server.storage.storage_roots import StorageRoots, open_storage_roots
from headstart_server.training.fine_tune import FineTuneRun, FineTuneTools
from headstart_server.training.job_memory import memory_budget
from headstart_server.training.rebasing import Rebasing
from headstart_server.training.submission_service import Intake
from headstart_server.webhooks.policy import WebhookPolicy

if TYPE_CHECKING:
    from headstart_server.api.http.port import HttpPort
    from headstart_server.webhooks.sender import WebhookSender

log = structlog.get_logger(__name__)

#: Seconds between two writes of what was counted of the traffic.
TRAFFIC_SECONDS = 10.0
#: Seconds between two rounds of cleaning up.
CLEAN_SECONDS = 30.0
#: Seconds between two looks for files that belong to nothing, and the age from which on they go.
LEFTOVER_SECONDS = 3600.0
#: Seconds that a start waits for a database that is not there yet.
DATABASE_WAIT_SECONDS = 30.0

#: Bytes of exports that are kept, and the seconds after which each is made anew.
EXPORT_BYTES = 1 << 30
EXPORT_SECONDS = 3600.0

#: Maximum rows of a training batch. A Predict waits for one at most: some tens of milliseconds on a CPU.
TRAIN_SLICE = 8
#: The alias of each model's shadow.
SHADOW_ALIAS = "shadow"
#: Of this many concurrent calls one may wait for a backbone: loaded ones stay reachable.
WAITING_SHARE = 4
#: Seconds that calls get to end if the server stops before it served.
START_GRACE_SECONDS = 0.5
#: Seconds in which a server that stops sends its last traces.
TRACES_SECONDS = 3.0
#: Seconds that features wait to be written to disk: those that a killed server loses.
FEATURE_STORE_REST = 1.0

#: Datasets that are read at URIs at once; further ones wait.
GATHERINGS = 4

#: Training rows on their way from archive to backbone at once.
TRAIN_WINDOW = 32


class App:
    """One server over one data folder.

    Args:
        config: its settings.
        source: where its backbones come from; None takes the `Catalog`.

    Raises:
        BlockingIOError: another server uses the data folder.
        BackboneNotFound: there is no backbone of the default's name.
        DeclarationError: a declared backbone's settings are wrong.
    """

    def __init__(self, config: Settings, source: BackboneSource | None = None) -> None:
        #: What is open, to be closed in the reverse order.
        self._open = ExitStack()
        _arm_failpoints()
        try:
            self._build(config, source)
        except BaseException:
            self._open.close()
            raise

    def _build(self, config: Settings, source: BackboneSource | None) -> None:
        self._config = config
        # Solvers and heads are small products that many threads make at once: more BLAS threads only contend.
        threadpool_limits(1, user_api="blas")
        software = package_version("headstart")
        self.telemetry = Telemetry(software)
        self.tracing = open_tracing(config.observability.trace_url, os.environ, software)
        gpus = open_gpus()
        self._energy = EnergyMeter(
            counters(gpus, watts_per_core=config.observability.cpu_watts_per_core),
            grid_gco2e_per_kwh=config.observability.grid_gco2_per_kwh,
        )
        self._authenticator = Authenticator(config.auth.access_file)
        self._open.enter_context(_lock(config.storage.data_dir, "data", "--data-dir"))
        LOCATIONS.add(config, hosts(database_address(config.storage.database_target)))
        self._database = self._open_database()
        self._open.callback(self._database.close)
        roots = self._roots = self._checked_roots()
        self._versions = VersionStore(roots.versions)
        self._resident = ResidentVersions(config.storage.version_cache_memory or 0)
        self.datasets = DatasetStore(
            roots.datasets, _dataset_limits(config.limits), ForgottenPlaces(self._database).among
        )
        self.archives = Archives(self._database, self.datasets, max_bytes=config.storage.example_storage or 0)
        self.registry = Registry(
            self._database, self._versions, self._resident, on_deleted=self._sweep_archives
        )
        self.changes = Changes()
        source = source or Catalog(
            _declared(config.backbones),
            max_pixels=config.limits.max_pixels,
            runtimes=runtime_settings(config.backbones),
        )
        # Where others may have what this one has not, a job waits for one of them.
        names = [info.name for info in source.list()] if self._database.is_shared else None
        memory_bytes = self._memory_bytes = _memory_bytes(config)
        self.ledger = Ledger(
            self._database,
            self.registry,
            self.changes,
            owner=f"{socket.gethostname()}/{uuid.uuid4().hex}",
            limits=_queue_limits(config.limits),
            slots=config.jobs.job_workers,
            lease_seconds=config.jobs.lease_duration,
            on_taken_over=self.telemetry.job_taken_over,
            on_claim_failed=self.telemetry.claim_failed,
            webhook=config.jobs.webhook_url,
            memory_bytes=memory_bytes,
            backbones=names,
            trains_networks=names is None or has_keras(),
            tenant_limits=tenant_limits(config.limits, self._authenticator),
        )
        self._traffic = Traffic(self._database, self.ledger.owner)
        self._usage = TenantUsage(self.ledger.usage)
        self._job_counts = JobCounts(self._database)
        lease = Lease(seconds=config.jobs.lease_duration, beat=config.jobs.heartbeat_interval)
        self._heart = Heart(self.ledger, lease, is_shared=self._database.is_shared)
        self._poller = Poller(self.ledger, self.changes, self.registry.sync)
        self._cache = FeatureCache(
            config.storage.feature_cache_memory or 0,
            _feature_store(config.storage, self.telemetry),
            self.telemetry.cache_looked_up,
        )
        self._open.callback(self._cache.close)
        self._copies = roots.copies
        self._forgetting = Forgetting(self._database, self.registry, self.datasets, self._drop_contents)
        waiters = Waiters(max_calls=max(1, config.limits.max_concurrent_requests // WAITING_SHARE))
        self.pool = BackbonePool(source, self._embedder, config.backbones.default_backbone, waiters=waiters)
        self._open.callback(self.pool.close)
        tools = FineTuneTools(
            ledger=self.ledger,
            datasets=self.datasets,
            pool=self.pool,
            versions=self._versions,
            observer=self.telemetry,
            gate=GateKeeper(self.registry, self.pool, self.datasets.reader, window=TRAIN_WINDOW),
            window=TRAIN_WINDOW,
            scratch=_emptied(config.storage.data_dir / "scratch"),
            max_activation_bytes=config.limits.max_activation_size,
            memory_bytes=memory_bytes,
            software=f"headstart {software}",
            matrices=_matrices(config.backbones),
            tracing=self.tracing,
            energy=self._energy,
        )
        self.workers = WorkerPool(
            self.ledger,
            self._heart,
            lambda job, checkpoint: FineTuneRun(job, tools, checkpoint),
            lambda _: self._sweep_archives(),
            self.telemetry,
            size=config.jobs.job_workers,
            time_limit=config.jobs.job_time_limit or float("inf"),
            tracing=self.tracing,
        )
        webhooks = WebhookPolicy(
            config.jobs.allow_webhook,
            own=config.jobs.webhook_url,
            allow_private=config.jobs.allow_private_addresses,
        )
        self.intake = Intake(
            self.ledger,
            self.datasets,
            self.pool,
            self.registry,
            self.workers.wake,
            max_activation_bytes=tools.max_activation_bytes,
            memory_bytes=memory_bytes,
            tracing=self.tracing,
            webhooks=webhooks,
            data=_data(config),
        )
        self._webhook_sender = self._sender(webhooks)
        self._watcher = JobWatcher(self.ledger, self.changes)
        self.exporter = Exporter(
            self.registry,
            _export_network(source),
            ExportCache(
                _emptied(config.storage.data_dir / "exports"),
                max_bytes=EXPORT_BYTES,
                max_seconds=EXPORT_SECONDS,
            ),
        )
        self._audit = None
        if config.auth.audit_log:
            self._audit = AuditLog(
                config.auth.audit_log, unauthenticated_rate=int(config.auth.audit_unauthenticated_rate or 0)
            )
            self._open.callback(self._audit.close)
        self._add_gauges(gpus)

    def _checked_roots(self) -> StorageRoots:
        config = self._config
        roots = open_storage_roots(
            config.storage.artifacts,
            config.storage.data_dir,
            copies_bytes=config.storage.artifact_cache or 0,
            own_database=config.storage.database is None,
        )
        roots.check_recorded(self._database)
        _check(roots, self._database.identity)
        return roots

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Serve until told to stop by SIGTERM, SIGINT or the event; then stop gracefully.

        Raises:
            OSError: a port is in use, or a TLS file cannot be read.
            BackboneUnavailable: the default backbone cannot be prepared or loaded.
        """
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(32, "store"))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if self._audit is not None:
            loop.add_signal_handler(signal.SIGHUP, self._audit.reopen)
        _warn(self._config)
        self._http: HttpPort | None = None
        try:
            self._take_over_at_once()
            # First: a gRPC server that was made has to be stopped.
            self._serve_metrics()
            server = self._server()
        except BaseException:
            self._open.close()
            raise
        grace = min(START_GRACE_SECONDS, self._config.server.grace_period)
        tasks: list[asyncio.Task[object]] = []
        try:
            await self._start(server)
            stopping = asyncio.create_task(stop.wait())
            warming = asyncio.create_task(self._warm(server))
            tasks += [stopping, warming, asyncio.create_task(self._clean_repeatedly())]
            tasks.append(asyncio.create_task(self._write_traffic_repeatedly()))
            await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                grace = self._config.server.grace_period
                await stopping
        finally:
            for task in tasks:
                task.cancel()
            await self._stop(server, grace)

    async def _start(self, server: Server) -> None:
        self._http = self._http_port(server)
        await server.start()
        if self._http is not None:
            self._http.start()
            log.info("http_listening", address=f"{self._config.server.host}:{self._http.port}")
        self._heart.start()
        self._poller.start()
        if self._webhook_sender is not None:
            self._webhook_sender.start()
        self.workers.start()
        self.port = server.port
        log.info("backbone_loading", backbone=self.pool.default)
        log.info(
            "listening",
            address=f"{self._config.server.host}:{server.port}",
            data_dir=str(self._config.storage.data_dir),
        )

    async def _stop(self, server: Server, grace: float) -> None:
        log.info("stopping", grace_seconds=grace)
        try:
            await self._stop_serving(server, grace)
        finally:
            self._open.close()
        log.info("stopped")

    async def _stop_serving(self, server: Server, grace: float) -> None:
        self.intake.close()
        await server.set_serving(False)
        self._watcher.drain()
        # Jobs give themselves back at their next batch while the last calls end.
        workers = asyncio.create_task(asyncio.to_thread(self.workers.stop, grace))
        # Nobody waits minutes for a backbone that is being prepared.
        self.pool.stop_loading()
        await server.stop(grace, None if self._http is None else self._http.stop)
        await workers
        await asyncio.to_thread(self._leave)
        await asyncio.to_thread(self.tracing.close, TRACES_SECONDS)

    def _leave(self) -> None:
        if self._webhook_sender is not None:
            self._webhook_sender.stop()
        self._poller.stop()
        self._heart.stop()
        with suppress(DatabaseUnavailable, StorageFull):
            self._traffic.write()
            self.ledger.leave()

    def cancel(self, job_id: str) -> Job:
        """Cancel a job wherever it stands.

        Raises:
            JobNotFound: there is no such job.
        """
        job = self.ledger.cancel(job_id)
        if job.state is JobState.RUNNING:
            self._heart.cancel(job_id)
        else:
            self._sweep_archives()
        return job

    def _sweep_archives(self) -> None:
        """Remove the examples that are needed no more; what fails is left to the next cleaning."""
        try:
            self.archives.sweep()
            self._usage.refresh()
        except ServiceUnavailable as error:
            log.warning("archive_cleanup_failed", error=error.detail)
        except Exception:
            log.exception("archive_cleanup_failed")

    def _drop_contents(self, digests: Collection[str], archives: Collection[str]) -> None:
        """Remove what this machine keeps of deleted examples."""
        self._cache.remove(digests)
        if self._copies is not None:
            for archive in archives:
                self._copies.remove(archive_name(archive))

    def _open_database(self) -> Database:
        target = self._config.storage.database_target
        file = sqlite_file(target)
        if file is not None and self._config.storage.database_url is not None:
            # One server for each SQLite file, whatever the data folders.
            self._open.enter_context(_lock(file.parent, "database", "--database", f"{file.name}.lock"))
        deadline, cause = time.monotonic() + DATABASE_WAIT_SECONDS, ""
        while True:
            try:
                return Database(target)
            except DatabaseUnavailable as error:
                # Whoever starts database and server together must not have to start them in order.
                if time.monotonic() > deadline:
                    raise OSError(
                        f"The database does not answer: {error.detail.rstrip('.')}. Waited "
                        f"{DATABASE_WAIT_SECONDS:.0f} seconds. Start the database, or correct --database."
                    ) from error
                if error.detail != cause:
                    cause = error.detail
                    log.warning(
                        "waiting_for_database",
                        error=cause,
                        remedy="Start the database, or correct --database.",
                        wait_seconds=round(deadline - time.monotonic()),
                    )
                time.sleep(1.0)

    def _take_over_at_once(self) -> None:
        """Take up what a server that died left behind in an SQLite file: this one is alone with it.

        With a shared database it is told from what the living are at work on by its lease.
        """
        with suppress(DatabaseUnavailable):
            self._usage.refresh()
        if self._database.is_shared:
            return
        left = self.ledger.expire_leases()
        if left:
            log.warning("interrupted_jobs_found", jobs=left)
        self.ledger.recount_usage()
        try:
            self._remove_leftovers(older_than=0.0)
        except StorageUnavailable as error:
            log.warning("cleanup_postponed", error=error.detail)

    async def _warm(self, server: Server) -> None:
        # The pool loads in a daemon thread: a download may take minutes, and the server can stop meanwhile.
        embedder = await self.pool.ready(partial(self.pool.get, ""), None)
        # What is there by now stays: a full collection would look through all of it, for a tenth of a second,
        # whenever a request makes many objects.
        gc.collect()
        gc.freeze()
        await server.set_serving(True)
        seconds = round(process_age(), 2)
        self.telemetry.began_to_serve(seconds)
        log.info(
            "serving",
            backbone=self.pool.default,
            runtime=embedder.runtime,
            seconds_since_start=seconds,
        )
        # Another daemon thread, for the same reason.
        threading.Thread(target=self.pool.prepare_all, name="prepare", daemon=True).start()

    async def _write_traffic_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(TRAFFIC_SECONDS)
            # What cannot be written now is written the next time.
            with suppress(DatabaseUnavailable, StorageFull):
                await asyncio.to_thread(self._traffic.write)

    async def _clean_repeatedly(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_SECONDS)
            await asyncio.to_thread(self._clean)

    def _clean(self) -> None:
        """Clean up what is this process's own, and what is all replicas' if it is its turn."""
        run_steps(
            {
                "energy": self._energy.update,
                "disks": self._probe_disks,
                "audit_log": self._audit.flush_omitted if self._audit is not None else None,
                "erased_examples": self._forgetting.drop_here,
                "exports": self.exporter.sweep,
                "usage": self._usage.refresh,
                "jobs": self._job_counts.refresh,
                "rows": self._clean_rows,
                "files": self._clean_files,
            }
        )

    def _clean_rows(self) -> None:
        if not self.ledger.may_clean("rows", CLEAN_SECONDS):
            return
        run_steps(
            {
                "expired_versions": self.registry.delete_expired,
                # An archive without an example is written before the old one goes. What follows makes room.
                "erased_examples": self._forgetting.carry_out,
                "archives": self.archives.sweep,
                "traffic": self._traffic.clean,
                "old_jobs": partial(self.ledger.forget, self._config.jobs.job_retention),
            }
        )

    def _clean_files(self) -> None:
        if not self.ledger.may_clean("files", LEFTOVER_SECONDS):
            return
        run_steps(
            {
                "usage": self.ledger.recount_usage,
                "leftovers": partial(self._remove_leftovers, older_than=LEFTOVER_SECONDS),
            }
        )

    def _probe_disks(self) -> None:
        for folder in {self._config.storage.data_dir, *self._roots.folders}:
            probe(folder)

    def _remove_leftovers(self, *, older_than: float) -> None:
        # Again, for it could not be looked at if the bucket was away at the start.
        self._roots.claim(self._database.identity)
        datasets = self.archives.recover(older_than=older_than)
        versions = self.registry.remove_leftovers(self.ledger.unfinished, older_than=older_than)
        if datasets or versions:
            log.info("orphaned_files_removed", datasets=datasets, versions=versions)

    def _embedder(self, backbone: Backbone) -> Embedder:
        config, name = self._config, backbone.info.name
        cores = available_cores()
        # On a CPU one more than the cores: it goes on while another waits for the interpreter's lock.
        threads = max(cores + 1, backbone.streams) if backbone.stream_per_core else cores + backbone.streams
        share = config.jobs.train_share
        queue = LaneQueue(
            max_batch=backbone.batch,
            train_slice=min(backbone.batch, TRAIN_SLICE),
            streams=backbone.streams,
            train_share=share,
            # Rounded up: fewer turns at once than that could never reach the share.
            train_turns=max(1, math.ceil(share * threads)),
            max_delay=config.backbones.batch_delay,
            pairing=backbone.stream_per_core,
            most_rows=backbone.most_rows,
        )
        batcher = Batcher(backbone.run, queue, self.telemetry, threads=threads, name=f"backbone-{name}")
        batcher.start()
        return Embedder(
            backbone,
            batcher,
            self._cache,
            max_pending=config.limits.max_pending_inputs,
            cache_predictions=config.storage.cache_predictions,
            cache_key=tenant_key if config.storage.isolate_feature_cache else shared_key,
        )

    def _server(self) -> Server:
        config = self._config
        settings = ServerSettings(
            address=f"{config.server.host}:{config.server.port}",
            tls=tls_files(config.tls),
            max_message_bytes=config.limits.max_message_size,
            max_concurrent_calls=config.limits.max_concurrent_requests,
            max_connections=config.limits.max_connections,
            max_connection_age_seconds=config.server.max_connection_age or 0.0,
            reflection=config.server.reflection,
        )
        predictor = Predictor(
            self.registry,
            self.pool,
            self.ledger.is_under_way,
            max_inputs=config.limits.max_inputs,
            onlooker=self._onlooker(),
            traffic=self._traffic,
            load=BoundedExecutor(LOAD_THREADS).run,
        )
        bench = MeasuringBench(
            self.registry,
            self.pool,
            self.ledger.is_under_way,
            self.datasets.reader,
            limits=self.datasets.limits,
            window=TRAIN_WINDOW,
        )
        kept = KeptExamples(self.registry, self.datasets.reader)
        reporter = Reporter(
            self.registry, kept.contents, report_document, max_pixels=config.limits.max_pixels
        )
        executor, removals = BoundedExecutor(), BoundedExecutor(REMOVAL_THREADS)
        return Server(
            settings,
            CallInterceptor(self.telemetry, self.tracing),
            AccessInterceptor(
                self._authenticator,
                lambda job_id: self.ledger.get(job_id).spec.model,
                self._audit,
                audits_all=config.auth.audit_all,
            ),
            fine_tuning=FineTuningService(
                self.intake,
                Rebasing(self.intake, self.registry),
                self.ledger,
                watcher=self._watcher,
                cancel=self.cancel,
                executor=executor,
                gathering=BoundedExecutor(GATHERINGS),
                uploads=BoundedExecutor(UPLOAD_THREADS),
                removals=removals,
            ),
            prediction=PredictionService(predictor, self.telemetry, tracing=self.tracing),
            models=ModelService(
                self.registry,
                self.pool,
                reporter,
                self._forgetting.forget,
                executor,
                exporter=self.exporter,
                removals=removals,
                traffic=self._traffic,
            ),
            evaluation=EvaluationService(bench, executor),
            about=ServerService(
                server_info(config, package_version("headstart")),
                self.pool,
                self.ledger.usage_of,
                authenticates=config.auth.access_file is not None,
            ),
            rates=rates_of(config.limits, _who),
            further=services_of(
                config.server.compat_protocols,
                CompatPredictor(predictor, self.telemetry, tracing=self.tracing),
                self.registry,
                self.pool,
                executor,
            ),
        )

    def _onlooker(self) -> PredictionMonitor | None:
        share = self._config.observability.monitor_sample_rate
        if not share:
            return None
        return PredictionMonitor(
            self.registry,
            self.telemetry,
            share=share,
            shadow_alias=SHADOW_ALIAS,
            traffic=self._traffic,
        )

    def _sender(self, policy: WebhookPolicy) -> "WebhookSender | None":
        secrets = self._config.jobs.webhook_secret_file
        if secrets is None:
            return None
        # Imported here: a server that sends none does without urllib3.
        try:
            from headstart_server.webhooks.sender import WebhookSender  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"--webhook needs the package {error.name}: pip install 'headstart[http]'."
            ) from error
        return WebhookSender(self._database, policy, secrets, self.telemetry.webhook_tried, body=webhook_body)

    def _http_port(self, server: Server) -> "HttpPort | None":
        config = self._config
        if config.server.http_port is None:
            return None
        # Imported here: a server without the port does without its packages.
        from headstart_server.api.http.setup import open_http  # noqa: PLC0415

        return open_http(config, server.methods)

    def _serve_metrics(self) -> None:
        host, port = self._config.server.host, self._config.metrics_port
        if port is None:
            return
        try:
            server, _ = start_http_server(port, host, registry=self.telemetry.registry)
        except OSError as error:
            raise OSError(
                f"Cannot listen on {host}:{port} for metrics: {error.strerror}. "
                "Choose another --metrics-port."
            ) from error
        self.metrics_port = server.server_port
        log.info("metrics_listening", address=f"{host}:{self.metrics_port}/metrics")

    def _add_gauges(self, gpus: Gpus | None) -> None:
        read = self.telemetry.read
        usage = self._usage
        if self._config.auth.access_file is not None:
            read(metrics.TENANT_BYTES, usage.nbytes)
            read(metrics.TENANT_VERSIONS, usage.versions)
        for metric, values in ({} if gpus is None else gpu_gauges(gpus)).items():
            read(metric, values)
        read(metrics.ENERGY, self._energy.totals)
        cores = float(available_cores())
        read(metrics.CPU_CORES, lambda: cores)
        read(metrics.QUEUE_DEPTH, self._queued_rows)
        read(metrics.JOBS, self._job_counts)
        read(metrics.DATABASE_AVAILABLE, lambda: float(self._database.is_available))
        read(metrics.STORAGE_AVAILABLE, lambda: float(self._roots.is_available))
        read(metrics.JOB_MEMORY, lambda: float(self._heart.used_bytes))
        if (limit := self._memory_bytes) is not None:
            read(metrics.JOB_MEMORY_LIMIT, lambda: float(limit))
        read(metrics.DISK_FULL, lambda: FULL_DISKS.states((ARTIFACTS_PLACE, DATABASE_PLACE)))
        read(
            metrics.MEMORY,
            lambda: {"feature_cache": self._cache.nbytes, "version_cache": self._resident.nbytes},
        )
        read(
            metrics.DISK,
            lambda: {"feature_cache": self._cache.disk_nbytes, "examples": usage.example_bytes},
        )
        read(metrics.RESIDENT_VERSIONS, lambda: float(len(self._resident)))

    def _queued_rows(self) -> dict[str, float]:
        embedders = self.pool.all_loaded()
        return {lane.value: sum(embedder.waiting(lane) for embedder in embedders) for lane in Lane}


def _who(context: Context) -> str:
    """Whose calls are counted together: a known caller's, wherever they come from, else an address'."""
    return caller().principal.name or address_of(context)


def serve(config: Settings, source: BackboneSource | None = None, *, warnings: Iterable[str] = ()) -> None:
    """Run a server in this process until it is stopped.

    Args:
        config: its settings.
        source: where its backbones come from; None takes the `Catalog`.
        warnings: about the settings, for the log.

    Raises:
        Exception: as `App` and `App.run`.
    """
    format = config.observability.log_format
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    configure_logs(level=config.observability.log_level, json=as_json)
    for warning in warnings:
        log.warning("unknown_setting", message=warning)
    asyncio.run(App(config, source).run())


def _lock(data: Path, kind: str, flag: str, name: str = "lock") -> IO[str]:
    """Hold a folder for this process: SQLite takes one server only, and so does the file of features."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / name).open("w")
    except OSError as error:
        raise OSError(
            f"Cannot use {data} as the {kind} folder: {error.strerror}. Choose another with "
            f"{flag}, or give this user the right to write there."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise BlockingIOError(
            f"Another headstart-server uses the {kind} folder {data}. Stop it, or choose another with {flag}."
        ) from None
    return file


def _warn(config: Settings) -> None:
    """Log which protection is missing on the ports that other machines reach."""
    host = config.server.host
    if is_loopback(host):
        return
    if config.auth.access_file is None:
        log.warning(
            "authentication_disabled",
            message=f"Without --access-file, every caller that reaches --host {host} may do everything.",
        )
    elif config.tls.tls_cert is None:
        log.warning(
            "plaintext_tokens",
            message=f"Callers send tokens to --host {host} without TLS. Use --tls-cert and --tls-key, or a "
            "mesh that encrypts the traffic.",
        )


def _arm_failpoints() -> None:
    """Arm the failpoints of the environment, and warn that the process will kill itself: only tests want it.

    Raises:
        ValueError: the variable has another form.
    """
    points = os.environ.get(failpoints.VARIABLE, "")
    failpoints.arm(points)
    if points:
        log.warning("failpoints_armed", points=points, remedy=f"Unset {failpoints.VARIABLE}.")


def _check(roots: StorageRoots, database: str) -> None:
    """Say at the start that a bucket cannot be used, and start all the same: it may be back in a minute."""
    try:
        roots.check(database)
    except StorageUnavailable as error:
        log.warning("storage_check_failed", error=error.detail)


def _emptied(folder: Path) -> Path:
    """A folder without what an earlier start may have left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _export_network(source: BackboneSource) -> ExportNetwork:
    if isinstance(source, Catalog):
        return source.export

    def refuse(backbone: str, *_: object) -> None:
        raise ExportUnavailable(f"Expected a backbone that can be exported. Received: '{backbone}'.")

    return refuse


def _data(config: Settings) -> DatasetReader | None:
    """What reads datasets at URIs; None where none is allowed."""
    if not config.jobs.allow_dataset_uri:
        return None
    policy = data_policy(
        config, sqlite_file(config.storage.database_url) if config.storage.database_url else None
    )
    if Kind.WEB in policy.kinds and find_spec("urllib3") is None:
        raise ModuleNotFoundError(
            "--allow-dataset-uri https:// needs the package urllib3: pip install 'headstart[http]'."
        )
    return DatasetReader(policy, read_dataset_list, max_input_bytes=config.limits.max_input_size)


def _feature_store(storage: StorageGroup, telemetry: Telemetry) -> FeatureStore | None:
    path = storage.data_dir / "features.sqlite3"
    if storage.feature_cache_disk:
        return FeatureStore(
            path,
            storage.feature_cache_disk,
            telemetry.cache_writes_dropped,
            rest=FEATURE_STORE_REST,
        )
    # Of an earlier start.
    delete(path)
    return None


def _declared(backbones: BackbonesGroup) -> list[Declaration]:
    found = declared(backbones.backbones_file, backbones.backbone)
    check_sources(found, backbones.allow_backbone)
    return found


def _matrices(backbones: BackbonesGroup) -> Matrices:
    """Keras' device where it is a GPU: on a CPU numpy is as fast, and leaves the cores to the backbones."""
    on_gpu = has_gpu() and runtime_settings(backbones).settled().kind is RuntimeKind.KERAS
    return KerasMatrices(DeviceError) if on_gpu else NUMPY


def _memory_bytes(config: Settings) -> int | None:
    """Return the bytes of memory of all jobs; None if unknown."""
    caches = (config.storage.feature_cache_memory or 0) + (config.storage.version_cache_memory or 0)
    return memory_budget(config.jobs.job_memory, caches)


def _queue_limits(limits: LimitsGroup) -> QueueLimits:
    return QueueLimits(
        queued=limits.max_queued_jobs,
        queued_per_tenant=limits.max_queued_jobs_per_tenant or 0,
        running=limits.max_running_jobs or 0,
        running_per_tenant=limits.max_running_jobs_per_tenant or 0,
        versions_per_model=limits.max_versions_per_model or 0,
    )


def _dataset_limits(limits: LimitsGroup) -> DatasetLimits:
    return DatasetLimits(
        max_examples=limits.max_examples,
        max_bytes=limits.max_dataset_size,
        max_input_bytes=limits.max_input_size,
        max_classes=limits.max_classes,
    )
