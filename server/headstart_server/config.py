"""The settings of a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from headstart_server.energy import GRID_GCO2E_PER_KWH, WATTS_PER_CORE
from headstart_server.secret import Secret

#: The protocols of other model servers.
DIALECTS = ("oip", "tfserving")
#: The usual port of the metrics.
METRICS_PORT = 9090
#: In place of the file of the audit log.
STDOUT = Path("-")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def usual_metrics_port(host: str) -> int | None:
    """Where metrics are served if no setting says it: they tell of models' names, so only on the loopback."""
    return METRICS_PORT if is_loopback(host) else None


#: Settings that may hold a password or a token. They are never printed.
SECRET_SETTINGS = ("database", "webhook", "trace_endpoint")


def _revealed(secret: Secret[str] | str | None) -> str | None:
    return secret.reveal() if isinstance(secret, Secret) else secret


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting, with its default. The flags of ``headstart-server serve`` describe them.

    Attributes:
        host: address to listen on.
        plaintext: whether `host` and `http_host` may be addresses that other machines reach without TLS.
        port: port of the gRPC services; 0 takes a free one.
        http_port: port of the same calls over HTTP; None serves none, 0 takes a free one.
        http_host: address to listen on for them.
        http_allowed_hosts: further host names that HTTP requests may be for. Without TLS and `access`, only
            these are accepted, addresses, `localhost` and `http_host`.
        metrics_port: port of the Prometheus metrics; None serves none, 0 takes a free one.
        data: folder of all that this server keeps for itself, and of whatever has no place of its own.
        database: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST:PORT/NAME`, which several replicas may
            share; None takes an SQLite file in the data folder.
        artifacts: folder of datasets and versions, or `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`; the same
            for all replicas of a database. None takes the data folder.
        artifact_copies_mib: MiB of copies of a bucket's archives in the data folder, those used last.
        backbone: the default backbone, loaded at start.
        backbones: TOML file of declared backbones, or a folder of such files; None declares none.
        add_backbone: further ones, ``[NAME=]SCHEME:LOCATION[,SETTING=VALUE...]``.
        backbone_allow: what sources of declared ones may begin with; () allows all that are declared.
        runtime: what executes backbones: `keras`, `openvino`, or `auto`: OpenVINO on CPU, Keras on a GPU.
        precision: what networks compute in: `float32`, `bfloat16`, or `auto`: bfloat16 where the device
            multiplies it.
        streams: batches that run at once; 0 takes one for each core, with Keras one, on a GPU three.
        backbone_cache: folder of downloaded and converted networks; None takes `headstart` in the user's
            cache folder.
        prepared_backbones: folder of networks that were prepared ahead, such as an image's; it is looked into
            first and never written. None for none.
        workers: jobs that run at once.
        decode_threads: threads that decode, and on a CPU run batches; 0 takes one for each core, there one
            more.
        max_queued_jobs: jobs that may wait, over all replicas.
        max_queued_jobs_per_tenant: of them, those of one tenant; 0 for no further limit.
        max_running_jobs: jobs that run at once over all replicas; 0 for as many as their workers can.
        max_running_jobs_per_tenant: of them, those of one tenant; 0 for no further limit.
        job_memory_mib: MiB of memory of all jobs of this server together, by their estimates; 0 takes what
            the machine or container leaves next to caches and backbones.
        job_time_limit_hours: hours after which a run of a job fails; 0 for no limit.
        max_versions_per_model: most versions of a model; 0 for no limit.
        max_versions_per_tenant: most versions of all models of one tenant; 0 for no limit.
        max_stored_mib_per_tenant: MiB of versions and examples that one tenant may store; 0 for no limit.
        max_calls_per_second: calls a second that each caller may make; 0 for no limit.
        max_calls_per_caller: calls of each caller at once; 0 for no limit but that of all.
        max_mib_per_second: MiB of requests a second that each caller may send; 0 for no limit.
        lease_seconds: after which the job of a replica that is silent is taken over.
        beat_seconds: how often a replica renews its leases, and hears of cancels asked for elsewhere.
        max_pending_inputs: Predict inputs that may be held for each backbone.
        max_inputs: inputs of one Predict or Embed call.
        max_batch: rows of a Predict batch; 0 takes what suits the runtime.
        batch_delay_ms: milliseconds that a Predict may wait for its batch to fill; 0 adds no delay.
        train_slice: rows of a training batch: a Predict waits for one of them at most; 0 takes what suits.
        train_share: part of the time that training gets while Predicts wait, 0 or more and below 1; alone it
            gets all.
        max_message_mib: MiB of one gRPC message.
        max_calls: calls at once.
        max_connections: connections of each port for calls; on the HTTP port one address may hold a quarter
            of them. Never more than half of the files that the process may open.
        max_examples: examples of one fine-tune.
        max_dataset_mib: MiB of the examples of one fine-tune.
        max_input_mib: MiB of one input.
        max_classes: classes of one fine-tune.
        max_pixels: pixels of one picture.
        feature_cache_mib: MiB of cached features in memory.
        feature_cache_disk_mib: MiB of cached features in the data folder, over restarts; 0 keeps none.
        feature_cache_per_tenant: whether cached features of one tenant are of no use to another, so that
            nobody can tell by the time whether another one sent the same picture.
        kept_examples_mib: MiB of examples kept for versions, so that others can go on from them; 0 keeps
            none. Beyond it the version published longest ago loses its examples first, those with an alias
            last.
        activations_mib: MiB of one job's activations in the data folder while the recipe `partial` trains.
        cache_predictions: whether Predict uses the feature cache, too.
        resident_heads_mib: MiB of heads and tails kept in memory.
        tls_cert: the server's certificate chain; with `tls_key` the port speaks TLS.
        tls_key: its private key.
        tls_client_ca: certificates that sign clients'; clients must then show one.
        access: file of who may do what; None lets everybody do everything.
        audit_log: file of who did what, `-` for stdout; None keeps none.
        audit_all: whether it has calls that change nothing, too.
        audit_strangers_per_second: lines a second that it has of callers that are not known, of each kind of
            refusal; the others are counted. 0 for no limit.
        reflection: whether the contract can be read from the server.
        dialects: protocols of other model servers that the port speaks too, with commas between them: `oip`,
            the Open Inference Protocol, and `tfserving`, TensorFlow Serving's API; `none` for none.
        keepalive_seconds: a quiet connection is asked this often whether it still lives.
        max_connection_age_seconds: a connection is closed, gracefully, at this age; 0 for never.
        grace_seconds: what running calls get to end when the server stops; running jobs go back to the queue.
        job_retention_hours: how long ended jobs are remembered.
        look_share: share of the Predicts that are looked at afterwards, for drift of their inputs and answers
            and what a shadow would have answered; 0 for none.
        shadow_alias: the alias of each model's shadow.
        grid_gco2_per_kwh: grams of CO2-equivalent of a kilowatt-hour here, for what fine-tunes cost.
        cpu_watts_per_core: watts of a busy core, where the machine does not tell what it uses.
        trace_endpoint: collector that traces are sent to by OTLP/gRPC, `http://HOST:PORT`, or https; None for
            that of OpenTelemetry's environment variables, and no traces without them.
        webhook: URL that is told of the ends of jobs that name none; None for none.
        webhook_allow: URLs that those which jobs may name begin with.
        webhook_secret_file: file of the secrets that they are signed with, `whsec_` and base64, one a line.
        allow_data: folders, and URIs taken for folders, that datasets may be read from when a call names one.
        allow_private_addresses: whether webhooks and dataset URIs may use addresses outside the internet.
        log_level: lowest level logged.
        log_format: `text`, `json`, or `auto`: text on a terminal, else JSON.
    """

    host: str = "127.0.0.1"
    plaintext: bool = False
    port: int = 8765
    http_port: int | None = None
    http_host: str = "127.0.0.1"
    http_allowed_hosts: Sequence[str] = ()
    metrics_port: int | None = METRICS_PORT
    data: Path = Path("headstart-data")
    database: Secret[str] | str | None = None
    artifacts: str | None = None
    artifact_copies_mib: int = 4096
    backbone: str = "efficientnet-lite0"
    backbones: Path | None = None
    add_backbone: Sequence[str] = ()
    backbone_allow: Sequence[str] = ()
    runtime: str = "auto"
    precision: str = "auto"
    streams: int = 0
    backbone_cache: Path | None = None
    prepared_backbones: Path | None = None
    workers: int = 2
    decode_threads: int = 0
    max_queued_jobs: int = 100
    max_queued_jobs_per_tenant: int = 0
    max_running_jobs: int = 0
    max_running_jobs_per_tenant: int = 0
    job_memory_mib: int = 0
    job_time_limit_hours: float = 24.0
    max_versions_per_model: int = 0
    max_versions_per_tenant: int = 0
    max_stored_mib_per_tenant: int = 0
    max_calls_per_second: float = 0.0
    max_calls_per_caller: int = 0
    max_mib_per_second: float = 0.0
    lease_seconds: float = 10.0
    beat_seconds: float = 1.0
    max_pending_inputs: int = 512
    max_inputs: int = 256
    max_batch: int = 0
    batch_delay_ms: float = 0.0
    train_slice: int = 0
    train_share: float = 0.2
    max_message_mib: int = 64
    max_calls: int = 1024
    max_connections: int = 4096
    max_examples: int = 50_000
    max_dataset_mib: int = 4096
    max_input_mib: int = 32
    max_classes: int = 1000
    max_pixels: int = 64_000_000
    feature_cache_mib: int = 256
    feature_cache_disk_mib: int = 1024
    feature_cache_per_tenant: bool = False
    kept_examples_mib: int = 8192
    activations_mib: int = 2048
    cache_predictions: bool = False
    resident_heads_mib: int = 256
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    access: Path | None = None
    audit_log: Path | None = None
    audit_all: bool = False
    audit_strangers_per_second: int = 10
    reflection: bool = False
    dialects: str = "oip,tfserving"
    keepalive_seconds: float = 60.0
    max_connection_age_seconds: float = 0.0
    grace_seconds: float = 30.0
    job_retention_hours: float = 168.0
    look_share: float = 0.0
    shadow_alias: str = "shadow"
    grid_gco2_per_kwh: float = GRID_GCO2E_PER_KWH
    cpu_watts_per_core: float = WATTS_PER_CORE
    trace_endpoint: Secret[str] | str | None = None
    webhook: Secret[str] | str | None = None
    webhook_allow: Sequence[str] = ()
    webhook_secret_file: Path | None = None
    allow_data: Sequence[str] = ()
    allow_private_addresses: bool = False
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def database_target(self) -> Path | str:
        """The URL of the database, which may hold a password, or its SQLite file in the data folder."""
        return self.database_url or self.data / "headstart.sqlite3"

    @property
    def database_url(self) -> str | None:
        """The URL of the database, which may hold a password."""
        return _revealed(self.database)

    @property
    def webhook_url(self) -> str | None:
        """The server's own URL for webhooks, which may hold a token."""
        return _revealed(self.webhook)

    @property
    def trace_url(self) -> str | None:
        """The URL of the collector of traces, which may hold a password."""
        return _revealed(self.trace_endpoint)

    @property
    def audit_file(self) -> Path | None:
        """The file of the audit log; None without one, and where it goes to stdout."""
        return None if self.audit_log == STDOUT else self.audit_log

    @property
    def sends_webhooks(self) -> bool:
        """Whether ends of jobs are told anywhere."""
        return self.webhook is not None or bool(self.webhook_allow)

    def __post_init__(self) -> None:
        self._hide_secrets()
        self._check_sizes()
        if self.sends_webhooks != (self.webhook_secret_file is not None):
            raise ValueError(
                "Expected --webhook-secret-file with --webhook or --allow-webhook, or none of them. "
                f"Received: {'no file' if self.sends_webhooks else 'a file alone'}."
            )
        if self.allow_private_addresses and not self.sends_webhooks and not self.allow_data:
            raise ValueError(
                "--allow-private-addresses requires --webhook, --allow-webhook or --allow-dataset-uri."
            )
        if not 0 < self.beat_seconds <= self.lease_seconds / 2:
            raise ValueError(
                "Expected --beat-seconds above 0 and at most half of --lease-seconds, "
                f"{self.lease_seconds:g}. Received: {self.beat_seconds:g}."
            )
        if not 0 <= self.train_share < 1:
            raise ValueError(
                f"Expected a --train-share of 0 or more and below 1. Received: {self.train_share:g}."
            )
        if self.trace_url is not None and not self.trace_url.startswith(("http://", "https://")):
            raise ValueError("Expected a --trace-endpoint like http://HOST:4317, or https.")
        if unknown := self.spoken_dialects - set(DIALECTS):
            raise ValueError(
                f"Expected --compat-protocols of {', '.join(DIALECTS)}, with commas between them, or none. "
                f"Received: {', '.join(map(repr, sorted(unknown)))}."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("Expected both --tls-cert and --tls-key, or neither. Received: one of them.")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("Expected --tls-cert and --tls-key with --tls-client-ca. Received: neither.")
        if self.audit_all and self.audit_log is None:
            raise ValueError("Expected --audit-log with --audit-all. Received: none.")
        if self.feature_cache_per_tenant and self.access is None:
            raise ValueError("Expected --access-file with --isolate-feature-cache. Received: none.")
        if self.plaintext and self.tls_cert is not None:
            raise ValueError("Expected --plaintext or --tls-cert. Received: both.")
        if self.tls_cert is None and not self.plaintext and self.exposed_hosts:
            flag, host = next(iter(self.exposed_hosts.items()))
            raise ValueError(
                f"{flag} {host} needs --tls-cert and --tls-key, or --plaintext to accept that anyone on the "
                "network path can read and change the traffic."
            )

    def _hide_secrets(self) -> None:
        for name in SECRET_SETTINGS:
            object.__setattr__(self, name, Secret.of(getattr(self, name)))

    def _check_sizes(self) -> None:
        if self.max_message_mib < self.max_input_mib:
            raise ValueError(
                f"--max-message-mib {self.max_message_mib} is below --max-input-mib {self.max_input_mib}, so "
                "the largest inputs cannot be sent. Raise the first or lower the second."
            )

    @property
    def exposed_hosts(self) -> dict[str, str]:
        """Return the flag and address of each port for calls that other machines reach."""
        hosts = {"--host": self.host}
        if self.http_port is not None:
            hosts["--http-host"] = self.http_host
        return {flag: host for flag, host in hosts.items() if not is_loopback(host)}

    @property
    def spoken_dialects(self) -> frozenset[str]:
        """The names in `dialects`."""
        if self.dialects == "none":
            return frozenset()
        return frozenset(name.strip() for name in self.dialects.split(","))
