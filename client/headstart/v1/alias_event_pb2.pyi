import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headstart.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AliasEventCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALIAS_EVENT_CAUSE_UNSPECIFIED: _ClassVar[AliasEventCause]
    ALIAS_EVENT_CAUSE_SET: _ClassVar[AliasEventCause]
    ALIAS_EVENT_CAUSE_PUBLISHED: _ClassVar[AliasEventCause]
    ALIAS_EVENT_CAUSE_DELETED: _ClassVar[AliasEventCause]
    ALIAS_EVENT_CAUSE_EXPIRED: _ClassVar[AliasEventCause]
    ALIAS_EVENT_CAUSE_ERASED: _ClassVar[AliasEventCause]
ALIAS_EVENT_CAUSE_UNSPECIFIED: AliasEventCause
ALIAS_EVENT_CAUSE_SET: AliasEventCause
ALIAS_EVENT_CAUSE_PUBLISHED: AliasEventCause
ALIAS_EVENT_CAUSE_DELETED: AliasEventCause
ALIAS_EVENT_CAUSE_EXPIRED: AliasEventCause
ALIAS_EVENT_CAUSE_ERASED: AliasEventCause

class AliasEvent(_message.Message):
    __slots__ = ("model", "alias", "event_time", "cause", "principal", "job_id", "previous_version", "version", "previous_traffic", "traffic")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    model: str
    alias: str
    event_time: _timestamp_pb2.Timestamp
    cause: AliasEventCause
    principal: str
    job_id: str
    previous_version: int
    version: int
    previous_traffic: _containers.RepeatedCompositeFieldContainer[_model_pb2.TrafficSplit]
    traffic: _containers.RepeatedCompositeFieldContainer[_model_pb2.TrafficSplit]
    def __init__(self, model: _Optional[str] = ..., alias: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[_Union[AliasEventCause, str]] = ..., principal: _Optional[str] = ..., job_id: _Optional[str] = ..., previous_version: _Optional[int] = ..., version: _Optional[int] = ..., previous_traffic: _Optional[_Iterable[_Union[_model_pb2.TrafficSplit, _Mapping]]] = ..., traffic: _Optional[_Iterable[_Union[_model_pb2.TrafficSplit, _Mapping]]] = ...) -> None: ...
