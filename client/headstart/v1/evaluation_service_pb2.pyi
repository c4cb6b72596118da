from google.api import field_behavior_pb2 as _field_behavior_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from headstart.v1 import evaluation_pb2 as _evaluation_pb2
from headstart.v1 import fine_tuning_service_pb2 as _fine_tuning_service_pb2
from headstart.v1 import job_pb2 as _job_pb2
from headstart.v1 import label_pb2 as _label_pb2
from headstart.v1 import version_selector_pb2 as _version_selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EvaluateRequest(_message.Message):
    __slots__ = ("spec", "examples")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    spec: EvaluateSpec
    examples: _fine_tuning_service_pb2.ExampleBatch
    def __init__(self, spec: _Optional[_Union[EvaluateSpec, _Mapping]] = ..., examples: _Optional[_Union[_fine_tuning_service_pb2.ExampleBatch, _Mapping]] = ...) -> None: ...

class EvaluateSpec(_message.Message):
    __slots__ = ("target", "dataset")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    target: _version_selector_pb2.VersionSelector
    dataset: str
    def __init__(self, target: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., dataset: _Optional[str] = ...) -> None: ...

class EvaluateResponse(_message.Message):
    __slots__ = ("model", "version", "evaluation", "faults", "fault_count", "trained_count")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    FAULT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    evaluation: _evaluation_pb2.Evaluation
    faults: _containers.RepeatedCompositeFieldContainer[_job_pb2.ExampleFault]
    fault_count: int
    trained_count: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., evaluation: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ..., faults: _Optional[_Iterable[_Union[_job_pb2.ExampleFault, _Mapping]]] = ..., fault_count: _Optional[int] = ..., trained_count: _Optional[int] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("spec", "examples")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    spec: CompareSpec
    examples: _fine_tuning_service_pb2.ExampleBatch
    def __init__(self, spec: _Optional[_Union[CompareSpec, _Mapping]] = ..., examples: _Optional[_Union[_fine_tuning_service_pb2.ExampleBatch, _Mapping]] = ...) -> None: ...

class CompareSpec(_message.Message):
    __slots__ = ("first", "second", "dataset")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    first: _version_selector_pb2.VersionSelector
    second: _version_selector_pb2.VersionSelector
    dataset: str
    def __init__(self, first: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., second: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., dataset: _Optional[str] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("first", "second", "comparison", "faults", "fault_count", "differing_examples", "first_trained_count", "second_trained_count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    FAULT_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    FIRST_TRAINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SECOND_TRAINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    first: _version_selector_pb2.VersionRef
    second: _version_selector_pb2.VersionRef
    comparison: _comparison_pb2.Comparison
    faults: _containers.RepeatedCompositeFieldContainer[_job_pb2.ExampleFault]
    fault_count: int
    differing_examples: _containers.RepeatedCompositeFieldContainer[DifferingExample]
    first_trained_count: int
    second_trained_count: int
    def __init__(self, first: _Optional[_Union[_version_selector_pb2.VersionRef, _Mapping]] = ..., second: _Optional[_Union[_version_selector_pb2.VersionRef, _Mapping]] = ..., comparison: _Optional[_Union[_comparison_pb2.Comparison, _Mapping]] = ..., faults: _Optional[_Iterable[_Union[_job_pb2.ExampleFault, _Mapping]]] = ..., fault_count: _Optional[int] = ..., differing_examples: _Optional[_Iterable[_Union[DifferingExample, _Mapping]]] = ..., first_trained_count: _Optional[int] = ..., second_trained_count: _Optional[int] = ...) -> None: ...

class DifferingExample(_message.Message):
    __slots__ = ("example", "version", "first_right", "first_label", "second_label")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FIRST_RIGHT_FIELD_NUMBER: _ClassVar[int]
    FIRST_LABEL_FIELD_NUMBER: _ClassVar[int]
    SECOND_LABEL_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    version: _version_selector_pb2.VersionRef
    first_right: bool
    first_label: _label_pb2.Label
    second_label: _label_pb2.Label
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., version: _Optional[_Union[_version_selector_pb2.VersionRef, _Mapping]] = ..., first_right: bool = ..., first_label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., second_label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ...) -> None: ...
