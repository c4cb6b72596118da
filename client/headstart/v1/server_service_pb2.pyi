import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from headstart.v1 import model_pb2 as _model_pb2
from headstart.v1 import model_service_pb2 as _model_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Feature(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_UNSPECIFIED: _ClassVar[Feature]
    FEATURE_HTTP: _ClassVar[Feature]
    FEATURE_AUTHENTICATION: _ClassVar[Feature]
    FEATURE_WEBHOOKS: _ClassVar[Feature]
    FEATURE_DATASET_URIS: _ClassVar[Feature]
    FEATURE_PARTIAL_RECIPE: _ClassVar[Feature]
    FEATURE_KEPT_EXAMPLES: _ClassVar[Feature]
    FEATURE_MONITORING: _ClassVar[Feature]
    FEATURE_OPEN_INFERENCE_PROTOCOL: _ClassVar[Feature]
    FEATURE_TENSORFLOW_SERVING: _ClassVar[Feature]
    FEATURE_REFLECTION: _ClassVar[Feature]

class Right(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RIGHT_UNSPECIFIED: _ClassVar[Right]
    RIGHT_PREDICT: _ClassVar[Right]
    RIGHT_TRAIN: _ClassVar[Right]
    RIGHT_ADMIN: _ClassVar[Right]
    RIGHT_FEEDBACK: _ClassVar[Right]
    RIGHT_REVIEW: _ClassVar[Right]
FEATURE_UNSPECIFIED: Feature
FEATURE_HTTP: Feature
FEATURE_AUTHENTICATION: Feature
FEATURE_WEBHOOKS: Feature
FEATURE_DATASET_URIS: Feature
FEATURE_PARTIAL_RECIPE: Feature
FEATURE_KEPT_EXAMPLES: Feature
FEATURE_MONITORING: Feature
FEATURE_OPEN_INFERENCE_PROTOCOL: Feature
FEATURE_TENSORFLOW_SERVING: Feature
FEATURE_REFLECTION: Feature
RIGHT_UNSPECIFIED: Right
RIGHT_PREDICT: Right
RIGHT_TRAIN: Right
RIGHT_ADMIN: Right
RIGHT_FEEDBACK: Right
RIGHT_REVIEW: Right

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: ServerInfo
    def __init__(self, info: _Optional[_Union[ServerInfo, _Mapping]] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("release", "limits", "features", "export_formats", "default_backbones")
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FORMATS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_BACKBONES_FIELD_NUMBER: _ClassVar[int]
    release: str
    limits: ServerLimits
    features: _containers.RepeatedScalarFieldContainer[Feature]
    export_formats: _containers.RepeatedScalarFieldContainer[_model_service_pb2.ExportFormat]
    default_backbones: _containers.RepeatedCompositeFieldContainer[DefaultBackbone]
    def __init__(self, release: _Optional[str] = ..., limits: _Optional[_Union[ServerLimits, _Mapping]] = ..., features: _Optional[_Iterable[_Union[Feature, str]]] = ..., export_formats: _Optional[_Iterable[_Union[_model_service_pb2.ExportFormat, str]]] = ..., default_backbones: _Optional[_Iterable[_Union[DefaultBackbone, _Mapping]]] = ...) -> None: ...

class ServerLimits(_message.Message):
    __slots__ = ("message_bytes", "inputs", "input_bytes", "image_pixels", "text_characters", "targets", "neighbors", "page_size", "batch_examples", "examples", "dataset_bytes", "classes", "queued_jobs", "run_duration", "versions_per_model", "aliases_per_model", "concurrent_requests_per_caller", "requests_per_second_per_caller")
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    BATCH_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    DATASET_BYTES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUN_DURATION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_PER_MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIASES_PER_MODEL_FIELD_NUMBER: _ClassVar[int]
    CONCURRENT_REQUESTS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
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
    dataset_bytes: int
    classes: int
    queued_jobs: int
    run_duration: _duration_pb2.Duration
    versions_per_model: int
    aliases_per_model: int
    concurrent_requests_per_caller: int
    requests_per_second_per_caller: float
    def __init__(self, message_bytes: _Optional[int] = ..., inputs: _Optional[int] = ..., input_bytes: _Optional[int] = ..., image_pixels: _Optional[int] = ..., text_characters: _Optional[int] = ..., targets: _Optional[int] = ..., neighbors: _Optional[int] = ..., page_size: _Optional[int] = ..., batch_examples: _Optional[int] = ..., examples: _Optional[int] = ..., dataset_bytes: _Optional[int] = ..., classes: _Optional[int] = ..., queued_jobs: _Optional[int] = ..., run_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., versions_per_model: _Optional[int] = ..., aliases_per_model: _Optional[int] = ..., concurrent_requests_per_caller: _Optional[int] = ..., requests_per_second_per_caller: _Optional[float] = ...) -> None: ...

class DefaultBackbone(_message.Message):
    __slots__ = ("modality", "backbone", "precision_reason")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_REASON_FIELD_NUMBER: _ClassVar[int]
    modality: _model_pb2.Modality
    backbone: str
    precision_reason: str
    def __init__(self, modality: _Optional[_Union[_model_pb2.Modality, str]] = ..., backbone: _Optional[str] = ..., precision_reason: _Optional[str] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("caller",)
    CALLER_FIELD_NUMBER: _ClassVar[int]
    caller: Caller
    def __init__(self, caller: _Optional[_Union[Caller, _Mapping]] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("authenticated", "principal", "subject", "tenant", "permissions", "operator_access")
    AUTHENTICATED_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PERMISSIONS_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_ACCESS_FIELD_NUMBER: _ClassVar[int]
    authenticated: bool
    principal: str
    subject: str
    tenant: str
    permissions: _containers.RepeatedCompositeFieldContainer[Permission]
    operator_access: bool
    def __init__(self, authenticated: bool = ..., principal: _Optional[str] = ..., subject: _Optional[str] = ..., tenant: _Optional[str] = ..., permissions: _Optional[_Iterable[_Union[Permission, _Mapping]]] = ..., operator_access: bool = ...) -> None: ...

class Permission(_message.Message):
    __slots__ = ("rights", "models")
    RIGHTS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    rights: _containers.RepeatedScalarFieldContainer[Right]
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rights: _Optional[_Iterable[_Union[Right, str]]] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: Usage
    def __init__(self, usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("tenant", "version_count", "version_limit", "version_bytes", "example_bytes", "stored_bytes_limit", "queued_job_count", "queued_job_limit", "running_job_count", "running_job_limit", "capture_bytes", "dataset_count", "dataset_bytes")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    VERSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_LIMIT_FIELD_NUMBER: _ClassVar[int]
    VERSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_JOB_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOB_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATASET_COUNT_FIELD_NUMBER: _ClassVar[int]
    DATASET_BYTES_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    version_count: int
    version_limit: int
    version_bytes: int
    example_bytes: int
    stored_bytes_limit: int
    queued_job_count: int
    queued_job_limit: int
    running_job_count: int
    running_job_limit: int
    capture_bytes: int
    dataset_count: int
    dataset_bytes: int
    def __init__(self, tenant: _Optional[str] = ..., version_count: _Optional[int] = ..., version_limit: _Optional[int] = ..., version_bytes: _Optional[int] = ..., example_bytes: _Optional[int] = ..., stored_bytes_limit: _Optional[int] = ..., queued_job_count: _Optional[int] = ..., queued_job_limit: _Optional[int] = ..., running_job_count: _Optional[int] = ..., running_job_limit: _Optional[int] = ..., capture_bytes: _Optional[int] = ..., dataset_count: _Optional[int] = ..., dataset_bytes: _Optional[int] = ...) -> None: ...
