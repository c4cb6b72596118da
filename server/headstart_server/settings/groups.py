"""Every setting of the server, in groups. docs/settings.md is generated from this file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart_server.energy import GRID_GCO2E_PER_KWH, WATTS_PER_CORE
from headstart_server.secret import Secret
from headstart_server.settings.kinds import (
    ByteRate,
    Choice,
    Choices,
    Duration,
    File,
    Fraction,
    Number,
    Rate,
    SecretText,
    Size,
    Switch,
    Text,
    Texts,
)
from headstart_server.settings.setting import Group, Off, setting

#: The port of the metrics of a server that only this machine reaches.
METRICS_PORT = 9090
#: In place of the file of the audit log.
STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class ServerGroup(Group):
    """The ports and protocols."""

    section = "server"
    title = "Server"

    host: str = setting(
        "127.0.0.1",
        "Address of all ports; 0.0.0.0 accepts connections from other machines.",
        Text("ADDRESS"),
        basic=True,
    )
    port: int = setting(8765, "Port of the gRPC services; 0 takes a free one.", Number(0, 65535), basic=True)
    http_port: int | None = setting(
        "off",
        "Port of the same services over HTTP; 0 takes a free one.",
        Number(0, 65535),
        off=None,
        basic=True,
    )
    allow_http_host: Sequence[str] = setting(
        (),
        "Host name that HTTP requests may use, such as api.example.com or *.example.com. IP addresses and "
        "localhost are always accepted; with TLS or --access-file every name is.",
        Texts("NAME"),
    )
    compat_protocols: tuple[str, ...] = setting(
        "oip,tfserving",
        "Protocols of other model servers on the gRPC port: oip (Open Inference Protocol) and tfserving "
        "(TensorFlow Serving).",
        Choices(("oip", "tfserving")),
        off=(),
        basic=True,
    )
    reflection: bool = setting(False, "Let clients read the contract from the server.", Switch())
    grace_period: float = setting(
        "30s", "Time that running requests have to end after SIGTERM.", Duration(max="1d"), basic=True
    )
    max_connection_age: float | None = setting(
        "off",
        "Close connections gracefully at this age, so that clients find new replicas.",
        Duration(min="1s"),
        off=None,
    )


@dataclass(frozen=True, kw_only=True)
class TlsGroup(Group):
    """Encryption of the ports."""

    section = "tls"
    title = "TLS"

    tls_cert: Path | None = setting(
        None, "Certificate chain (PEM) of the server; requires --tls-key.", File(), basic=True
    )
    tls_key: Path | None = setting(None, "Private key (PEM) of the certificate.", File(), basic=True)
    tls_client_ca: Path | None = setting(
        None,
        "Certificates (PEM) that sign client certificates. Clients must then present one.",
        File(),
        basic=True,
    )
    plaintext: bool = setting(
        False, "Allow a --host that other machines reach without TLS.", Switch(), basic=True
    )


@dataclass(frozen=True, kw_only=True)
class StorageGroup(Group):
    """Where data is, and how much of it is kept."""

    section = "storage"
    title = "Storage"

    data_dir: Path = setting(
        Path("headstart-data"),
        "Folder of this server's own data; for one server only.",
        File("DIR"),
        basic=True,
    )
    database: Secret[str] | str | None = setting(
        None,
        "sqlite:///FILE, or postgresql://USER:PASSWORD@HOST:PORT/NAME for several replicas.",
        SecretText(),
        basic=True,
        needs="an SQLite file in --data-dir",
    )
    artifacts: str | None = setting(
        None,
        "Storage of datasets and versions for all replicas: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
        Text("URI"),
        basic=True,
        needs="--data-dir",
    )
    artifact_cache: int | None = setting(
        "4GiB", "Disk space in --data-dir for copies of a bucket's examples.", Size("1MiB"), off=None
    )
    example_storage: int | None = setting(
        "8GiB",
        "Storage of the examples of versions, which later fine-tunes build on. Beyond it the oldest versions "
        "without an alias lose their examples first.",
        Size("1MiB"),
        off=None,
        basic=True,
    )
    feature_cache_memory: int | None = setting(
        "256MiB", "Memory for features of inputs that were seen before.", Size("1MiB"), off=None
    )
    feature_cache_disk: int | None = setting(
        "1GiB", "Disk space in --data-dir for such features, across restarts.", Size("1MiB"), off=None
    )
    isolate_feature_cache: bool = setting(
        False, "Do not share cached features between tenants, at the cost of more computation.", Switch()
    )
    cache_predictions: bool = setting(False, "Use the feature cache for Predict, too.", Switch())
    version_cache_memory: int = setting(
        "256MiB", "Memory for the heads and tails of versions in use.", Size("1MiB")
    )

    @property
    def database_url(self) -> str | None:
        """The URL of the database, which may contain a password."""
        return revealed(self.database)

    @property
    def database_target(self) -> Path | str:
        """The URL of the database, which may contain a password, or its SQLite file in the data folder."""
        return self.database_url or self.data_dir / "headstart.sqlite3"


@dataclass(frozen=True, kw_only=True)
class JobsGroup(Group):
    """How jobs run, what they may read, and whom they notify."""

    section = "jobs"
    title = "Jobs"

    job_workers: int = setting(2, "Jobs that this server runs concurrently.", Number(1, 1024), basic=True)
    job_memory: int | None = setting(
        "auto",
        "Memory of all running jobs together, by their estimates; auto takes what the machine or container "
        "has left after caches and backbones.",
        Size("1MiB"),
        auto=True,
    )
    job_time_limit: float | None = setting(
        "24h",
        "Maximum duration of one run of a job, after which the job fails.",
        Duration("1s"),
        off=None,
        basic=True,
    )
    job_retention: float = setting(
        "7d", "How long ended jobs and their events are kept.", Duration(), basic=True
    )
    lease_duration: float = setting(
        "10s",
        "After this time without a heartbeat another replica takes over a job. Heartbeats are sent ten times "
        "as often. Must be the same on all replicas.",
        Duration("1s", "1h"),
    )
    train_share: float = setting(
        0.2, "Fraction of the device time for training while Predict requests wait.", Fraction(0.0, 0.9)
    )
    webhook: Secret[str] | str | None = setting(
        None, "URL that is notified of the end of each job that names no webhook.", SecretText(), basic=True
    )
    webhook_secret_file: Path | None = setting(
        None,
        "Secrets that sign webhooks, one per line: whsec_ and base64, or a tenant's name and its own.",
        File(),
        basic=True,
    )
    allow_webhook: Sequence[str] = setting(
        (),
        "Prefix of the URLs that jobs may notify; {tenant} stands for the job's tenant.",
        Texts("PREFIX"),
        basic=True,
    )
    allow_dataset_uri: Sequence[str] = setting(
        (),
        "Folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or https://HOST/PREFIX that jobs may read examples "
        "from; {tenant} stands for the caller's tenant.",
        Texts("PREFIX"),
        basic=True,
    )
    allow_private_addresses: bool = setting(
        False, "Let webhooks and dataset URIs use loopback and private addresses.", Switch()
    )

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between two heartbeats: a tenth of the lease, which thus survives several lost ones."""
        return self.lease_duration / 10

    @property
    def webhook_url(self) -> str | None:
        """The server's own webhook URL, which may contain a token."""
        return revealed(self.webhook)

    @property
    def sends_webhooks(self) -> bool:
        """Whether the end of a job is reported to any URL."""
        return self.webhook is not None or bool(self.allow_webhook)


