import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headstart.v1 import alias_event_pb2 as _alias_event_pb2
from headstart.v1 import capture_policy_pb2 as _capture_policy_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from headstart.v1 import evaluation_pb2 as _evaluation_pb2
from headstart.v1 import model_pb2 as _model_pb2
from headstart.v1 import retrain_policy_pb2 as _retrain_policy_pb2
from headstart.v1 import version_selector_pb2 as _version_selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_FORMAT_UNSPECIFIED: _ClassVar[ReportFormat]
    REPORT_FORMAT_HTML: _ClassVar[ReportFormat]
    REPORT_FORMAT_JSON: _ClassVar[ReportFormat]
    REPORT_FORMAT_TEXT: _ClassVar[ReportFormat]

class ExportFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPORT_FORMAT_UNSPECIFIED: _ClassVar[ExportFormat]
    EXPORT_FORMAT_KERAS: _ClassVar[ExportFormat]
    EXPORT_FORMAT_SAVEDMODEL: _ClassVar[ExportFormat]
    EXPORT_FORMAT_ONNX: _ClassVar[ExportFormat]
    EXPORT_FORMAT_OPENVINO: _ClassVar[ExportFormat]
    EXPORT_FORMAT_LITERT: _ClassVar[ExportFormat]

class VersionView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_VIEW_UNSPECIFIED: _ClassVar[VersionView]
    VERSION_VIEW_BASIC: _ClassVar[VersionView]
    VERSION_VIEW_FULL: _ClassVar[VersionView]
REPORT_FORMAT_UNSPECIFIED: ReportFormat
REPORT_FORMAT_HTML: ReportFormat
REPORT_FORMAT_JSON: ReportFormat
REPORT_FORMAT_TEXT: ReportFormat
EXPORT_FORMAT_UNSPECIFIED: ExportFormat
EXPORT_FORMAT_KERAS: ExportFormat
EXPORT_FORMAT_SAVEDMODEL: ExportFormat
EXPORT_FORMAT_ONNX: ExportFormat
EXPORT_FORMAT_OPENVINO: ExportFormat
EXPORT_FORMAT_LITERT: ExportFormat
VERSION_VIEW_UNSPECIFIED: VersionView
VERSION_VIEW_BASIC: VersionView
VERSION_VIEW_FULL: VersionView

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ...) -> None: ...

class SetAliasRequest(_message.Message):
    __slots__ = ("model", "alias", "version", "etag", "traffic")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    version: int
    etag: str
    traffic: _containers.RepeatedCompositeFieldContainer[_model_pb2.TrafficSplit]
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., traffic: _Optional[_Iterable[_Union[_model_pb2.TrafficSplit, _Mapping]]] = ...) -> None: ...

class SetAliasResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: _model_pb2.Alias
    def __init__(self, alias: _Optional[_Union[_model_pb2.Alias, _Mapping]] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("model", "alias", "etag")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    etag: str
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteVersionRequest(_message.Message):
    __slots__ = ("model", "version", "force")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    force: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., force: bool = ...) -> None: ...

class DeleteVersionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("model", "force")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    force: bool
    def __init__(self, model: _Optional[str] = ..., force: bool = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = ("deleted_versions",)
    DELETED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    deleted_versions: int
    def __init__(self, deleted_versions: _Optional[int] = ...) -> None: ...

class EraseExampleRequest(_message.Message):
    __slots__ = ("example_id", "model", "rebuild", "request_id")
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REBUILD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    example_id: str
    model: str
    rebuild: bool
    request_id: str
    def __init__(self, example_id: _Optional[str] = ..., model: _Optional[str] = ..., rebuild: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class EraseExampleResponse(_message.Message):
    __slots__ = ("versions", "unread_versions", "job_ids", "deleted_contents", "certificate", "datasets")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    DELETED_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[_version_selector_pb2.VersionRef]
    unread_versions: _containers.RepeatedCompositeFieldContainer[_version_selector_pb2.VersionRef]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    deleted_contents: int
    certificate: ErasureCertificate
    datasets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, versions: _Optional[_Iterable[_Union[_version_selector_pb2.VersionRef, _Mapping]]] = ..., unread_versions: _Optional[_Iterable[_Union[_version_selector_pb2.VersionRef, _Mapping]]] = ..., job_ids: _Optional[_Iterable[str]] = ..., deleted_contents: _Optional[int] = ..., certificate: _Optional[_Union[ErasureCertificate, _Mapping]] = ..., datasets: _Optional[_Iterable[str]] = ...) -> None: ...

class ErasureCertificate(_message.Message):
    __slots__ = ("request_id", "example_id", "start_time", "end_time", "versions", "deleted_contents")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DELETED_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    example_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    versions: _containers.RepeatedCompositeFieldContainer[RebuiltVersion]
    deleted_contents: int
    def __init__(self, request_id: _Optional[str] = ..., example_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[RebuiltVersion, _Mapping]]] = ..., deleted_contents: _Optional[int] = ...) -> None: ...

