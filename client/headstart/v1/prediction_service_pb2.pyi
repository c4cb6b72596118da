import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from headstart.v1 import errors_pb2 as _errors_pb2
from headstart.v1 import input_pb2 as _input_pb2
from headstart.v1 import label_pb2 as _label_pb2
from headstart.v1 import version_selector_pb2 as _version_selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AbstentionReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ABSTENTION_REASON_UNSPECIFIED: _ClassVar[AbstentionReason]
    ABSTENTION_REASON_NONE: _ClassVar[AbstentionReason]
    ABSTENTION_REASON_UNLIKE_TRAINING: _ClassVar[AbstentionReason]
    ABSTENTION_REASON_LOW_PROBABILITY: _ClassVar[AbstentionReason]
ABSTENTION_REASON_UNSPECIFIED: AbstentionReason
ABSTENTION_REASON_NONE: AbstentionReason
ABSTENTION_REASON_UNLIKE_TRAINING: AbstentionReason
ABSTENTION_REASON_LOW_PROBABILITY: AbstentionReason

class PredictRequest(_message.Message):
    __slots__ = ("targets", "inputs", "top_k", "return_features", "abstention", "neighbors", "saliency", "routing_key", "skip_invalid_inputs", "influence")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    RETURN_FEATURES_FIELD_NUMBER: _ClassVar[int]
    ABSTENTION_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    SALIENCY_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_FIELD_NUMBER: _ClassVar[int]
    SKIP_INVALID_INPUTS_FIELD_NUMBER: _ClassVar[int]
    INFLUENCE_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedCompositeFieldContainer[_version_selector_pb2.VersionSelector]
    inputs: _containers.RepeatedCompositeFieldContainer[_input_pb2.Input]
    top_k: int
    return_features: bool
    abstention: Abstention
    neighbors: int
    saliency: SaliencyRequest
    routing_key: str
    skip_invalid_inputs: bool
    influence: int
    def __init__(self, targets: _Optional[_Iterable[_Union[_version_selector_pb2.VersionSelector, _Mapping]]] = ..., inputs: _Optional[_Iterable[_Union[_input_pb2.Input, _Mapping]]] = ..., top_k: _Optional[int] = ..., return_features: bool = ..., abstention: _Optional[_Union[Abstention, _Mapping]] = ..., neighbors: _Optional[int] = ..., saliency: _Optional[_Union[SaliencyRequest, _Mapping]] = ..., routing_key: _Optional[str] = ..., skip_invalid_inputs: bool = ..., influence: _Optional[int] = ...) -> None: ...

class Abstention(_message.Message):
    __slots__ = ("false_alarm_rate", "min_probability")
    FALSE_ALARM_RATE_FIELD_NUMBER: _ClassVar[int]
    MIN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    false_alarm_rate: float
    min_probability: float
    def __init__(self, false_alarm_rate: _Optional[float] = ..., min_probability: _Optional[float] = ...) -> None: ...

