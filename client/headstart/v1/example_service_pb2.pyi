from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from headstart.v1 import example_record_pb2 as _example_record_pb2
from headstart.v1 import version_selector_pb2 as _version_selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListExamplesRequest(_message.Message):
    __slots__ = ("version", "dataset", "filter", "order_by", "page_size", "page_token", "skip")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    version: _version_selector_pb2.VersionSelector
    dataset: str
    filter: ExampleFilter
    order_by: str
    page_size: int
    page_token: str
    skip: int
    def __init__(self, version: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., dataset: _Optional[str] = ..., filter: _Optional[_Union[ExampleFilter, _Mapping]] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ...) -> None: ...

class ExampleFilter(_message.Message):
    __slots__ = ("label", "predicted_label", "issue", "held_out", "example_id_prefix")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    ISSUE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    label: str
    predicted_label: str
    issue: _example_record_pb2.ExampleIssue
    held_out: bool
    example_id_prefix: str
    def __init__(self, label: _Optional[str] = ..., predicted_label: _Optional[str] = ..., issue: _Optional[_Union[_example_record_pb2.ExampleIssue, str]] = ..., held_out: bool = ..., example_id_prefix: _Optional[str] = ...) -> None: ...

class ListExamplesResponse(_message.Message):
    __slots__ = ("examples", "next_page_token", "example_count", "version")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedCompositeFieldContainer[_example_record_pb2.ExampleRecord]
    next_page_token: str
    example_count: int
    version: _version_selector_pb2.VersionRef
    def __init__(self, examples: _Optional[_Iterable[_Union[_example_record_pb2.ExampleRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., example_count: _Optional[int] = ..., version: _Optional[_Union[_version_selector_pb2.VersionRef, _Mapping]] = ...) -> None: ...

class GetExampleContentRequest(_message.Message):
    __slots__ = ("version", "dataset", "example_id", "index", "thumbnail_size")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_SIZE_FIELD_NUMBER: _ClassVar[int]
    version: _version_selector_pb2.VersionSelector
    dataset: str
    example_id: str
    index: int
    thumbnail_size: int
    def __init__(self, version: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., dataset: _Optional[str] = ..., example_id: _Optional[str] = ..., index: _Optional[int] = ..., thumbnail_size: _Optional[int] = ...) -> None: ...

class GetExampleContentResponse(_message.Message):
    __slots__ = ("content", "media_type", "etag")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    media_type: str
    etag: str
    def __init__(self, content: _Optional[bytes] = ..., media_type: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class GetExampleMapRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: _version_selector_pb2.VersionSelector
    def __init__(self, version: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ...) -> None: ...

class GetExampleMapResponse(_message.Message):
    __slots__ = ("version", "example_count", "stride", "x", "y", "class_names", "classes", "values")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    version: _version_selector_pb2.VersionRef
    example_count: int
    stride: int
    x: _containers.RepeatedScalarFieldContainer[float]
    y: _containers.RepeatedScalarFieldContainer[float]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    classes: _containers.RepeatedScalarFieldContainer[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, version: _Optional[_Union[_version_selector_pb2.VersionRef, _Mapping]] = ..., example_count: _Optional[int] = ..., stride: _Optional[int] = ..., x: _Optional[_Iterable[float]] = ..., y: _Optional[_Iterable[float]] = ..., class_names: _Optional[_Iterable[str]] = ..., classes: _Optional[_Iterable[int]] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...
