"""The ports of a server: gRPC services on both ports, and the sender of webhooks."""

from collections.abc import Callable, Sequence
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

from headstart_server.addresses import host_and_port
from headstart_server.api.compat.compat_predictor import CompatPredictor
from headstart_server.api.compat.services import BoundService, services_of
from headstart_server.api.grpc.access import AccessCheck
from headstart_server.api.grpc.call import Context
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.caller import caller
from headstart_server.api.grpc.dataset_service import DatasetService
from headstart_server.api.grpc.evaluation_service import EvaluationService
from headstart_server.api.grpc.example_service import ExampleService
from headstart_server.api.grpc.executors import BoundedExecutor, CallThreads, Work
from headstart_server.api.grpc.fine_tuning_service import FineTuningService
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.grpc.messages.exports import report_document
from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.api.grpc.model_service import ModelService
from headstart_server.api.grpc.prediction_service import PredictionService
from headstart_server.api.grpc.rate_limits import address_of, rate_check
from headstart_server.api.grpc.requests.request_parsing import RequiredFieldsCheck
from headstart_server.api.grpc.review_service import ReviewService
from headstart_server.api.grpc.server_service import ServerService, server_info
from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.server import Server, ServerSettings
from headstart_server.app.build import TRAIN_WINDOW, Objects
from headstart_server.datasets.erasure_log import ErasureRecord, ErasureRequest
from headstart_server.datasets.example_archive import RetainedExamples
from headstart_server.datasets.example_eraser import Erasure
from headstart_server.evaluation.evaluator import Evaluator
from headstart_server.prediction.influence import InfluenceTurn
from headstart_server.prediction.prediction_monitor import SHADOW_ALIAS, PredictionMonitor
from headstart_server.prediction.predictor import Predictor
from headstart_server.prediction.recorder import PredictionRecorder
from headstart_server.prediction.version_resolver import VersionResolver
from headstart_server.report.reporter import Reporter
from headstart_server.training.rebasing import RebaseService

if TYPE_CHECKING:
    from headstart_server.api.http.port import HttpPort
    from headstart_server.webhooks.sender import WebhookSender


def grpc_server(objects: Objects) -> Server:
    """Bind the gRPC port, with all services.

    Raise OSError if the port is in use, or a TLS file cannot be read.
    """
    settings = objects.settings
    threads = CallThreads()
    executor = threads.of(Work.LONG)
    predictor = _predictor(objects, threads)
    services = [
        _fine_tuning(objects, threads),
        PredictionService(predictor),
        _models(objects, threads),
        EvaluationService(_bench(objects), executor, objects.named),
        ReviewService(
            objects.captures.stored,
            objects.captures.thumbnails,
            objects.captures.review_lists,
            objects.feedback,
            objects.pool,
            executor=executor,
        ),
        ExampleService(objects.examples, executor),
        DatasetService(
            objects.catalog,
            objects.batches,
            uploads=threads.of(Work.DATASET),
            removals=threads.of(Work.REMOVAL),
            retention=settings.jobs.open_dataset_retention,
        ),
        ServerService(
            server_info(settings, package_version("headstart")),
            objects.pool,
            objects.job_store.quotas.usage_of,
            authenticates=settings.auth.access_file is not None,
        ),
    ]
    compat = _compat_services(objects, predictor, executor)
    return Server(_server_settings(objects), _interceptor(objects), services, compat)


def _interceptor(objects: Objects) -> CallInterceptor:
    access = AccessCheck(
        objects.authenticator,
        lambda job_id: objects.job_store.reader.get(job_id).spec.model,
        objects.audit,
        audits_all=objects.settings.auth.audit_all,
    )
    rates = rate_check(objects.settings.limits, _counted_caller, objects.part.callers)
    checks = [access, RequiredFieldsCheck(), *([rates] if rates else [])]
    return CallInterceptor(CallObserver(objects.telemetry, objects.tracing), checks)


def http_port(objects: Objects, server: Server) -> "HttpPort | None":
    """Bind the HTTP port for the handlers of a gRPC server; return None if the port is off."""
    settings = objects.settings
    if settings.server.http_port is None:
        return None
    # Imported here: a server without the HTTP port does not need its packages.
    from headstart_server.api.http.body_storage import BodyStorage  # noqa: PLC0415
    from headstart_server.api.http.setup import PortSharing, open_http, upload_limits  # noqa: PLC0415
    from headstart_server.api.label_studio.contents import task_contents  # noqa: PLC0415
    from headstart_server.api.label_studio.label_studio import LabelStudio  # noqa: PLC0415

    contents = task_contents(settings, objects.dataset_uris)
    quotas = objects.job_store.quotas
    storage = BodyStorage(objects.scratch, lambda tenant: quotas.tenant_limits(tenant).stored_bytes)
    limits = upload_limits(settings, storage)
    label_studio = LabelStudio(server.in_process, limits, contents)
    part = objects.part
    sharing = PortSharing(
        is_shared=part.shares_data,
        max_calls=part.share(settings.limits.max_concurrent_requests),
        max_connections=part.share(settings.limits.max_connections),
    )
    return open_http(settings, server.in_process, limits, sharing, [label_studio])


