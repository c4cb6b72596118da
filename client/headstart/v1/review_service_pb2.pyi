import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headstart.v1 import feedback_pb2 as _feedback_pb2
from headstart.v1 import label_pb2 as _label_pb2
from headstart.v1 import model_pb2 as _model_pb2
from headstart.v1 import prediction_service_pb2 as _prediction_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReviewReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVIEW_REASON_UNSPECIFIED: _ClassVar[ReviewReason]
    REVIEW_REASON_UNCERTAIN: _ClassVar[ReviewReason]
    REVIEW_REASON_NOVEL: _ClassVar[ReviewReason]
    REVIEW_REASON_DISAGREEMENT: _ClassVar[ReviewReason]
    REVIEW_REASON_RARE_CLASS: _ClassVar[ReviewReason]
    REVIEW_REASON_REPRESENTATIVE: _ClassVar[ReviewReason]

class CaptureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPTURE_REASON_UNSPECIFIED: _ClassVar[CaptureReason]
    CAPTURE_REASON_RANDOM: _ClassVar[CaptureReason]
    CAPTURE_REASON_LOW_MARGIN: _ClassVar[CaptureReason]
    CAPTURE_REASON_LOW_TYPICALITY: _ClassVar[CaptureReason]
    CAPTURE_REASON_RARE_CLASS: _ClassVar[CaptureReason]
    CAPTURE_REASON_SHADOW_DISAGREEMENT: _ClassVar[CaptureReason]
REVIEW_REASON_UNSPECIFIED: ReviewReason
REVIEW_REASON_UNCERTAIN: ReviewReason
REVIEW_REASON_NOVEL: ReviewReason
REVIEW_REASON_DISAGREEMENT: ReviewReason
REVIEW_REASON_RARE_CLASS: ReviewReason
REVIEW_REASON_REPRESENTATIVE: ReviewReason
CAPTURE_REASON_UNSPECIFIED: CaptureReason
CAPTURE_REASON_RANDOM: CaptureReason
CAPTURE_REASON_LOW_MARGIN: CaptureReason
CAPTURE_REASON_LOW_TYPICALITY: CaptureReason
CAPTURE_REASON_RARE_CLASS: CaptureReason
CAPTURE_REASON_SHADOW_DISAGREEMENT: CaptureReason

class ListReviewRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token", "version", "alias")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    version: int
    alias: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., version: _Optional[int] = ..., alias: _Optional[str] = ...) -> None: ...

class ListReviewResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "status", "version")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[ReviewEntry]
    next_page_token: str
    status: CaptureStatus
    version: int
    def __init__(self, entries: _Optional[_Iterable[_Union[ReviewEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., status: _Optional[_Union[CaptureStatus, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class GetCaptureStatusRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetCaptureStatusResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: CaptureStatus
    def __init__(self, status: _Optional[_Union[CaptureStatus, _Mapping]] = ...) -> None: ...

class ReviewEntry(_message.Message):
    __slots__ = ("captured_input", "reason", "value", "label", "margin", "near_duplicate_count")
    CAPTURED_INPUT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    NEAR_DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    captured_input: CapturedInput
    reason: ReviewReason
    value: float
    label: _label_pb2.Label
    margin: float
    near_duplicate_count: int
    def __init__(self, captured_input: _Optional[_Union[CapturedInput, _Mapping]] = ..., reason: _Optional[_Union[ReviewReason, str]] = ..., value: _Optional[float] = ..., label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., margin: _Optional[float] = ..., near_duplicate_count: _Optional[int] = ...) -> None: ...

class CapturedInput(_message.Message):
    __slots__ = ("model", "prediction_id", "version", "create_time", "expire_time", "predicted", "classes", "margin", "typicality", "reasons", "random_sample", "modality", "media_type", "size_bytes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    TYPICALITY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    prediction_id: str
    version: int
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    predicted: _label_pb2.Label
    classes: _containers.RepeatedCompositeFieldContainer[_prediction_service_pb2.ClassProbability]
    margin: float
    typicality: float
    reasons: _containers.RepeatedScalarFieldContainer[CaptureReason]
    random_sample: bool
    modality: _model_pb2.Modality
    media_type: str
    size_bytes: int
    def __init__(self, model: _Optional[str] = ..., prediction_id: _Optional[str] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., predicted: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[_prediction_service_pb2.ClassProbability, _Mapping]]] = ..., margin: _Optional[float] = ..., typicality: _Optional[float] = ..., reasons: _Optional[_Iterable[_Union[CaptureReason, str]]] = ..., random_sample: bool = ..., modality: _Optional[_Union[_model_pb2.Modality, str]] = ..., media_type: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class CaptureStatus(_message.Message):
    __slots__ = ("captured_count", "captured_bytes", "pending_count", "queue_full_count", "storage_failed_count", "quota_full_count", "last_gap_time")
    CAPTURED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FULL_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORAGE_FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FULL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_GAP_TIME_FIELD_NUMBER: _ClassVar[int]
    captured_count: int
    captured_bytes: int
    pending_count: int
    queue_full_count: int
    storage_failed_count: int
    quota_full_count: int
    last_gap_time: _timestamp_pb2.Timestamp
    def __init__(self, captured_count: _Optional[int] = ..., captured_bytes: _Optional[int] = ..., pending_count: _Optional[int] = ..., queue_full_count: _Optional[int] = ..., storage_failed_count: _Optional[int] = ..., quota_full_count: _Optional[int] = ..., last_gap_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetCapturedInputRequest(_message.Message):
    __slots__ = ("model", "prediction_id", "thumbnail_size")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_SIZE_FIELD_NUMBER: _ClassVar[int]
    model: str
    prediction_id: str
    thumbnail_size: int
    def __init__(self, model: _Optional[str] = ..., prediction_id: _Optional[str] = ..., thumbnail_size: _Optional[int] = ...) -> None: ...

class GetCapturedInputResponse(_message.Message):
    __slots__ = ("content", "media_type", "etag", "captured_input")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_INPUT_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    media_type: str
    etag: str
    captured_input: CapturedInput
    def __init__(self, content: _Optional[bytes] = ..., media_type: _Optional[str] = ..., etag: _Optional[str] = ..., captured_input: _Optional[_Union[CapturedInput, _Mapping]] = ...) -> None: ...
