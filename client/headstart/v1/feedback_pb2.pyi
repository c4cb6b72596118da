import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headstart.v1 import input_pb2 as _input_pb2
from headstart.v1 import label_pb2 as _label_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedbackOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_OUTCOME_UNSPECIFIED: _ClassVar[FeedbackOutcome]
    FEEDBACK_OUTCOME_ACCEPTED: _ClassVar[FeedbackOutcome]
    FEEDBACK_OUTCOME_REPEATED: _ClassVar[FeedbackOutcome]
    FEEDBACK_OUTCOME_REPLACED: _ClassVar[FeedbackOutcome]

class FeedbackState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_STATE_UNSPECIFIED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_PENDING: _ClassVar[FeedbackState]
    FEEDBACK_STATE_TRAINING: _ClassVar[FeedbackState]
    FEEDBACK_STATE_LEARNED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_SUPERSEDED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_RECORDED: _ClassVar[FeedbackState]

class FeedbackAnswer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_ANSWER_UNSPECIFIED: _ClassVar[FeedbackAnswer]
    FEEDBACK_ANSWER_LABEL: _ClassVar[FeedbackAnswer]
    FEEDBACK_ANSWER_CONFIRMED: _ClassVar[FeedbackAnswer]
    FEEDBACK_ANSWER_REJECTED: _ClassVar[FeedbackAnswer]

class RetrainState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRAIN_STATE_UNSPECIFIED: _ClassVar[RetrainState]
    RETRAIN_STATE_IDLE: _ClassVar[RetrainState]
    RETRAIN_STATE_RUNNING: _ClassVar[RetrainState]
    RETRAIN_STATE_BACKING_OFF: _ClassVar[RetrainState]
    RETRAIN_STATE_STOPPED: _ClassVar[RetrainState]
FEEDBACK_OUTCOME_UNSPECIFIED: FeedbackOutcome
FEEDBACK_OUTCOME_ACCEPTED: FeedbackOutcome
FEEDBACK_OUTCOME_REPEATED: FeedbackOutcome
FEEDBACK_OUTCOME_REPLACED: FeedbackOutcome
FEEDBACK_STATE_UNSPECIFIED: FeedbackState
FEEDBACK_STATE_PENDING: FeedbackState
FEEDBACK_STATE_TRAINING: FeedbackState
FEEDBACK_STATE_LEARNED: FeedbackState
FEEDBACK_STATE_SUPERSEDED: FeedbackState
FEEDBACK_STATE_RECORDED: FeedbackState
FEEDBACK_ANSWER_UNSPECIFIED: FeedbackAnswer
FEEDBACK_ANSWER_LABEL: FeedbackAnswer
FEEDBACK_ANSWER_CONFIRMED: FeedbackAnswer
FEEDBACK_ANSWER_REJECTED: FeedbackAnswer
RETRAIN_STATE_UNSPECIFIED: RetrainState
RETRAIN_STATE_IDLE: RetrainState
RETRAIN_STATE_RUNNING: RetrainState
RETRAIN_STATE_BACKING_OFF: RetrainState
RETRAIN_STATE_STOPPED: RetrainState