def webhook_sender(objects: Objects) -> "WebhookSender | None":
    """Return the sender of webhooks; None if the settings have no secrets for it."""
    secrets = objects.settings.jobs.webhook_secret_file
    if secrets is None:
        return None
    # Imported here: a server that sends no webhooks does not need urllib3.
    try:
        from headstart_server.webhooks.sender import WebhookSender  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"--webhook needs the package {error.name}: pip install 'headstart[http]'."
        ) from error
    return WebhookSender(
        objects.database, objects.webhooks, secrets, objects.telemetry.webhook_attempted, body=webhook_body
    )


def _server_settings(objects: Objects) -> ServerSettings:
    settings, part = objects.settings, objects.part
    return ServerSettings(
        address=host_and_port(settings.server.host, settings.server.port),
        tls=tls_files(settings.tls),
        max_message_bytes=settings.limits.max_message_size,
        max_concurrent_calls=part.share(settings.limits.max_concurrent_requests),
        max_connections=part.share(settings.limits.max_connections),
        max_connection_age_seconds=settings.server.max_connection_age or 0.0,
        reflection=settings.server.reflection,
        shares_port=part.shares_data,
    )


def _predictor(objects: Objects, threads: CallThreads) -> Predictor:
    return Predictor(
        VersionResolver(
            objects.registry,
            objects.job_store.reader.is_under_way,
            load=threads.of(Work.LOAD).run,
        ),
        objects.pool,
        max_inputs=objects.settings.limits.max_inputs,
        max_input_bytes=objects.settings.limits.max_input_size,
        recorder=PredictionRecorder(
            objects.telemetry,
            traffic=objects.traffic,
            monitor=_monitor(objects),
            tracing=objects.tracing,
        ),
        influence=InfluenceTurn(objects.influence, threads.of(Work.INFLUENCE).run),
        capture=objects.captures.inputs,
    )


def _monitor(objects: Objects) -> PredictionMonitor | None:
    share = objects.settings.observability.monitor_sample_rate
    if not share:
        return None
    return PredictionMonitor(
        objects.registry, objects.telemetry, share=share, shadow_alias=SHADOW_ALIAS, traffic=objects.traffic
    )


def _bench(objects: Objects) -> Evaluator:
    return Evaluator(
        objects.registry,
        objects.pool,
        objects.job_store.reader.is_under_way,
        objects.datasets.reader,
        limits=objects.datasets.limits,
        window=TRAIN_WINDOW,
        memory_bytes=objects.shared_bytes,
    )


def _fine_tuning(objects: Objects, threads: CallThreads) -> FineTuningService:
    return FineTuningService(
        objects.submissions,
        RebaseService(objects.submissions, objects.registry),
        objects.job_store.reader,
        objects.job_store.forecast,
        watcher=objects.watcher,
        control=objects.job_control,
        threads=threads,
    )


def _models(objects: Objects, threads: CallThreads) -> ModelService:
    kept = RetainedExamples(objects.registry, objects.datasets.reader)
    max_pixels = objects.settings.limits.max_pixels
    return ModelService(
        objects.registry,
        objects.pool,
        Reporter(objects.registry, kept.contents, report_document, max_pixels=max_pixels),
        _erase_calls(objects),
        exporter=objects.exporter,
        threads=threads,
        check_webhook=objects.webhooks.check,
    )


def _erase_calls(objects: Objects) -> Callable[..., tuple[Erasure, ErasureRecord | None]]:
    """Return `ErasureService.erase`, with fits where the jobs run."""
    erasures, part = objects.erasures, objects.part

    def erase(request: ErasureRequest, *, rebuild: bool) -> tuple[Erasure, ErasureRecord | None]:
        if part.runs_jobs or not rebuild:
            return erasures.erase(request, rebuild=rebuild)
        call = part.engine.current().call
        erased: tuple[Erasure, ErasureRecord | None] = call("erase", request, checkpoint=erasures.check_open)
        objects.eraser.follower.drop_here()
        objects.registry.index.sync()
        return erased

    return erase


def _compat_services(
    objects: Objects, predictor: Predictor, executor: BoundedExecutor
) -> Sequence[BoundService]:
    return services_of(
        objects.settings.server.compat_protocols,
        CompatPredictor(predictor),
        objects.registry,
        objects.pool,
        executor,
    )


def _counted_caller(context: Context) -> str:
    """Return the key of a caller's rate limit: its name, or its address if the caller is not identified."""
    return caller().principal.name or address_of(context)
