"""The server, the caller, and the usage of the caller's tenant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from headstart.results.exports import ExportFormat
from headstart.results.models import Modality


class Feature(StrEnum):
    """An optional feature of a server."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    HTTP = "HTTP"
    AUTHENTICATION = "AUTHENTICATION"
    WEBHOOKS = "WEBHOOKS"
    DATASET_URIS = "DATASET_URIS"
    PARTIAL_RECIPE = "PARTIAL_RECIPE"
    KEPT_EXAMPLES = "KEPT_EXAMPLES"
    MONITORING = "MONITORING"
    OPEN_INFERENCE_PROTOCOL = "OPEN_INFERENCE_PROTOCOL"
    TENSORFLOW_SERVING = "TENSORFLOW_SERVING"
    REFLECTION = "REFLECTION"


class Right(StrEnum):
    """A permission on a model. No right includes another."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    PREDICT = "PREDICT"
    TRAIN = "TRAIN"
    ADMIN = "ADMIN"
    FEEDBACK = "FEEDBACK"
    REVIEW = "REVIEW"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerLimits:
    """The limits of requests. None: unlimited.

    Attributes:
        message_bytes: size of one gRPC message.
        inputs: inputs of one Predict or Embed.
        input_bytes: size of one input.
        image_pixels: pixels of one image.
        text_characters: characters of one text.
        targets: targets of one Predict.
        neighbors: neighbors of one input.
        page_size: entries of one page of a list.
        batch_examples: examples in one message of a stream.
        examples: examples of one fine-tune.
        dataset_bytes: size of all examples of one fine-tune.
        classes: classes of one fine-tune.
        queued_jobs: queued jobs, over all replicas.
        run_duration: duration of one run of a job.
        versions_per_model: versions of one model.
        aliases_per_model: aliases of one model.
        concurrent_requests_per_caller: concurrent requests of one caller.
        requests_per_second_per_caller: requests per second of one caller.
    """

    message_bytes: int
    inputs: int
    input_bytes: int
    image_pixels: int
    text_characters: int
    targets: int
    neighbors: int
    page_size: int
    batch_examples: int
    examples: int
    dataset_bytes: int = 0
    classes: int
    queued_jobs: int
    run_duration: timedelta | None
    versions_per_model: int | None
    aliases_per_model: int
    concurrent_requests_per_caller: int | None
    requests_per_second_per_caller: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerInfo:
    """The release, limits, features and default backbones of a server.

    Attributes:
        release: the release of Headstart.
        limits: the limits of requests.
        features: the optional features that are available.
        export_formats: the forms in which versions can be exported.
        default_backbones: the backbone of each modality that is used if a request names no backbone.
        precision_reasons: reasons for using them in 8 bits or in floating point, if an 8-bit form was
            prepared.
    """

    release: str
    limits: ServerLimits
    features: tuple[Feature, ...]
    export_formats: tuple[ExportFormat, ...]
    default_backbones: Mapping[Modality, str] = field(hash=False)
    precision_reasons: Mapping[Modality, str] = field(hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """Rights on some models.

    Attributes:
        rights: the rights.
        models: names of models, or prefixes of names followed by ``*``.
    """

    rights: tuple[Right, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The identity and permissions of a caller.

    Attributes:
        authenticated: whether the server authenticates callers; if not, every caller may do everything.
        principal: the name in the access file; empty without authentication.
        subject: the ``sub`` claim of the token; empty without a token of an issuer.
        tenant: the tenant; empty for none.
        permissions: the caller's permissions.
        operator_access: whether the caller may see paths and URLs of the server.
    """

    authenticated: bool
    principal: str
    subject: str
    tenant: str
    permissions: tuple[Permission, ...]
    operator_access: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The usage of a tenant over all its models. A limit of None: unlimited.

    Attributes:
        tenant: the tenant; empty for models without a tenant.
        version_count: number of versions.
        version_limit: maximum versions, including those of queued and running jobs.
        version_bytes: size of versions.
        example_bytes: size of the examples that versions, jobs and datasets need.
        stored_bytes_limit: maximum bytes of versions, examples and captured inputs together.
        queued_job_count: number of queued jobs.
        queued_job_limit: maximum queued jobs.
        running_job_count: number of running jobs.
        running_job_limit: maximum running jobs.
        dataset_count: number of datasets.
        dataset_bytes: size of the examples of datasets, which is part of `example_bytes`.
        capture_bytes: size of captured inputs with their features.
    """

    tenant: str
    version_count: int
    version_limit: int | None
    version_bytes: int
    example_bytes: int
    stored_bytes_limit: int | None
    queued_job_count: int
    queued_job_limit: int | None
    running_job_count: int
    running_job_limit: int | None
    dataset_count: int = 0
    dataset_bytes: int = 0
    capture_bytes: int = 0

    @property
    def stored_bytes(self) -> int:
        """The size of versions, examples and captured inputs together."""
        return self.version_bytes + self.example_bytes + self.capture_bytes
