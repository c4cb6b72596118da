import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CapturePolicy(_message.Message):
    __slots__ = ("random_fraction", "max_margin", "max_typicality", "rare_class_fraction", "shadow_disagreement", "max_count", "max_bytes", "ttl")
    RANDOM_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAX_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MAX_TYPICALITY_FIELD_NUMBER: _ClassVar[int]
    RARE_CLASS_FRACTION_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    random_fraction: float
    max_margin: float
    max_typicality: float
    rare_class_fraction: float
    shadow_disagreement: bool
    max_count: int
    max_bytes: int
    ttl: _duration_pb2.Duration
    def __init__(self, random_fraction: _Optional[float] = ..., max_margin: _Optional[float] = ..., max_typicality: _Optional[float] = ..., rare_class_fraction: _Optional[float] = ..., shadow_disagreement: bool = ..., max_count: _Optional[int] = ..., max_bytes: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
