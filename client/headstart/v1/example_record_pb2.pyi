from headstart.v1 import label_pb2 as _label_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExampleIssue(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXAMPLE_ISSUE_UNSPECIFIED: _ClassVar[ExampleIssue]
    EXAMPLE_ISSUE_LABEL_ISSUE: _ClassVar[ExampleIssue]
    EXAMPLE_ISSUE_DUPLICATE: _ClassVar[ExampleIssue]
    EXAMPLE_ISSUE_CONTRADICTION: _ClassVar[ExampleIssue]
    EXAMPLE_ISSUE_OUTLIER: _ClassVar[ExampleIssue]
    EXAMPLE_ISSUE_ERROR: _ClassVar[ExampleIssue]

class ExampleOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXAMPLE_ORIGIN_UNSPECIFIED: _ClassVar[ExampleOrigin]
    EXAMPLE_ORIGIN_UPLOADED: _ClassVar[ExampleOrigin]
    EXAMPLE_ORIGIN_PARENT: _ClassVar[ExampleOrigin]
    EXAMPLE_ORIGIN_FEEDBACK: _ClassVar[ExampleOrigin]
EXAMPLE_ISSUE_UNSPECIFIED: ExampleIssue
EXAMPLE_ISSUE_LABEL_ISSUE: ExampleIssue
EXAMPLE_ISSUE_DUPLICATE: ExampleIssue
EXAMPLE_ISSUE_CONTRADICTION: ExampleIssue
EXAMPLE_ISSUE_OUTLIER: ExampleIssue
EXAMPLE_ISSUE_ERROR: ExampleIssue
EXAMPLE_ORIGIN_UNSPECIFIED: ExampleOrigin
EXAMPLE_ORIGIN_UPLOADED: ExampleOrigin
EXAMPLE_ORIGIN_PARENT: ExampleOrigin
EXAMPLE_ORIGIN_FEEDBACK: ExampleOrigin

class ExampleRecord(_message.Message):
    __slots__ = ("example", "label", "held_out", "weight", "predicted_label", "label_probability", "predicted_probability", "loss", "findings", "media_type", "size_bytes", "origin", "has_content")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    HAS_CONTENT_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    label: _label_pb2.Label
    held_out: bool
    weight: float
    predicted_label: _label_pb2.Label
    label_probability: float
    predicted_probability: float
    loss: float
    findings: _containers.RepeatedCompositeFieldContainer[ExampleFinding]
    media_type: str
    size_bytes: int
    origin: ExampleOrigin
    has_content: bool
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., held_out: bool = ..., weight: _Optional[float] = ..., predicted_label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., label_probability: _Optional[float] = ..., predicted_probability: _Optional[float] = ..., loss: _Optional[float] = ..., findings: _Optional[_Iterable[_Union[ExampleFinding, _Mapping]]] = ..., media_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., origin: _Optional[_Union[ExampleOrigin, str]] = ..., has_content: bool = ...) -> None: ...

class ExampleFinding(_message.Message):
    __slots__ = ("issue", "suggested_label")
    ISSUE_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    issue: ExampleIssue
    suggested_label: _label_pb2.Label
    def __init__(self, issue: _Optional[_Union[ExampleIssue, str]] = ..., suggested_label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ...) -> None: ...

class ExampleEdit(_message.Message):
    __slots__ = ("example_id", "index", "label", "weight", "held_out", "remove")
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    example_id: str
    index: int
    label: _label_pb2.Label
    weight: float
    held_out: bool
    remove: bool
    def __init__(self, example_id: _Optional[str] = ..., index: _Optional[int] = ..., label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., weight: _Optional[float] = ..., held_out: bool = ..., remove: bool = ...) -> None: ...
