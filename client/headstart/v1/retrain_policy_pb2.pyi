import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UnknownClasses(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN_CLASSES_UNSPECIFIED: _ClassVar[UnknownClasses]
    UNKNOWN_CLASSES_ALLOW: _ClassVar[UnknownClasses]
    UNKNOWN_CLASSES_REJECT: _ClassVar[UnknownClasses]
UNKNOWN_CLASSES_UNSPECIFIED: UnknownClasses
UNKNOWN_CLASSES_ALLOW: UnknownClasses
UNKNOWN_CLASSES_REJECT: UnknownClasses

class RetrainPolicy(_message.Message):
    __slots__ = ("alias", "min_feedback_count", "max_delay_duration", "min_accuracy", "promote_if", "min_interval_duration", "unknown_classes", "webhook", "max_failures")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    MIN_FEEDBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_DURATION_FIELD_NUMBER: _ClassVar[int]
    MIN_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_IF_FIELD_NUMBER: _ClassVar[int]
    MIN_INTERVAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_CLASSES_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    alias: str
    min_feedback_count: int
    max_delay_duration: _duration_pb2.Duration
    min_accuracy: float
    promote_if: _comparison_pb2.PromotionGate
    min_interval_duration: _duration_pb2.Duration
    unknown_classes: UnknownClasses
    webhook: str
    max_failures: int
    def __init__(self, alias: _Optional[str] = ..., min_feedback_count: _Optional[int] = ..., max_delay_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_accuracy: _Optional[float] = ..., promote_if: _Optional[_Union[_comparison_pb2.PromotionGate, _Mapping]] = ..., min_interval_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., unknown_classes: _Optional[_Union[UnknownClasses, str]] = ..., webhook: _Optional[str] = ..., max_failures: _Optional[int] = ...) -> None: ...
