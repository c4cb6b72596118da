from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Label(_message.Message):
    __slots__ = ("class_name", "classes", "number", "probabilities")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    classes: LabelSet
    number: float
    probabilities: SoftLabel
    def __init__(self, class_name: _Optional[str] = ..., classes: _Optional[_Union[LabelSet, _Mapping]] = ..., number: _Optional[float] = ..., probabilities: _Optional[_Union[SoftLabel, _Mapping]] = ...) -> None: ...

class LabelSet(_message.Message):
    __slots__ = ("class_names",)
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, class_names: _Optional[_Iterable[str]] = ...) -> None: ...

class SoftLabel(_message.Message):
    __slots__ = ("probabilities",)
    class ProbabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    probabilities: _containers.ScalarMap[str, float]
    def __init__(self, probabilities: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ExampleReference(_message.Message):
    __slots__ = ("index", "example_id", "label")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    index: int
    example_id: str
    label: Label
    def __init__(self, index: _Optional[int] = ..., example_id: _Optional[str] = ..., label: _Optional[_Union[Label, _Mapping]] = ...) -> None: ...
