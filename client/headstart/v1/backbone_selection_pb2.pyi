import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CandidateOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANDIDATE_OUTCOME_UNSPECIFIED: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_TRIED: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_NOT_TRIED: _ClassVar[CandidateOutcome]
    CANDIDATE_OUTCOME_FAILED: _ClassVar[CandidateOutcome]
CANDIDATE_OUTCOME_UNSPECIFIED: CandidateOutcome
CANDIDATE_OUTCOME_TRIED: CandidateOutcome
CANDIDATE_OUTCOME_NOT_TRIED: CandidateOutcome
CANDIDATE_OUTCOME_FAILED: CandidateOutcome

class BackboneSelection(_message.Message):
    __slots__ = ("backbone", "reason", "candidates", "time_budget", "example_count")
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    reason: str
    candidates: _containers.RepeatedCompositeFieldContainer[BackboneCandidate]
    time_budget: _duration_pb2.Duration
    example_count: int
    def __init__(self, backbone: _Optional[str] = ..., reason: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[BackboneCandidate, _Mapping]]] = ..., time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., example_count: _Optional[int] = ...) -> None: ...

class BackboneCandidate(_message.Message):
    __slots__ = ("backbone", "outcome", "message", "accuracy", "mean_absolute_error", "standard_error", "gap", "gap_standard_error", "latency_duration", "size_bytes", "spent_duration")
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MEAN_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    GAP_STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    LATENCY_DURATION_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SPENT_DURATION_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    outcome: CandidateOutcome
    message: str
    accuracy: float
    mean_absolute_error: float
    standard_error: float
    gap: float
    gap_standard_error: float
    latency_duration: _duration_pb2.Duration
    size_bytes: int
    spent_duration: _duration_pb2.Duration
    def __init__(self, backbone: _Optional[str] = ..., outcome: _Optional[_Union[CandidateOutcome, str]] = ..., message: _Optional[str] = ..., accuracy: _Optional[float] = ..., mean_absolute_error: _Optional[float] = ..., standard_error: _Optional[float] = ..., gap: _Optional[float] = ..., gap_standard_error: _Optional[float] = ..., latency_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., size_bytes: _Optional[int] = ..., spent_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
