"""The settings of ports, access, storage and observability, for docs/reference/settings.md, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart_server.observability.energy import GRID_GCO2E_PER_KWH, WATTS_PER_CORE
from headstart_server.settings.kinds import (
    Choice,
    Choices,
    File,
    Fraction,
    Host,
    Number,
    SecretText,
    Switch,
    Text,
    Texts,
)
from headstart_server.settings.measures import Duration, Rate, Size
from headstart_server.settings.secret import Secret
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
        "Address of all ports; 0.0.0.0 accepts connections from other machines, and :: over IPv6, too.",
        Host(),
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
    console: bool = setting(True, "Serve the web console at / of the HTTP port.", Switch())
    allow_http_host: Sequence[str] = setting(
        (),
        "Host name that requests to the HTTP and the metrics port may use, such as api.example.com or "
        "*.example.com. IP addresses and localhost are always accepted; on the HTTP port, with TLS or "
        "--access-file, every name is.",
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
    label_studio_url: str | None = setting(
        None,
        "URL of the Label Studio whose uploaded files the server may read, such as "
        "https://label-studio.example.com.",
        Text("URL"),
    )
    label_studio_token: Secret[str] | str | None = setting(
        None, "Access token of a user of this Label Studio.", SecretText("TOKEN")
    )
    reflection: bool = setting(False, "Let clients read the contract from the server.", Switch())
    grace_period: float = setting(
        "30s", "Time that running requests have to end after SIGTERM.", Duration(max="1d"), basic=True
    )
    processes: int | None = setting(
        1,
        "Processes that answer calls. With 2 or more, another process runs the backbones and jobs for all of "
        "them; auto takes one for each 8 cores, and with a GPU one for each 2, up to 8.",
        Number(1, 64),
        auto=True,
    )
    max_connection_age: float | None = setting(
        "off",
        "Close connections gracefully at this age, so that clients find new replicas.",
        Duration(min="1s"),
        off=None,
    )

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names of this server that requests may use."""
        return (self.host, *self.allow_http_host)


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
    """Locations of the data, and limits of its size."""

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
        default_text="an SQLite file in --data-dir",
    )
    artifacts: str | None = setting(
        None,
        "Storage of datasets and versions for all replicas: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
        Text("URI"),
        basic=True,
        default_text="--data-dir",
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
    thumbnail_storage: int | None = setting(
        "256MiB",
        "Disk space in --data-dir for thumbnails: three quarters for examples, the rest for captured inputs.",
        Size("1MiB"),
        off=None,
    )
    feature_cache_memory: int | None = setting(
        "256MiB", "Memory for features of inputs that were seen before.", Size("1MiB"), off=None
    )
    feature_cache_disk: int | None = setting(
        "1GiB",
        "Disk space in --data-dir for features of inputs, kept across restarts.",
        Size("1MiB"),
        off=None,
    )
    isolate_feature_cache: bool = setting(
        False, "Do not share cached features between tenants, at the cost of more computation.", Switch()
    )
    cache_predictions: bool = setting(False, "Use the feature cache for Predict, too.", Switch())
    version_cache_memory: int | None = setting(
        "256MiB",
        "Memory for the heads and tails of versions in use; off keeps only the version that was used last.",
        Size("1MiB"),
        off=None,
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
class AuthGroup(Group):
    """Access control and the audit log."""

    section = "auth"
    title = "Access"

    access_file: Path | None = setting(
        None, "Access-control file (TOML). Without it, every caller may do everything.", File(), basic=True
    )
    audit_log: Path | None = setting(
        None, "File of the audit log, one JSON line per call; - is stdout.", File(), basic=True
    )
    audit_all: bool = setting(False, "Record read-only calls in the audit log, too.", Switch())
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
        default_text="the OTEL_... variables",
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
