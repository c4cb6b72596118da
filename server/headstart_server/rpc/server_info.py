"""The description of a server: its release, limits and features."""

from headstart.v1 import server_service_pb2 as pb
from headstart_server.backbones.installed import export_forms, has_keras
from headstart_server.config import Config
from headstart_server.models.alias_rows import MAX_ALIASES
from headstart_server.prediction.asked import MAX_NEIGHBORS
from headstart_server.prediction.predictor import MAX_TARGETS
from headstart_server.rpc.export_messages import EXPORT_FORMS
from headstart_server.rpc.limits import MAX_BATCH_EXAMPLES, MAX_INPUT_BYTES, MAX_INPUTS, MAX_TEXT
from headstart_server.rpc.messages import duration
from headstart_server.rpc.pages import MAX_PAGE

_MIB = 1 << 20


def server_info(config: Config, release: str) -> pb.ServerInfo:
    """Return what does not change while a server runs."""
    available = export_forms()
    return pb.ServerInfo(
        release=release,
        limits=_limits(config),
        features=sorted(number for number, is_on in _features(config).items() if is_on),
        export_forms=sorted(number for number, form in EXPORT_FORMS.items() if form in available),
    )


def _limits(config: Config) -> pb.ServerLimits:
    return pb.ServerLimits(
        message_bytes=config.max_message_mib * _MIB,
        inputs=min(config.max_inputs, config.max_pending_inputs, MAX_INPUTS),
        input_bytes=min(config.max_input_mib * _MIB, MAX_INPUT_BYTES),
        image_pixels=config.max_pixels,
        text_characters=MAX_TEXT,
        targets=MAX_TARGETS,
        neighbors=MAX_NEIGHBORS,
        page_size=MAX_PAGE,
        batch_examples=MAX_BATCH_EXAMPLES,
        examples=config.max_examples,
        dataset_bytes=config.max_dataset_mib * _MIB,
        classes=config.max_classes,
        queued_jobs=config.max_queued_jobs,
        run_duration=duration(config.job_time_limit_hours * 3600),
        versions_per_model=config.max_versions_per_model or None,
        aliases_per_model=MAX_ALIASES,
        concurrent_requests_per_caller=config.max_calls_per_caller or None,
        requests_per_second_per_caller=config.max_calls_per_second or None,
    )


def _features(config: Config) -> dict[pb.Feature, bool]:
    return {
        pb.FEATURE_HTTP: config.http_port is not None,
        pb.FEATURE_AUTHENTICATION: config.access is not None,
        pb.FEATURE_WEBHOOKS: bool(config.webhook_allow),
        pb.FEATURE_DATASET_URIS: bool(config.allow_data),
        pb.FEATURE_PARTIAL_RECIPE: has_keras(),
        pb.FEATURE_KEPT_EXAMPLES: config.kept_examples_mib > 0,
        pb.FEATURE_MONITORING: config.look_share > 0,
        pb.FEATURE_OPEN_INFERENCE_PROTOCOL: "oip" in config.spoken_dialects,
        pb.FEATURE_TENSORFLOW_SERVING: "tfserving" in config.spoken_dialects,
        pb.FEATURE_REFLECTION: config.reflection,
    }
