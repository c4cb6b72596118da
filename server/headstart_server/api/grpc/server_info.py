"""The description of a server: its release, limits and features."""

from headstart.v1 import server_service_pb2 as pb
from headstart_server.api.grpc.messages.common import duration
from headstart_server.api.grpc.messages.exports import EXPORT_FORMS
from headstart_server.api.grpc.messages.pages import MAX_PAGE
from headstart_server.api.grpc.requests.limits import (
    MAX_BATCH_EXAMPLES,
    MAX_INPUT_BYTES,
    MAX_INPUTS,
    MAX_TEXT,
)
from headstart_server.backbones.worker.optional_packages import export_formats, trains_networks
from headstart_server.models.alias_rows import MAX_ALIASES
from headstart_server.prediction.predict_options import MAX_NEIGHBORS
from headstart_server.prediction.predictor import MAX_TARGETS
from headstart_server.settings.settings import Settings


def server_info(config: Settings, release: str) -> pb.ServerInfo:
    """Return what does not change while a server runs."""
    available = export_formats()
    return pb.ServerInfo(
        release=release,
        limits=_limits(config),
        features=sorted(number for number, is_on in _features(config).items() if is_on),
        export_formats=sorted(number for number, form in EXPORT_FORMS.items() if form in available),
    )


def _limits(config: Settings) -> pb.ServerLimits:
    return pb.ServerLimits(
        message_bytes=config.limits.max_message_size,
        inputs=min(config.limits.max_inputs, config.limits.max_pending_inputs, MAX_INPUTS),
        input_bytes=min(config.limits.max_input_size, MAX_INPUT_BYTES),
        image_pixels=config.limits.max_pixels,
        text_characters=MAX_TEXT,
        targets=MAX_TARGETS,
        neighbors=MAX_NEIGHBORS,
        page_size=MAX_PAGE,
        batch_examples=MAX_BATCH_EXAMPLES,
        examples=config.limits.max_examples,
        dataset_bytes=config.limits.max_dataset_size,
        classes=config.limits.max_classes,
        queued_jobs=config.limits.max_queued_jobs,
        run_duration=None if config.jobs.job_time_limit is None else duration(config.jobs.job_time_limit),
        versions_per_model=config.limits.max_versions_per_model or None,
        aliases_per_model=MAX_ALIASES,
        concurrent_requests_per_caller=config.limits.max_concurrent_requests_per_caller or None,
        requests_per_second_per_caller=config.limits.rate_limit or None,
    )


def _features(config: Settings) -> dict[pb.Feature, bool]:
    return {
        pb.FEATURE_HTTP: config.server.http_port is not None,
        pb.FEATURE_AUTHENTICATION: config.auth.access_file is not None,
        pb.FEATURE_WEBHOOKS: bool(config.jobs.allow_webhook),
        pb.FEATURE_DATASET_URIS: bool(config.jobs.allow_dataset_uri),
        pb.FEATURE_PARTIAL_RECIPE: trains_networks(),
        pb.FEATURE_KEPT_EXAMPLES: config.storage.example_storage is not None,
        pb.FEATURE_MONITORING: config.observability.monitor_sample_rate is not None,
        pb.FEATURE_OPEN_INFERENCE_PROTOCOL: "oip" in config.server.compat_protocols,
        pb.FEATURE_TENSORFLOW_SERVING: "tfserving" in config.server.compat_protocols,
        pb.FEATURE_REFLECTION: config.server.reflection,
    }