class SendFeedbackRequest(_message.Message):
    __slots__ = ("model", "prediction_id", "input", "label", "confirmed", "rejected", "request_id", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    prediction_id: str
    input: _input_pb2.Input
    label: _label_pb2.Label
    confirmed: bool
    rejected: bool
    request_id: str
    version: int
    def __init__(self, model: _Optional[str] = ..., prediction_id: _Optional[str] = ..., input: _Optional[_Union[_input_pb2.Input, _Mapping]] = ..., label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., confirmed: bool = ..., rejected: bool = ..., request_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class SendFeedbackResponse(_message.Message):
    __slots__ = ("feedback", "outcome")
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    feedback: Feedback
    outcome: FeedbackOutcome
    def __init__(self, feedback: _Optional[_Union[Feedback, _Mapping]] = ..., outcome: _Optional[_Union[FeedbackOutcome, str]] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("feedback_id", "model", "state", "answer", "label", "prediction_id", "predicted", "version", "example_id", "random_sample", "create_time", "principal", "job_id", "learned_version")
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    RANDOM_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEARNED_VERSION_FIELD_NUMBER: _ClassVar[int]
    feedback_id: str
    model: str
    state: FeedbackState
    answer: FeedbackAnswer
    label: _label_pb2.Label
    prediction_id: str
    predicted: _label_pb2.Label
    version: int
    example_id: str
    random_sample: bool
    create_time: _timestamp_pb2.Timestamp
    principal: str
    job_id: str
    learned_version: int
    def __init__(self, feedback_id: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[_Union[FeedbackState, str]] = ..., answer: _Optional[_Union[FeedbackAnswer, str]] = ..., label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., prediction_id: _Optional[str] = ..., predicted: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., version: _Optional[int] = ..., example_id: _Optional[str] = ..., random_sample: bool = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal: _Optional[str] = ..., job_id: _Optional[str] = ..., learned_version: _Optional[int] = ...) -> None: ...

class ListFeedbackRequest(_message.Message):
    __slots__ = ("model", "states", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    states: _containers.RepeatedScalarFieldContainer[FeedbackState]
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., states: _Optional[_Iterable[_Union[FeedbackState, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFeedbackResponse(_message.Message):
    __slots__ = ("feedback", "next_page_token")
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    feedback: _containers.RepeatedCompositeFieldContainer[Feedback]
    next_page_token: str
    def __init__(self, feedback: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetFeedbackSummaryRequest(_message.Message):
    __slots__ = ("model", "window_duration")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_DURATION_FIELD_NUMBER: _ClassVar[int]
    model: str
    window_duration: _duration_pb2.Duration
    def __init__(self, model: _Optional[str] = ..., window_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetFeedbackSummaryResponse(_message.Message):
    __slots__ = ("total", "versions", "weeks", "classes", "counts", "retrain")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    WEEKS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    RETRAIN_FIELD_NUMBER: _ClassVar[int]
    total: FeedbackStatistics
    versions: _containers.RepeatedCompositeFieldContainer[VersionFeedback]
    weeks: _containers.RepeatedCompositeFieldContainer[WeekFeedback]
    classes: _containers.RepeatedCompositeFieldContainer[ClassFeedback]
    counts: _containers.RepeatedCompositeFieldContainer[FeedbackCount]
    retrain: RetrainStatus
    def __init__(self, total: _Optional[_Union[FeedbackStatistics, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[VersionFeedback, _Mapping]]] = ..., weeks: _Optional[_Iterable[_Union[WeekFeedback, _Mapping]]] = ..., classes: _Optional[_Iterable[_Union[ClassFeedback, _Mapping]]] = ..., counts: _Optional[_Iterable[_Union[FeedbackCount, _Mapping]]] = ..., retrain: _Optional[_Union[RetrainStatus, _Mapping]] = ...) -> None: ...

class FeedbackStatistics(_message.Message):
    __slots__ = ("answer_count", "correct_count", "sample_count", "accuracy", "accuracy_low", "accuracy_high")
    ANSWER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CORRECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_LOW_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_HIGH_FIELD_NUMBER: _ClassVar[int]
    answer_count: int
    correct_count: int
    sample_count: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    def __init__(self, answer_count: _Optional[int] = ..., correct_count: _Optional[int] = ..., sample_count: _Optional[int] = ..., accuracy: _Optional[float] = ..., accuracy_low: _Optional[float] = ..., accuracy_high: _Optional[float] = ...) -> None: ...

class VersionFeedback(_message.Message):
    __slots__ = ("version", "statistics")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    version: int
    statistics: FeedbackStatistics
    def __init__(self, version: _Optional[int] = ..., statistics: _Optional[_Union[FeedbackStatistics, _Mapping]] = ...) -> None: ...

class WeekFeedback(_message.Message):
    __slots__ = ("week", "statistics")
    WEEK_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    week: str
    statistics: FeedbackStatistics
    def __init__(self, week: _Optional[str] = ..., statistics: _Optional[_Union[FeedbackStatistics, _Mapping]] = ...) -> None: ...

class ClassFeedback(_message.Message):
    __slots__ = ("class_name", "statistics")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    statistics: FeedbackStatistics
    def __init__(self, class_name: _Optional[str] = ..., statistics: _Optional[_Union[FeedbackStatistics, _Mapping]] = ...) -> None: ...

class FeedbackCount(_message.Message):
    __slots__ = ("state", "count")
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    state: FeedbackState
    count: int
    def __init__(self, state: _Optional[_Union[FeedbackState, str]] = ..., count: _Optional[int] = ...) -> None: ...

class RetrainStatus(_message.Message):
    __slots__ = ("state", "job_id", "last_job_id", "last_version", "failure_count", "error", "next_time")
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_VERSION_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIME_FIELD_NUMBER: _ClassVar[int]
    state: RetrainState
    job_id: str
    last_job_id: str
    last_version: int
    failure_count: int
    error: str
    next_time: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[_Union[RetrainState, str]] = ..., job_id: _Optional[str] = ..., last_job_id: _Optional[str] = ..., last_version: _Optional[int] = ..., failure_count: _Optional[int] = ..., error: _Optional[str] = ..., next_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
