"""The command ``headstart-server``. What is slow to import is imported late: --help answers at once."""

import dataclasses
import tomllib
import traceback
from collections.abc import Callable
from importlib.metadata import version as package_version
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from headstart_server.command_line import ServerCommand
from headstart_server.config import METRICS_PORT, Config, usual_metrics_port

_CALLS, _FILES, _ACCESS, _JOBS = "Calls", "Files and TLS", "Who may do what", "Fine-tuning"
_WEBHOOKS = "Webhooks"
_PREDICT, _LIMITS, _LOGS, _BACKBONE = "Prediction", "Limits of input", "Logs", "Backbone"


#: Settings that hold several values.
_REPEATABLE = {"backbone", "allow_backbone", "allow_webhook", "allow_dataset_uri", "allow_http_host"}

#: The fields of `Config` that a flag has another name for.
_NAMES = {
    "dialects": "compat_protocols",
    "feature_cache_per_tenant": "isolate_feature_cache",
    "look_share": "monitor_sample_rate",
    "audit_strangers_per_second": "audit_unauthenticated_rate",
    "allow_data": "allow_dataset_uri",
    "webhook_allow": "allow_webhook",
    "backbone_allow": "allow_backbone",
    "max_calls": "max_concurrent_requests",
    "max_calls_per_caller": "max_concurrent_requests_per_caller",
    "http_allowed_hosts": "allow_http_host",
    "access": "access_file",
    "data": "data_dir",
    "workers": "job_workers",
    "backbones": "backbones_file",
    "add_backbone": "backbone",
    "backbone": "default_backbone",
}


def main() -> None:
    """Run the command."""
    command(prog_name="headstart-server")


command = typer.Typer(
    help="Fine-tunes models on demand and serves them over gRPC.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _env(name: str) -> str:
    return f"HEADSTART_{name.upper()}"


def _switch(name: str, help: str, panel: str) -> Any:
    flag = name.replace("_", "-")
    return typer.Option(f"--{flag}/--no-{flag}", envvar=_env(name), help=help, rich_help_panel=panel)


def _option(name: str, help: str, panel: str, **more: Any) -> Any:
    return typer.Option(
        f"--{name.replace('_', '-')}", envvar=_env(name), help=help, rich_help_panel=panel, **more
    )


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"headstart {package_version('headstart')}")
        raise typer.Exit


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the settings of a TOML file the defaults of the flags."""
    if path is None:
        return None
    try:
        settings = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        _fail(f"{path} cannot be read as TOML: {error}. Correct it, or choose another with --config.")
    settings = {name.replace("-", "_"): value for name, value in settings.items()}
    for name in _REPEATABLE & set(settings):
        if isinstance(settings[name], str):
            settings[name] = [settings[name]]
    known = {_NAMES.get(field.name, field.name) for field in dataclasses.fields(Config)}
    unknown = sorted(set(settings) - known)
    if unknown:
        _fail(f"{path} has the unknown setting {unknown[0]!r}. Known settings: {', '.join(sorted(known))}.")
    context.default_map = {**(context.default_map or {}), **settings}
    return path


@command.callback()
def _command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Fine-tunes models on demand and serves them over gRPC."""


_Backbones = Annotated[
    Path | None,
    _option("backbones_file", "TOML file of further backbones, or a folder of such files.", _BACKBONE),
]
_AddBackbone = Annotated[
    list[str] | None,
    _option(
        "backbone",
        "A further backbone, such as keras:MobileNetV3Small; repeatable, in the variable one a line.",
        _BACKBONE,
        metavar="[NAME=]SOURCE[,SETTING=VALUE]",
    ),
]
_BackboneAllow = Annotated[
    list[str] | None,
    _option(
        "allow_backbone",
        "What sources of declared backbones may begin with, such as keras:, hf:ORG or a folder; may be given "
        "several times. By default anything.",
        _BACKBONE,
        metavar="PREFIX",
    ),
]
_BackboneCache = Annotated[
    Path | None,
    _option(
        "backbone_cache",
        "Folder of downloaded and converted networks; by default ~/.cache/headstart.",
        _BACKBONE,
    ),
]
_PreparedBackbones = Annotated[
    Path | None,
    _option(
        "prepared_backbones",
        "Folder of networks that were prepared ahead; looked into first, never written.",
        _BACKBONE,
    ),
]


