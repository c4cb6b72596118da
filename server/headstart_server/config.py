"""The settings of a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting, with its default. The flags of ``headstart-server serve`` describe them.

    Attributes:
        host: address to listen on.
        port: port of the gRPC services; 0 takes a free one.
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
        max_examples: examples of one fine-tune.
        max_dataset_mib: MiB of the examples of one fine-tune.
        max_input_mib: MiB of one input.
        max_classes: classes of one fine-tune.
        max_pixels: pixels of one picture.
        feature_cache_mib: MiB of cached features in memory.
        feature_cache_disk_mib: MiB of cached features in the data folder, over restarts; 0 keeps none.
        kept_examples_mib: MiB of examples kept for versions, so that others can go on from them; 0 keeps
            none. Beyond it the version published longest ago loses its examples first, those with an alias
            last.
        activations_mib: MiB of one job's activations in the data folder while the recipe `partial` trains.
        cache_predictions: whether Predict uses the feature cache, too.
        resident_heads_mib: MiB of heads and tails kept in memory.
        tls_cert: the server's certificate chain; with `tls_key` the port speaks TLS.
        tls_key: its private key.
        tls_client_ca: certificates that sign clients'; clients must then show one.
        reflection: whether the contract can be read from the server.
        keepalive_seconds: a quiet connection is asked this often whether it still lives.
        max_connection_age_seconds: a connection is closed, gracefully, at this age; 0 for never.
        grace_seconds: what running calls get to end when the server stops; running jobs go back to the queue.
        job_retention_hours: how long ended jobs are remembered.
        log_level: lowest level logged.
        log_format: `text`, `json`, or `auto`: text on a terminal, else JSON.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    metrics_port: int | None = 9090
    data: Path = Path("headstart-data")
    database: str | None = None
    artifacts: str | None = None
    artifact_copies_mib: int = 4096
    backbone: str = "efficientnet-lite0"
    backbones: Path | None = None
    add_backbone: Sequence[str] = ()
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
    max_examples: int = 50_000
    max_dataset_mib: int = 4096
    max_input_mib: int = 32
    max_classes: int = 1000
    max_pixels: int = 64_000_000
    feature_cache_mib: int = 256
    feature_cache_disk_mib: int = 1024
    kept_examples_mib: int = 8192
    activations_mib: int = 2048
    cache_predictions: bool = False
    resident_heads_mib: int = 256
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    reflection: bool = False
    keepalive_seconds: float = 60.0
    max_connection_age_seconds: float = 0.0
    grace_seconds: float = 30.0
    job_retention_hours: float = 168.0
    log_level: str = "info"
    log_format: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.beat_seconds <= self.lease_seconds / 2:
            raise ValueError(
                "Expected --beat-seconds above 0 and at most half of --lease-seconds, "
                f"{self.lease_seconds:g}. Received: {self.beat_seconds:g}."
            )
        if not 0 <= self.train_share < 1:
            raise ValueError(
                f"Expected a --train-share of 0 or more and below 1. Received: {self.train_share:g}."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("Expected both --tls-cert and --tls-key, or neither. Received: one of them.")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("Expected --tls-cert and --tls-key with --tls-client-ca. Received: neither.")
