from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Energy(_message.Message):
    __slots__ = ("joules", "gco2e", "estimated", "joules_by_source", "grid_gco2e_per_kwh")
    class JoulesBySourceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    JOULES_FIELD_NUMBER: _ClassVar[int]
    GCO2E_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    JOULES_BY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    GRID_GCO2E_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    joules: float
    gco2e: float
    estimated: bool
    joules_by_source: _containers.ScalarMap[str, float]
    grid_gco2e_per_kwh: float
    def __init__(self, joules: _Optional[float] = ..., gco2e: _Optional[float] = ..., estimated: bool = ..., joules_by_source: _Optional[_Mapping[str, float]] = ..., grid_gco2e_per_kwh: _Optional[float] = ...) -> None: ...