class RebuiltVersion(_message.Message):
    __slots__ = ("model", "version", "head_digest", "dataset_digest", "new_version", "new_head_digest", "new_dataset_digest", "aliases", "promotion", "skipped_reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HEAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATASET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NEW_VERSION_FIELD_NUMBER: _ClassVar[int]
    NEW_HEAD_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NEW_DATASET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    PROMOTION_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    head_digest: str
    dataset_digest: str
    new_version: int
    new_head_digest: str
    new_dataset_digest: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    promotion: _comparison_pb2.Promotion
    skipped_reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., head_digest: _Optional[str] = ..., dataset_digest: _Optional[str] = ..., new_version: _Optional[int] = ..., new_head_digest: _Optional[str] = ..., new_dataset_digest: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., promotion: _Optional[_Union[_comparison_pb2.Promotion, _Mapping]] = ..., skipped_reason: _Optional[str] = ...) -> None: ...

class GetEvaluationRequest(_message.Message):
    __slots__ = ("target",)
    TARGET_FIELD_NUMBER: _ClassVar[int]
    target: _version_selector_pb2.VersionSelector
    def __init__(self, target: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ...) -> None: ...

class GetEvaluationResponse(_message.Message):
    __slots__ = ("version", "evaluation", "findings")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.Version
    evaluation: _evaluation_pb2.Evaluation
    findings: _evaluation_pb2.DatasetFindings
    def __init__(self, version: _Optional[_Union[_model_pb2.Version, _Mapping]] = ..., evaluation: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ..., findings: _Optional[_Union[_evaluation_pb2.DatasetFindings, _Mapping]] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("target", "format")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    target: _version_selector_pb2.VersionSelector
    format: ReportFormat
    def __init__(self, target: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., format: _Optional[_Union[ReportFormat, str]] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("content", "media_type", "version")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    media_type: str
    version: int
    def __init__(self, content: _Optional[bytes] = ..., media_type: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ExportVersionRequest(_message.Message):
    __slots__ = ("target", "format")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    target: _version_selector_pb2.VersionSelector
    format: ExportFormat
    def __init__(self, target: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., format: _Optional[_Union[ExportFormat, str]] = ...) -> None: ...

class ExportVersionResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: ExportHeader
    chunk: ExportChunk
    def __init__(self, header: _Optional[_Union[ExportHeader, _Mapping]] = ..., chunk: _Optional[_Union[ExportChunk, _Mapping]] = ...) -> None: ...

class ExportHeader(_message.Message):
    __slots__ = ("model", "version", "format", "files")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    format: ExportFormat
    files: _containers.RepeatedCompositeFieldContainer[ExportedFile]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., format: _Optional[_Union[ExportFormat, str]] = ..., files: _Optional[_Iterable[_Union[ExportedFile, _Mapping]]] = ...) -> None: ...

class ExportedFile(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: str
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class ExportChunk(_message.Message):
    __slots__ = ("file", "content")
    FILE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    file: int
    content: bytes
    def __init__(self, file: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class ListBackbonesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBackbonesResponse(_message.Message):
    __slots__ = ("backbones", "next_page_token", "statuses")
    BACKBONES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    backbones: _containers.RepeatedCompositeFieldContainer[_model_pb2.Backbone]
    next_page_token: str
    statuses: _containers.RepeatedCompositeFieldContainer[_model_pb2.BackboneStatus]
    def __init__(self, backbones: _Optional[_Iterable[_Union[_model_pb2.Backbone, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[_model_pb2.BackboneStatus, _Mapping]]] = ...) -> None: ...

class GetVersionRequest(_message.Message):
    __slots__ = ("target", "view")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    target: _version_selector_pb2.VersionSelector
    view: VersionView
    def __init__(self, target: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., view: _Optional[_Union[VersionView, str]] = ...) -> None: ...

class GetVersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.Version
    def __init__(self, version: _Optional[_Union[_model_pb2.Version, _Mapping]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token", "filter", "order_by", "view")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    filter: VersionFilter
    order_by: str
    view: VersionView
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[_Union[VersionFilter, _Mapping]] = ..., order_by: _Optional[str] = ..., view: _Optional[_Union[VersionView, str]] = ...) -> None: ...

class VersionFilter(_message.Message):
    __slots__ = ("tags", "alias", "backbone", "created_after", "created_before")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.ScalarMap[str, str]
    alias: str
    backbone: str
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    def __init__(self, tags: _Optional[_Mapping[str, str]] = ..., alias: _Optional[str] = ..., backbone: _Optional[str] = ..., created_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "next_page_token")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[_model_pb2.Version]
    next_page_token: str
    def __init__(self, versions: _Optional[_Iterable[_Union[_model_pb2.Version, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateVersionRequest(_message.Message):
    __slots__ = ("model", "version", "display_name", "description", "tags", "expire_time", "ttl", "update_mask")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    display_name: str
    description: str
    tags: _containers.ScalarMap[str, str]
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., display_name: _Optional[str] = ..., description: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateVersionResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _model_pb2.Version
    def __init__(self, version: _Optional[_Union[_model_pb2.Version, _Mapping]] = ...) -> None: ...

class UpdateModelRequest(_message.Message):
    __slots__ = ("model", "display_name", "description", "tags", "update_mask", "capture", "retrain")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    RETRAIN_FIELD_NUMBER: _ClassVar[int]
    model: str
    display_name: str
    description: str
    tags: _containers.ScalarMap[str, str]
    update_mask: _field_mask_pb2.FieldMask
    capture: _capture_policy_pb2.CapturePolicy
    retrain: _retrain_policy_pb2.RetrainPolicy
    def __init__(self, model: _Optional[str] = ..., display_name: _Optional[str] = ..., description: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., capture: _Optional[_Union[_capture_policy_pb2.CapturePolicy, _Mapping]] = ..., retrain: _Optional[_Union[_retrain_policy_pb2.RetrainPolicy, _Mapping]] = ...) -> None: ...

class UpdateModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ...) -> None: ...

class ListAliasEventsRequest(_message.Message):
    __slots__ = ("model", "alias", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAliasEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_alias_event_pb2.AliasEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_alias_event_pb2.AliasEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTrafficRequest(_message.Message):
    __slots__ = ("model", "version", "window_duration")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_DURATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    window_duration: _duration_pb2.Duration
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., window_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetTrafficResponse(_message.Message):
    __slots__ = ("start_time", "end_time", "versions", "points")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    versions: _containers.RepeatedCompositeFieldContainer[VersionTraffic]
    points: _containers.RepeatedCompositeFieldContainer[TrafficPoint]
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[VersionTraffic, _Mapping]]] = ..., points: _Optional[_Iterable[_Union[TrafficPoint, _Mapping]]] = ...) -> None: ...

class TrafficPoint(_message.Message):
    __slots__ = ("start_time", "request_count", "error_count")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    request_count: int
    error_count: int
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_count: _Optional[int] = ..., error_count: _Optional[int] = ...) -> None: ...

class VersionTraffic(_message.Message):
    __slots__ = ("version", "request_count", "error_count", "input_count", "unknown_count", "latency_p50_duration", "latency_p90_duration", "latency_p99_duration", "sample_count", "feature_drift", "prediction_drift", "confidence_drift", "compared_count", "agreed_count")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_DURATION_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P90_DURATION_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P99_DURATION_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_DRIFT_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_DRIFT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_DRIFT_FIELD_NUMBER: _ClassVar[int]
    COMPARED_COUNT_FIELD_NUMBER: _ClassVar[int]
    AGREED_COUNT_FIELD_NUMBER: _ClassVar[int]
    version: int
    request_count: int
    error_count: int
    input_count: int
    unknown_count: int
    latency_p50_duration: _duration_pb2.Duration
    latency_p90_duration: _duration_pb2.Duration
    latency_p99_duration: _duration_pb2.Duration
    sample_count: int
    feature_drift: float
    prediction_drift: float
    confidence_drift: float
    compared_count: int
    agreed_count: int
    def __init__(self, version: _Optional[int] = ..., request_count: _Optional[int] = ..., error_count: _Optional[int] = ..., input_count: _Optional[int] = ..., unknown_count: _Optional[int] = ..., latency_p50_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., latency_p90_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., latency_p99_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sample_count: _Optional[int] = ..., feature_drift: _Optional[float] = ..., prediction_drift: _Optional[float] = ..., confidence_drift: _Optional[float] = ..., compared_count: _Optional[int] = ..., agreed_count: _Optional[int] = ...) -> None: ...
