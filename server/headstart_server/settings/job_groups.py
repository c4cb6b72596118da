"""The settings of jobs, limits and backbones. docs/reference/settings.md is generated from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart_server.settings.groups import revealed
from headstart_server.settings.kinds import Choice, File, Fraction, Number, SecretText, Switch, Text, Texts
from headstart_server.settings.measures import ByteRate, Duration, Rate, Size
from headstart_server.settings.secret import Secret
from headstart_server.settings.setting import Group, setting


@dataclass(frozen=True, kw_only=True)
class JobsGroup(Group):
    """How jobs run, the data that they may read, and their notifications."""

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
    open_dataset_retention: float | None = setting(
        "7d",
        "Time after the last batch after which an unfinished dataset is deleted.",
        Duration("1s"),
        off=None,
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
        "20MiB",
        "Maximum size of one input. A message may have a third more, for an input in base64, and at least "
        "4MiB.",
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
        """Bytes of one message: the largest input fits, also in base64.

        gRPC joins the pieces of a message in the event loop, which takes it about a millisecond for each MiB.
        """
        return max(4 << 20, self.max_input_size * 4 // 3 + (1 << 20))

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
    """The backbones of the server, and how it runs them."""

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
        default_text="any source",
    )
    runtime: str = setting(
        "auto",
        "Runtime of backbones; auto is OpenVINO on a CPU and Keras on a GPU.",
        Choice(("auto", "keras", "openvino")),
        basic=True,
    )
    precision: str = setting(
        "auto",
        "Number format of backbones; auto is int8 if it is prepared and faster, else bfloat16 if the device "
        "supports it.",
        Choice(("auto", "float32", "bfloat16", "int8")),
    )
    batch_delay: float = setting(
        "0s", "Time that a Predict request may wait for its batch to fill.", Duration(max="1s")
    )
    backbone_cache: Path | None = setting(
        None, "Folder of downloaded and converted backbones.", File("DIR"), default_text="~/.cache/headstart"
    )
    prepared_backbones: Path | None = setting(
        None, "Folder of backbones that were prepared ahead of time, which is never written.", File("DIR")
    )