class SaliencyRequest(_message.Message):
    __slots__ = ("class_name", "overlay")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    overlay: bool
    def __init__(self, class_name: _Optional[str] = ..., overlay: bool = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("results", "features", "times", "faults")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[VersionPredictions]
    features: _containers.RepeatedCompositeFieldContainer[Features]
    times: StageTimes
    faults: _containers.RepeatedCompositeFieldContainer[InputFault]
    def __init__(self, results: _Optional[_Iterable[_Union[VersionPredictions, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Features, _Mapping]]] = ..., times: _Optional[_Union[StageTimes, _Mapping]] = ..., faults: _Optional[_Iterable[_Union[InputFault, _Mapping]]] = ...) -> None: ...

class InputFault(_message.Message):
    __slots__ = ("index", "reason", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    reason: _errors_pb2.ErrorReason
    message: str
    def __init__(self, index: _Optional[int] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Truncation(_message.Message):
    __slots__ = ("kept_characters", "characters")
    KEPT_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    kept_characters: int
    characters: int
    def __init__(self, kept_characters: _Optional[int] = ..., characters: _Optional[int] = ...) -> None: ...

class VersionPredictions(_message.Message):
    __slots__ = ("model", "version", "predictions", "task")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    task: _input_pb2.Task
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., task: _Optional[_Union[_input_pb2.Task, str]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("label", "classes", "interval_low", "interval_high", "abstained", "abstention_reason", "typicality", "neighbors", "saliency", "truncation", "prediction_id", "influences")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_LOW_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_HIGH_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    ABSTENTION_REASON_FIELD_NUMBER: _ClassVar[int]
    TYPICALITY_FIELD_NUMBER: _ClassVar[int]
    NEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    SALIENCY_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    INFLUENCES_FIELD_NUMBER: _ClassVar[int]
    label: _label_pb2.Label
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    interval_low: float
    interval_high: float
    abstained: bool
    abstention_reason: AbstentionReason
    typicality: float
    neighbors: _containers.RepeatedCompositeFieldContainer[Neighbor]
    saliency: Saliency
    truncation: Truncation
    prediction_id: str
    influences: _containers.RepeatedCompositeFieldContainer[Influence]
    def __init__(self, label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ..., interval_low: _Optional[float] = ..., interval_high: _Optional[float] = ..., abstained: bool = ..., abstention_reason: _Optional[_Union[AbstentionReason, str]] = ..., typicality: _Optional[float] = ..., neighbors: _Optional[_Iterable[_Union[Neighbor, _Mapping]]] = ..., saliency: _Optional[_Union[Saliency, _Mapping]] = ..., truncation: _Optional[_Union[Truncation, _Mapping]] = ..., prediction_id: _Optional[str] = ..., influences: _Optional[_Iterable[_Union[Influence, _Mapping]]] = ...) -> None: ...

class Neighbor(_message.Message):
    __slots__ = ("example", "distance")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    distance: float
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., distance: _Optional[float] = ...) -> None: ...

class Influence(_message.Message):
    __slots__ = ("example", "score_change", "probability_change")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_CHANGE_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    score_change: float
    probability_change: float
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., score_change: _Optional[float] = ..., probability_change: _Optional[float] = ...) -> None: ...

class Saliency(_message.Message):
    __slots__ = ("map", "class_name", "overlay")
    MAP_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    map: _input_pb2.Tensor
    class_name: str
    overlay: bytes
    def __init__(self, map: _Optional[_Union[_input_pb2.Tensor, _Mapping]] = ..., class_name: _Optional[str] = ..., overlay: _Optional[bytes] = ...) -> None: ...

class ClassProbability(_message.Message):
    __slots__ = ("name", "probability", "index", "selected")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    probability: float
    index: int
    selected: bool
    def __init__(self, name: _Optional[str] = ..., probability: _Optional[float] = ..., index: _Optional[int] = ..., selected: bool = ...) -> None: ...

class StageTimes(_message.Message):
    __slots__ = ("total_duration", "resolve_duration", "decode_duration", "queue_duration", "backbone_duration", "head_duration")
    TOTAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_DURATION_FIELD_NUMBER: _ClassVar[int]
    DECODE_DURATION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DURATION_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_DURATION_FIELD_NUMBER: _ClassVar[int]
    HEAD_DURATION_FIELD_NUMBER: _ClassVar[int]
    total_duration: _duration_pb2.Duration
    resolve_duration: _duration_pb2.Duration
    decode_duration: _duration_pb2.Duration
    queue_duration: _duration_pb2.Duration
    backbone_duration: _duration_pb2.Duration
    head_duration: _duration_pb2.Duration
    def __init__(self, total_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., resolve_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., decode_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queue_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., backbone_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., head_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("backbone", "inputs", "views")
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    inputs: _containers.RepeatedCompositeFieldContainer[_input_pb2.Input]
    views: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, backbone: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[_input_pb2.Input, _Mapping]]] = ..., views: _Optional[_Iterable[str]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("features", "times", "truncation")
    class TruncationEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Truncation
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Truncation, _Mapping]] = ...) -> None: ...
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATION_FIELD_NUMBER: _ClassVar[int]
    features: Features
    times: StageTimes
    truncation: _containers.MessageMap[int, Truncation]
    def __init__(self, features: _Optional[_Union[Features, _Mapping]] = ..., times: _Optional[_Union[StageTimes, _Mapping]] = ..., truncation: _Optional[_Mapping[int, Truncation]] = ...) -> None: ...

class Features(_message.Message):
    __slots__ = ("backbone", "views")
    class ViewsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _input_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_input_pb2.Tensor, _Mapping]] = ...) -> None: ...
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    views: _containers.MessageMap[str, _input_pb2.Tensor]
    def __init__(self, backbone: _Optional[str] = ..., views: _Optional[_Mapping[str, _input_pb2.Tensor]] = ...) -> None: ...