@dataclass(frozen=True, kw_only=True)
class LimitsGroup(Group):
    """Limits of requests, callers, tenants and inputs."""

    section = "limits"
    title = "Limits"

    max_concurrent_requests: int = setting(
        1024,
        "Maximum concurrent requests; further ones are rejected. Each port accepts four times as many "
        "connections.",
        Number(1, 1_000_000_000),
        basic=True,
    )
    max_concurrent_requests_per_caller: int | None = setting(
        "off", "Maximum concurrent requests of each caller.", Number(1), off=None
    )
    rate_limit: float | None = setting(
        "off", "Maximum rate of requests of each caller to this replica.", Rate(), off=None, basic=True
    )
    bandwidth_limit: float | None = setting(
        "off", "Maximum rate of request bytes of each caller to this replica.", ByteRate(), off=None
    )
    max_inputs: int = setting(256, "Maximum inputs of one request.", Number(1, 4096))
    max_pending_inputs: int = setting(
        512, "Maximum inputs that wait for a backbone; requests with further ones are rejected.", Number(1)
    )
    max_input_size: int = setting(
        "32MiB",
        "Maximum size of one input. A message may have twice this size, and at least 4MiB.",
        Size("64KiB", "256MiB"),
        basic=True,
    )
    max_pixels: int = setting(64_000_000, "Maximum pixels of one image.", Number(1, 1 << 40))
    max_examples: int = setting(50_000, "Maximum examples of one fine-tune.", Number(2))
    max_dataset_size: int = setting(
        "4GiB",
        "Maximum size of the examples of one fine-tune. The recipe partial may write half of it as "
        "activations.",
        Size("1MiB"),
        basic=True,
    )
    max_classes: int = setting(1000, "Maximum classes of one fine-tune.", Number(2, 1_000_000))
    max_queued_jobs: int = setting(
        100, "Maximum jobs that wait, over all replicas; further ones are rejected.", Number(1), basic=True
    )
    max_queued_jobs_per_tenant: int | None = setting(
        "off", "Maximum jobs of one tenant that wait.", Number(1), off=None
    )
    max_running_jobs: int | None = setting(
        "off", "Maximum jobs that run concurrently over all replicas.", Number(1), off=None
    )
    max_running_jobs_per_tenant: int | None = setting(
        "off", "Maximum jobs of one tenant that run concurrently over all replicas.", Number(1), off=None
    )
    max_versions_per_model: int | None = setting("off", "Maximum versions of one model.", Number(1), off=None)
    max_versions_per_tenant: int | None = setting(
        "off", "Maximum versions of all models of one tenant.", Number(1), off=None
    )
    max_storage_per_tenant: int | None = setting(
        "off", "Maximum size of the versions and examples of one tenant.", Size("1MiB"), off=None
    )

    @property
    def max_message_size(self) -> int:
        """Bytes of one message: two of the largest inputs fit, also one in base64."""
        return max(4 << 20, 2 * self.max_input_size)

    @property
    def max_connections(self) -> int:
        """Connections of each port: each request may have its own, and idle ones are cheap."""
        return 4 * self.max_concurrent_requests

    @property
    def max_activation_size(self) -> int:
        """Bytes of one job's activations on disk while the recipe `partial` trains."""
        return self.max_dataset_size // 2


