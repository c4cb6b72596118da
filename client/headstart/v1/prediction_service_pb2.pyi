from headstart.v1 import input_pb2 as _input_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionSelector(_message.Message):
    __slots__ = ("model", "version", "alias")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    alias: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., alias: _Optional[str] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("target", "inputs", "top_k", "additional_targets", "return_features")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_TARGETS_FIELD_NUMBER: _ClassVar[int]
    RETURN_FEATURES_FIELD_NUMBER: _ClassVar[int]
    target: VersionSelector
    inputs: _containers.RepeatedCompositeFieldContainer[_input_pb2.Input]
    top_k: int
    additional_targets: _containers.RepeatedCompositeFieldContainer[VersionSelector]
    return_features: bool
    def __init__(self, target: _Optional[_Union[VersionSelector, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[_input_pb2.Input, _Mapping]]] = ..., top_k: _Optional[int] = ..., additional_targets: _Optional[_Iterable[_Union[VersionSelector, _Mapping]]] = ..., return_features: bool = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("result", "additional_results", "features", "times")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    result: VersionPredictions
    additional_results: _containers.RepeatedCompositeFieldContainer[VersionPredictions]
    features: _containers.RepeatedCompositeFieldContainer[Features]
    times: StageTimes
    def __init__(self, result: _Optional[_Union[VersionPredictions, _Mapping]] = ..., additional_results: _Optional[_Iterable[_Union[VersionPredictions, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Features, _Mapping]]] = ..., times: _Optional[_Union[StageTimes, _Mapping]] = ...) -> None: ...

class VersionPredictions(_message.Message):
    __slots__ = ("model", "version", "predictions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    def __init__(self, classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ...) -> None: ...

class ClassProbability(_message.Message):
    __slots__ = ("name", "probability", "index")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    name: str
    probability: float
    index: int
    def __init__(self, name: _Optional[str] = ..., probability: _Optional[float] = ..., index: _Optional[int] = ...) -> None: ...

class StageTimes(_message.Message):
    __slots__ = ("total_milliseconds", "resolve_milliseconds", "decode_milliseconds", "queue_milliseconds", "backbone_milliseconds", "head_milliseconds")
    TOTAL_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    HEAD_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    total_milliseconds: float
    resolve_milliseconds: float
    decode_milliseconds: float
    queue_milliseconds: float
    backbone_milliseconds: float
    head_milliseconds: float
    def __init__(self, total_milliseconds: _Optional[float] = ..., resolve_milliseconds: _Optional[float] = ..., decode_milliseconds: _Optional[float] = ..., queue_milliseconds: _Optional[float] = ..., backbone_milliseconds: _Optional[float] = ..., head_milliseconds: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("features", "times")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    features: Features
    times: StageTimes
    def __init__(self, features: _Optional[_Union[Features, _Mapping]] = ..., times: _Optional[_Union[StageTimes, _Mapping]] = ...) -> None: ...

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