def _unusable(error: ValueError | OSError) -> str:
    """What is wrong with a setting, or with the file that it names."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"Cannot read {error.filename}: {error.strerror}. Correct the path, or the rights of the file."
    return str(error)


def _config_of(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            envvar=_env("config"),
            callback=_read_config,
            is_eager=True,
            help="TOML file of settings, named like the flags; flags and environment go first.",
        ),
    ] = None,
    host: Annotated[str, _option("host", "Address to listen on; 0.0.0.0 for all.", _CALLS)] = Config.host,
    port: Annotated[
        int, _option("port", "Port of the gRPC services; 0 takes a free one.", _CALLS, min=0, max=65535)
    ] = Config.port,
    http_port: Annotated[
        int,
        _option("http_port", "Port of the same calls over HTTP; -1: none.", _CALLS, min=-1, max=65535),
    ] = -1,
    http_host: Annotated[
        str, _option("http_host", "Address to listen on for HTTP; 0.0.0.0 for all.", _CALLS)
    ] = Config.http_host,
    allow_http_host: Annotated[
        list[str] | None,
        _option(
            "allow_http_host",
            "Host name that HTTP requests may use, such as api.example.com or *.example.com; repeatable. "
            "Addresses and localhost are always accepted, and with TLS or --access-file any name is.",
            _CALLS,
            metavar="NAME",
        ),
    ] = None,
    plaintext: Annotated[
        bool,
        _switch("plaintext", "Allow --host and --http-host beyond this machine without TLS.", _CALLS),
    ] = Config.plaintext,
    metrics_port: Annotated[
        int | None,
        _option(
            "metrics_port",
            f"Port of Prometheus metrics, without TLS; -1: none. By default {METRICS_PORT} on the loopback, "
            "else none.",
            _CALLS,
            min=-1,
            max=65535,
        ),
    ] = None,
    reflection: Annotated[
        bool, _switch("reflection", "Let clients read the contract from the server.", _CALLS)
    ] = Config.reflection,
    compat_protocols: Annotated[
        str,
        _option(
            "compat_protocols",
            "Protocols of other model servers that the port speaks too: oip (Open Inference Protocol), "
            "tfserving (TensorFlow Serving), with commas between them, or none.",
            _CALLS,
        ),
    ] = Config.dialects,
    max_message_mib: Annotated[
        int, _option("max_message_mib", "Most MiB of one message.", _CALLS, min=1, max=1024)
    ] = Config.max_message_mib,
    max_concurrent_requests: Annotated[
        int, _option("max_concurrent_requests", "Most calls at once.", _CALLS, min=1)
    ] = Config.max_calls,
    max_connections: Annotated[
        int,
        _option("max_connections", "Maximum connections of each port for calls.", _CALLS, min=4),
    ] = Config.max_connections,
    keepalive_seconds: Annotated[
        float, _option("keepalive_seconds", "Quiet connections are probed this often.", _CALLS, min=10)
    ] = Config.keepalive_seconds,
    max_connection_age_seconds: Annotated[
        float,
        _option(
            "max_connection_age_seconds",
            "Close connections, gracefully, at this age, so that clients spread over new replicas; 0: never.",
            _CALLS,
            min=0,
        ),
    ] = Config.max_connection_age_seconds,
    grace_seconds: Annotated[
        float,
        _option("grace_seconds", "What running calls get to end after SIGTERM.", _CALLS, min=0),
    ] = Config.grace_seconds,
    data_dir: Annotated[
        Path, _option("data_dir", "Folder of database, datasets and versions; for one server only.", _FILES)
    ] = Config.data,
    database: Annotated[
        str | None,
        _option(
            "database",
            "sqlite:///FILE, or postgresql://USER:PASSWORD@HOST:PORT/NAME for several replicas. "
            "By default a file in the data folder.",
            _FILES,
        ),
    ] = None,
    artifacts: Annotated[
        str | None,
        _option(
            "artifacts",
            "Folder of datasets and versions, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, for all replicas "
            "of a database. By default the data folder.",
            _FILES,
        ),
    ] = None,
    artifact_copies_mib: Annotated[
        int,
        _option(
            "artifact_copies_mib",
            "Most MiB of copies of a bucket's examples in the data folder.",
            _FILES,
            min=0,
        ),
    ] = Config.artifact_copies_mib,
    tls_cert: Annotated[
        Path | None,
        _option("tls_cert", "Certificate chain (PEM), with --tls-key: the port speaks TLS.", _FILES),
    ] = None,
    tls_key: Annotated[Path | None, _option("tls_key", "Private key (PEM).", _FILES)] = None,
    tls_client_ca: Annotated[
        Path | None,
        _option("tls_client_ca", "Certificates that sign clients' (PEM): clients must show one.", _FILES),
    ] = None,
    access_file: Annotated[
        Path | None,
        _option("access_file", "TOML file of who may do what; without one everybody everything.", _ACCESS),
    ] = None,
    audit_log: Annotated[
        Path | None,
        _option("audit_log", "File of who did what, one line of JSON for each call; - for stdout.", _ACCESS),
    ] = None,
    audit_all: Annotated[
        bool, _switch("audit_all", "Write down calls that change nothing, too.", _ACCESS)
    ] = Config.audit_all,
    audit_unauthenticated_rate: Annotated[
        int,
        _option(
            "audit_unauthenticated_rate",
            "Lines a second about callers that are not known, of each kind; 0: no limit.",
            _ACCESS,
            min=0,
        ),
    ] = Config.audit_strangers_per_second,
    default_backbone: Annotated[
        str,
        _option(
            "default_backbone",
            "Default backbone, loaded at start. See: headstart-server backbones.",
            _BACKBONE,
        ),
    ] = Config.backbone,
    backbones_file: _Backbones = None,
    backbone: _AddBackbone = None,
    allow_backbone: _BackboneAllow = None,
    runtime: Annotated[
        str, _option("runtime", "keras, openvino, or auto: OpenVINO on CPU, Keras on a GPU.", _BACKBONE)
    ] = Config.runtime,
    precision: Annotated[
        str,
        _option(
            "precision",
            "What networks compute in: float32, bfloat16, or auto: bfloat16 if the device has it.",
            _BACKBONE,
        ),
    ] = Config.precision,
    streams: Annotated[
        int, _option("streams", "Batches that run at once; 0: what suits.", _BACKBONE, min=0)
    ] = Config.streams,
    backbone_cache: _BackboneCache = None,
    prepared_backbones: _PreparedBackbones = None,
    job_workers: Annotated[
        int, _option("job_workers", "Jobs that run at once.", _JOBS, min=1)
    ] = Config.workers,
    train_slice: Annotated[
        int,
        _option(
            "train_slice",
            "Rows of a training batch. A Predict waits for one of them at most; 0: what suits.",
            _JOBS,
            min=0,
            max=1024,
        ),
    ] = Config.train_slice,
    train_share: Annotated[
        float,
        _option(
            "train_share",
            "Part of the time that training gets while Predicts wait; alone it gets all.",
            _JOBS,
            min=0.0,
            max=0.9,
        ),
    ] = Config.train_share,
    max_queued_jobs: Annotated[
        int, _option("max_queued_jobs", "Most jobs that wait; further ones are refused.", _JOBS, min=1)
    ] = Config.max_queued_jobs,
    max_queued_jobs_per_tenant: Annotated[
        int,
        _option(
            "max_queued_jobs_per_tenant", "Most jobs of one tenant that wait; 0: no limit.", _JOBS, min=0
        ),
    ] = Config.max_queued_jobs_per_tenant,
    max_running_jobs: Annotated[
        int,
        _option("max_running_jobs", "Most jobs at once over all replicas; 0: no limit.", _JOBS, min=0),
    ] = Config.max_running_jobs,
    max_running_jobs_per_tenant: Annotated[
        int,
        _option(
            "max_running_jobs_per_tenant",
            "Most jobs of one tenant at once over all replicas; 0: no limit.",
            _JOBS,
            min=0,
        ),
    ] = Config.max_running_jobs_per_tenant,
    job_memory_mib: Annotated[
        int,
        _option(
            "job_memory_mib",
            "MiB of memory that all jobs of this server may take together, by their estimates; 0: what the "
            "machine or container leaves next to caches and backbones.",
            _JOBS,
            min=0,
        ),
    ] = Config.job_memory_mib,
    job_time_limit_hours: Annotated[
        float,
        _option(
            "job_time_limit_hours",
            "Hours that one run of a job may take before the job fails; 0: no limit.",
            _JOBS,
            min=0.0,
        ),
    ] = Config.job_time_limit_hours,
    max_versions_per_model: Annotated[
        int,
        _option("max_versions_per_model", "Most versions of one model; 0: no limit.", _JOBS, min=0),
    ] = Config.max_versions_per_model,
    max_versions_per_tenant: Annotated[
        int,
        _option(
            "max_versions_per_tenant", "Most versions of one tenant's models; 0: no limit.", _JOBS, min=0
        ),
    ] = Config.max_versions_per_tenant,
    max_stored_mib_per_tenant: Annotated[
        int,
        _option(
            "max_stored_mib_per_tenant",
            "Most MiB of versions and examples that one tenant may store; 0: no limit.",
            _JOBS,
            min=0,
        ),
    ] = Config.max_stored_mib_per_tenant,
    max_calls_per_second: Annotated[
        float,
        _option(
            "max_calls_per_second",
            "Requests per second that each caller may send to this replica; 0: no limit.",
            _CALLS,
            min=0,
        ),
    ] = Config.max_calls_per_second,
    max_concurrent_requests_per_caller: Annotated[
        int,
        _option(
            "max_concurrent_requests_per_caller",
            "Most concurrent requests of each caller; 0: no limit.",
            _CALLS,
            min=0,
        ),
    ] = Config.max_calls_per_caller,
    max_mib_per_second: Annotated[
        float,
        _option(
            "max_mib_per_second",
            "MiB of requests a second that each caller may send to this replica; 0: no limit.",
            _CALLS,
            min=0,
        ),
    ] = Config.max_mib_per_second,
    lease_seconds: Annotated[
        float,
        _option("lease_seconds", "After this silence a replica's jobs are taken over.", _JOBS, min=1),
    ] = Config.lease_seconds,
    beat_seconds: Annotated[
        float,
        _option(
            "beat_seconds", "How often a replica renews its claims and hears of cancels.", _JOBS, min=0.1
        ),
    ] = Config.beat_seconds,
    job_retention_hours: Annotated[
        float, _option("job_retention_hours", "How long ended jobs are remembered.", _JOBS, min=0)
    ] = Config.job_retention_hours,
    feature_cache_mib: Annotated[
        int,
        _option(
            "feature_cache_mib", "MiB of features kept in memory for pictures seen before.", _JOBS, min=0
        ),
    ] = Config.feature_cache_mib,
    feature_cache_disk_mib: Annotated[
        int,
        _option(
            "feature_cache_disk_mib",
            "MiB of features kept in the data folder, over restarts; 0: none.",
            _JOBS,
            min=0,
        ),
    ] = Config.feature_cache_disk_mib,
    isolate_feature_cache: Annotated[
        bool,
        _switch(
            "isolate_feature_cache",
            "Keep each tenant's features apart, at the price of more passes.",
            _JOBS,
        ),
    ] = Config.feature_cache_per_tenant,
    kept_examples_mib: Annotated[
        int,
        _option(
            "kept_examples_mib",
            "MiB of examples kept for versions, the newest and those with an alias first; 0: none.",
            _JOBS,
            min=0,
        ),
    ] = Config.kept_examples_mib,
    activations_mib: Annotated[
        int,
        _option(
            "activations_mib",
            "Most MiB on disk of the activations that one job with the recipe partial trains on.",
            _JOBS,
            min=1,
        ),
    ] = Config.activations_mib,
    webhook: Annotated[
        str | None, _option("webhook", "URL that is told of the ends of jobs that name none.", _WEBHOOKS)
    ] = None,
    allow_webhook: Annotated[
        list[str] | None,
        _option(
            "allow_webhook",
            "Prefix of the URLs that jobs may name, {tenant} in it for the tenant of the job; repeatable.",
            _WEBHOOKS,
            metavar="PREFIX",
        ),
    ] = None,
    allow_private_addresses: Annotated[
        bool,
        _switch(
            "allow_private_addresses",
            "Let webhooks and dataset URIs use loopback and private addresses.",
            _WEBHOOKS,
        ),
    ] = False,
    webhook_secret_file: Annotated[
        Path | None,
        _option(
            "webhook_secret_file",
            "Secrets that webhooks are signed with, one a line: whsec_ and base64, or a tenant and its own.",
            _WEBHOOKS,
        ),
    ] = None,
    allow_dataset_uri: Annotated[
        list[str] | None,
        _option(
            "allow_dataset_uri",
            "Folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or https://HOST/PREFIX that fine-tunes may read "
            "examples from, {tenant} in it for the caller's; repeatable. By default none.",
            _JOBS,
            metavar="PREFIX",
        ),
    ] = None,
    max_inputs: Annotated[
        int, _option("max_inputs", "Most inputs of one call.", _PREDICT, min=1, max=4096)
    ] = Config.max_inputs,
    max_pending_inputs: Annotated[
        int,
        _option(
            "max_pending_inputs",
            "Most inputs that wait; further ones are refused.",
            _PREDICT,
            min=1,
        ),
    ] = Config.max_pending_inputs,
    max_batch: Annotated[
        int, _option("max_batch", "Most rows of a Predict batch; 0: what suits.", _PREDICT, min=0, max=1024)
    ] = Config.max_batch,
    batch_delay_ms: Annotated[
        float,
        _option(
            "batch_delay_ms",
            "Milliseconds that a Predict may wait for its batch to fill; 0 adds no delay.",
            _PREDICT,
            min=0.0,
            max=1000.0,
        ),
    ] = Config.batch_delay_ms,
    decode_threads: Annotated[
        int,
        _option(
            "decode_threads",
            "Threads that decode; 0: what suits.",
            _PREDICT,
            min=0,
        ),
    ] = Config.decode_threads,
    cache_predictions: Annotated[
        bool, _switch("cache_predictions", "Use the feature cache for Predict, too.", _PREDICT)
    ] = Config.cache_predictions,
    resident_heads_mib: Annotated[
        int, _option("resident_heads_mib", "MiB of heads and tails kept in memory.", _PREDICT, min=1)
    ] = Config.resident_heads_mib,
    max_examples: Annotated[
        int, _option("max_examples", "Most examples of one fine-tune.", _LIMITS, min=2)
    ] = Config.max_examples,
    max_dataset_mib: Annotated[
        int, _option("max_dataset_mib", "Most MiB of the examples of one fine-tune.", _LIMITS, min=1)
    ] = Config.max_dataset_mib,
    max_input_mib: Annotated[
        int, _option("max_input_mib", "Most MiB of one input.", _LIMITS, min=1, max=256)
    ] = Config.max_input_mib,
    max_classes: Annotated[
        int, _option("max_classes", "Most classes of one fine-tune.", _LIMITS, min=2)
    ] = Config.max_classes,
    max_pixels: Annotated[
        int, _option("max_pixels", "Most pixels of one picture.", _LIMITS, min=1)
    ] = Config.max_pixels,
    monitor_sample_rate: Annotated[
        float,
        _option(
            "monitor_sample_rate",
            "Share of Predicts that are looked at afterwards, for drift of their inputs and answers and what "
            "a shadow would have answered; 0: none.",
            _PREDICT,
            min=0.0,
            max=1.0,
        ),
    ] = Config.look_share,
    shadow_alias: Annotated[
        str, _option("shadow_alias", "The alias of each model's shadow.", _PREDICT)
    ] = Config.shadow_alias,
    grid_gco2_per_kwh: Annotated[
        float,
        _option(
            "grid_gco2_per_kwh",
            "Grams of CO2-equivalent of a kilowatt-hour here, for what fine-tunes are said to cost.",
            _LOGS,
            min=0.0,
            max=2000.0,
        ),
    ] = Config.grid_gco2_per_kwh,
    cpu_watts_per_core: Annotated[
        float,
        _option(
            "cpu_watts_per_core",
            "Watts of a busy core, where the machine does not tell what it uses.",
            _LOGS,
            min=0.1,
            max=100.0,
        ),
    ] = Config.cpu_watts_per_core,
    trace_endpoint: Annotated[
        str | None,
        _option(
            "trace_endpoint",
            "Collector that traces are sent to by OTLP/gRPC (extra otel), such as http://HOST:4317; "
            "by default as the OTEL_... variables say, and none without.",
            _LOGS,
        ),
    ] = None,
    log_level: Annotated[
        str, _option("log_level", "Lowest level logged: debug, info, warning or error.", _LOGS)
    ] = Config.log_level,
    log_format: Annotated[
        str, _option("log_format", "text, json, or auto: text on a terminal, else JSON.", _LOGS)
    ] = Config.log_format,
) -> Config:
    """Return the settings of a server.

    Raises:
        BadParameter: a value is not allowed, or settings contradict each other.
    """
    settings = {name: value for name, value in locals().items() if name != "config"}
    for name in _REPEATABLE:
        settings[name] = settings[name] or ()
    settings["http_port"] = None if http_port < 0 else http_port
    if metrics_port is None:
        settings["metrics_port"] = usual_metrics_port(host)
    elif metrics_port < 0:
        settings["metrics_port"] = None
    for name, allowed in (
        ("log_level", _LEVELS),
        ("log_format", _FORMATS),
        ("runtime", _RUNTIMES),
        ("precision", _PRECISIONS),
    ):
        if settings[name] not in allowed:
            raise typer.BadParameter(
                f"Expected one of: {', '.join(allowed)}. Received: {settings[name]!r}.",
                param_hint=f"--{name.replace('_', '-')}",
            )
    try:
        fields = {new: old for old, new in _NAMES.items()}
        return Config(**{fields.get(name, name): value for name, value in settings.items()})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _with_settings(run: Callable[..., None]) -> Callable[..., None]:
    """Give a command the parameters of all settings; its first argument is the `Config` that they make."""
    own = list(signature(run).parameters.values())[1:]

    def with_settings(**values: Any) -> None:
        rest = {parameter.name: values.pop(parameter.name) for parameter in own}
        run(_config_of(**values), **rest)

    every = (*signature(_config_of).parameters.values(), *own)
    parameters = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in every]
    changes: Any = with_settings
    changes.__name__, changes.__doc__ = run.__name__, run.__doc__
    changes.__signature__ = Signature(parameters)
    changes.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_settings


@command.command(cls=ServerCommand)
@_with_settings
def serve(chosen: Config) -> None:
    """Run the server until SIGTERM or Ctrl-C; then calls end, and running jobs wait for the next start.

    Health checks answer NOT_SERVING until the default backbone is loaded and warm.
    """
    try:
        _check_places(chosen)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(_unusable(error)) from None
    except ModuleNotFoundError as error:
        _fail(str(error))
    try:
        _check_files(chosen)
    except (ValueError, OSError) as error:
        _fail(_unusable(error))
    _run(chosen)


def _run(config: Config) -> None:
    """Run a server; a start that fails is one line on stderr."""
    try:
        # Slow to import, so a Ctrl-C may come meanwhile.
        from headstart_server.app import serve as run

        run(config)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - all end in one line
        from headstart_server.failing_start import cause_of, unexpected

        if config.log_level == "debug":
            traceback.print_exception(error)
        _fail(cause_of(error) or unexpected(error))


def _fail(message: str) -> NoReturn:
    typer.echo(f"headstart-server: {' '.join(message.split())}", err=True)
    raise typer.Exit(1)


@command.command(cls=ServerCommand)
@_with_settings
def doctor(
    chosen: Config,
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
) -> None:
    """Check this machine and the settings of a server; takes the same settings as serve.

    Changes nothing, so it may run next to a server. Exits with 0 if no check failed, else with 1.
    """
    from headstart_server.doctor.command import run_doctor

    file = context.params["config"]
    raise typer.Exit(run_doctor(chosen, file, as_json=as_json, strict=strict))


def _check_files(config: Config) -> None:
    """Check the files that settings name.

    Raises:
        ValueError: the content of one is wrong.
        OSError: one cannot be read.
    """
    if config.webhook_secret_file is not None:
        from headstart_server.jobs.webhook_message import read_secrets

        read_secrets(config.webhook_secret_file, config.webhook_url)
    if config.access is not None:
        from headstart_server.access.authenticator import Authenticator

        Authenticator(config.access)


def _check_places(config: Config) -> None:
    """Check the addresses and backbones that settings name.

    Raises:
        ValueError: an address is invalid, or holds what the server keeps for itself.
    """
    if config.backbones or config.add_backbone:
        _catalog(config.backbones, list(config.add_backbone), list(config.backbone_allow), None, None)
    if config.database_url is not None:
        from headstart_server.database.address import address_of

        address_of(config.database_url)
    if config.webhook_secret_file is not None:
        from headstart_server.jobs.webhook_policy import WebhookPolicy

        WebhookPolicy(config.webhook_allow, own=config.webhook_url)
    if config.artifacts is not None:
        from headstart_server.storage.address import artifacts_address

        artifacts_address(config.artifacts)
    if config.allow_data:
        from headstart_server.database.address import sqlite_file
        from headstart_server.dataset_uris.own import data_policy

        data_policy(config, sqlite_file(config.database_url) if config.database_url else None)


_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("auto", "text", "json")
_RUNTIMES = ("auto", "keras", "openvino")
_PRECISIONS = ("auto", "float32", "bfloat16")


@command.command("backbones", cls=ServerCommand)
def list_backbones(
    backbones: _Backbones = None,
    add_backbone: _AddBackbone = None,
    backbone_allow: _BackboneAllow = None,
    backbone_cache: _BackboneCache = None,
    prepared_backbones: _PreparedBackbones = None,
) -> None:
    """List the backbones a server with these settings can load; fetches those it does not know all about."""
    from headstart_server.backbones.catalog import DEFAULT
    from headstart_server.errors import HeadstartError

    catalog = _catalog(backbones, add_backbone, backbone_allow, backbone_cache, prepared_backbones)
    for info in catalog.list():
        mark = " (default)" if info.name == DEFAULT else ""
        typer.echo(f"{info.name}{mark}")
        try:
            known = info if info.is_prepared else catalog.prepare(info.name)
        except HeadstartError as error:
            typer.echo(f"  {error}")
            continue
        if known.description:
            typer.echo(f"  {known.description}")
        views = ", ".join(f"{view} {size:,}" for view, size in known.views.items())
        typer.echo(f"  takes {_taken(known)}; views: {views}; {known.parameter_count:,} parameters")
        typer.echo(f"  from {known.source}; licence: {known.license or 'not declared'}")


def _taken(info: Any) -> str:
    if info.input_size:
        return f"{info.modality.value}s of {' x '.join(map(str, info.input_size))}"
    return f"{info.modality.value}s"


def _catalog(
    path: Path | None,
    flags: list[str] | None,
    allowed: list[str] | None,
    cache: Path | None,
    shipped: Path | None,
) -> Any:
    from headstart_server.backbones.allowed_sources import check_sources
    from headstart_server.backbones.catalog import Catalog
    from headstart_server.backbones.declaration import declared
    from headstart_server.backbones.runtimes import RuntimeKind, RuntimeSettings, default_cache

    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=cache or default_cache(), shipped=shipped)
    try:
        found = declared(path, flags or ())
        check_sources(found, allowed or ())
        return Catalog(found, runtimes=settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@command.command(cls=ServerCommand)
def prepare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Backbones to prepare; by default all.", metavar="BACKBONE...")
    ] = None,
    backbones: _Backbones = None,
    add_backbone: _AddBackbone = None,
    backbone_allow: _BackboneAllow = None,
    backbone_cache: _BackboneCache = None,
    prepared_backbones: _PreparedBackbones = None,
) -> None:
    """Fetch and convert backbones for OpenVINO ahead of time, so that no server has to; to build images.

    Prints the digest of each one's weights, which its declaration may pin. Progress goes to stderr.
    """
    from headstart_server.backbones.runtimes import default_cache
    from headstart_server.errors import BackboneNotFound, HeadstartError
    from headstart_server.telemetry import configure_logs

    configure_logs(level="info", json=False)
    catalog = _catalog(backbones, add_backbone, backbone_allow, backbone_cache, prepared_backbones)
    failed = False
    for name in names or [info.name for info in catalog.list()]:
        try:
            backbone, weights = catalog.load(name), catalog.weights(name)
        except HeadstartError as error:
            typer.echo(f"{name}: {error}", err=True)
            # Of those that every server has, a package may be left out.
            failed = failed or bool(names) or not isinstance(error, BackboneNotFound)
            continue
        typer.echo(
            f"{name}: {backbone.runtime}, checked, in {backbone_cache or default_cache()}\n"
            f"  weights: {weights}"
        )
    raise typer.Exit(int(failed))


@command.command(cls=ServerCommand)
def protos(
    out: Annotated[
        Path, typer.Option(help="Folder to write into; it is created if it is missing.", metavar="DIR")
    ],
) -> None:
    """Write the contract as .proto files with all imports, for compilers of other languages."""
    from headstart_server.rpc.http.proto_files import DESCRIPTORS, write_protos

    try:
        count = write_protos(out)
    except OSError as error:
        _fail(f"The protos cannot be written to {out}: {error.strerror}. Choose another folder with --out.")
    typer.echo(f"{count} protos and their descriptors ({DESCRIPTORS}) are in {out}.")


@command.command(cls=ServerCommand)
def token(
    name: Annotated[str, typer.Argument(help="Whom it is for.", metavar="NAME")],
) -> None:
    """Make a token, which is shown this once, and the lines for the access file that let it in."""
    from headstart_server.access.policy import PolicyError, policy_of
    from headstart_server.access.tokens import lines_for, make_token

    made = make_token()
    lines = lines_for(name, made)
    try:
        policy_of(tomllib.loads(lines))
    except (PolicyError, tomllib.TOMLDecodeError):
        raise typer.BadParameter(
            f"Expected a name of 1 to 128 of a-z A-Z 0-9 . _ @ -. Received: {name!r}.", param_hint="NAME"
        ) from None
    typer.echo("# The token, for the client (HEADSTART_TOKEN); it is kept nowhere:", err=True)
    typer.echo(made)
    typer.echo("\n# For the access file:", err=True)
    typer.echo(lines, nl=False)


@command.command(cls=ServerCommand)
def health(
    target: Annotated[
        str, typer.Option("--server", "--target", envvar=_env("server"), help="Address of the server to ask.")
    ] = f"localhost:{Config.port}",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0.1)] = 5.0,
    ca: Annotated[
        Path | None,
        typer.Option(envvar=_env("ca"), help="Certificates to trust (PEM); given, the call goes over TLS."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(envvar=_env("cert"), help="Certificate chain to show (PEM), with --key.")
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar=_env("key"), help="Its private key (PEM).")] = None,
    tls_name: Annotated[
        str | None,
        typer.Option(
            envvar=_env("tls_name"), help="A name that its certificate has, if that is not its address's."
        ),
    ] = None,
    service: Annotated[
        str, typer.Option(help="The full name of a service. Default: the server itself.")
    ] = "",
) -> None:
    """Ask a server whether it is serving; exits with 0 if it is, else with 1."""
    if (cert is None) != (key is None) or (cert is not None and ca is None):
        raise typer.BadParameter("Expected --cert and --key together, and --ca with them.")
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    channel = (
        grpc.insecure_channel(target)
        if ca is None
        else grpc.secure_channel(
            target,
            grpc.ssl_channel_credentials(
                ca.read_bytes(), key.read_bytes() if key else None, cert.read_bytes() if cert else None
            ),
            [("grpc.ssl_target_name_override", tls_name)] if tls_name else [],
        )
    )
    with channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.RpcError as error:
            typer.echo(f"{target}: {error.code().name}: {error.details()}", err=True)
            raise typer.Exit(1) from None
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    typer.echo(f"{target}: {name}")
    raise typer.Exit(0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1)


if __name__ == "__main__":
    main()