@dataclass(frozen=True, kw_only=True)
class BackbonesGroup(Group):
    """Which backbones the server has, and how it runs them."""

    section = "backbones"
    title = "Backbones"

    default_backbone: str = setting(
        "efficientnet-lite0", "Backbone that is loaded at the start.", Text("NAME"), basic=True
    )
    backbone: Sequence[str] = setting(
        (),
        "Further backbone, such as keras:MobileNetV3Small.",
        Texts("[NAME=]SOURCE[,KEY=VALUE]"),
        basic=True,
    )
    backbones_file: Path | None = setting(
        None, "TOML file of further backbones, or a folder of such files.", File("PATH"), basic=True
    )
    allow_backbone: Sequence[str] = setting(
        (),
        "Prefix that the sources of further backbones must have, such as keras:, hf:ORG or a folder.",
        Texts("PREFIX"),
        needs="any source",
    )
    runtime: str = setting(
        "auto",
        "What runs backbones; auto is OpenVINO on a CPU and Keras on a GPU.",
        Choice(("auto", "keras", "openvino")),
        basic=True,
    )
    precision: str = setting(
        "auto",
        "Number format of backbones; auto is bfloat16 if the device supports it.",
        Choice(("auto", "float32", "bfloat16")),
    )
    batch_delay: float = setting(
        "0s", "Time that a Predict request may wait for its batch to fill.", Duration(max="1s")
    )
    backbone_cache: Path | None = setting(
        None, "Folder of downloaded and converted backbones.", File("DIR"), needs="~/.cache/headstart"
    )
    prepared_backbones: Path | None = setting(
        None, "Folder of backbones that were prepared ahead of time, which is never written.", File("DIR")
    )


@dataclass(frozen=True, kw_only=True)
class AuthGroup(Group):
    """Who may do what, and the record of it."""

    section = "auth"
    title = "Access"

    access_file: Path | None = setting(
        None, "Access-control file (TOML). Without it, every caller may do everything.", File(), basic=True
    )
    audit_log: Path | None = setting(
        None, "File of the audit log, one JSON line per call; - is stdout.", File(), basic=True
    )
    audit_all: bool = setting(False, "Also record calls that only read.", Switch())
    audit_unauthenticated_rate: float | None = setting(
        "10/s",
        "Maximum rate of audit lines about unauthenticated callers; the others are counted.",
        Rate("1/s"),
        off=None,
    )

    @property
    def audit_file(self) -> Path | None:
        """The file of the audit log; None without one, and for stdout."""
        return None if self.audit_log == STDOUT else self.audit_log


@dataclass(frozen=True, kw_only=True)
class ObservabilityGroup(Group):
    """Logs, metrics, traces and measurements."""

    section = "observability"
    title = "Observability"

    metrics_port: int | Off | None = setting(
        "auto",
        f"Port of Prometheus metrics, without TLS; auto is {METRICS_PORT} if only this machine reaches "
        "--host, else off.",
        Number(0, 65535),
        off=Off.OFF,
        auto=True,
        basic=True,
    )
    monitor_sample_rate: float | None = setting(
        "off",
        "Fraction of Predict requests that are sampled for drift and shadow comparison.",
        Fraction(0.0, 1.0),
        off=None,
        basic=True,
    )
    trace_endpoint: Secret[str] | str | None = setting(
        None,
        "OTLP/gRPC collector of traces, such as http://HOST:4317; requires the extra otel.",
        SecretText(),
        needs="the OTEL_... variables",
    )
    log_level: str = setting(
        "info", "Lowest level that is logged.", Choice(("debug", "info", "warning", "error")), basic=True
    )
    log_format: str = setting(
        "auto",
        "Format of the log; auto is text on a terminal, else JSON.",
        Choice(("auto", "text", "json")),
        basic=True,
    )
    grid_gco2_per_kwh: float = setting(
        GRID_GCO2E_PER_KWH,
        "Grams of CO2-equivalent per kWh of this machine's electricity.",
        Fraction(0.0, 2000.0),
    )
    cpu_watts_per_core: float = setting(
        WATTS_PER_CORE,
        "Watts of a busy core, for machines that do not measure their power.",
        Fraction(0.1, 100.0),
    )

    @property
    def trace_url(self) -> str | None:
        """The URL of the collector of traces, which may contain a password."""
        return revealed(self.trace_endpoint)


def revealed(secret: Secret[str] | str | None) -> str | None:
    """Return the text of a secret."""
    return secret.reveal() if isinstance(secret, Secret) else secret
