import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from headstart.v1 import evaluation_pb2 as _evaluation_pb2
from headstart.v1 import input_pb2 as _input_pb2
from headstart.v1 import job_pb2 as _job_pb2
from headstart.v1 import version_selector_pb2 as _version_selector_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FineTuneRequest(_message.Message):
    __slots__ = ("spec", "examples")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    spec: _job_pb2.FineTuneSpec
    examples: ExampleBatch
    def __init__(self, spec: _Optional[_Union[_job_pb2.FineTuneSpec, _Mapping]] = ..., examples: _Optional[_Union[ExampleBatch, _Mapping]] = ...) -> None: ...

class ExampleBatch(_message.Message):
    __slots__ = ("examples",)
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedCompositeFieldContainer[_input_pb2.Example]
    def __init__(self, examples: _Optional[_Iterable[_Union[_input_pb2.Example, _Mapping]]] = ...) -> None: ...

class FineTuneResponse(_message.Message):
    __slots__ = ("job", "validation")
    JOB_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    validation: Validation
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., validation: _Optional[_Union[Validation, _Mapping]] = ...) -> None: ...

class Validation(_message.Message):
    __slots__ = ("valid", "example_count", "class_counts", "faults", "fault_count", "warnings", "message", "findings", "evaluation")
    class ClassCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VALID_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNTS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    FAULT_COUNT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    example_count: int
    class_counts: _containers.ScalarMap[str, int]
    faults: _containers.RepeatedCompositeFieldContainer[_job_pb2.ExampleFault]
    fault_count: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    message: str
    findings: _evaluation_pb2.DatasetFindings
    evaluation: _evaluation_pb2.Evaluation
    def __init__(self, valid: bool = ..., example_count: _Optional[int] = ..., class_counts: _Optional[_Mapping[str, int]] = ..., faults: _Optional[_Iterable[_Union[_job_pb2.ExampleFault, _Mapping]]] = ..., fault_count: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ..., findings: _Optional[_Union[_evaluation_pb2.DatasetFindings, _Mapping]] = ..., evaluation: _Optional[_Union[_evaluation_pb2.Evaluation, _Mapping]] = ...) -> None: ...

class RebaseRequest(_message.Message):
    __slots__ = ("source", "alias", "backbone", "backbone_candidates", "backbone_time_budget", "recipe", "promote_if", "request_id", "priority", "webhook")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_IF_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    source: _version_selector_pb2.VersionSelector
    alias: str
    backbone: str
    backbone_candidates: _containers.RepeatedScalarFieldContainer[str]
    backbone_time_budget: _duration_pb2.Duration
    recipe: _job_pb2.Recipe
    promote_if: _comparison_pb2.PromotionGate
    request_id: str
    priority: int
    webhook: str
    def __init__(self, source: _Optional[_Union[_version_selector_pb2.VersionSelector, _Mapping]] = ..., alias: _Optional[str] = ..., backbone: _Optional[str] = ..., backbone_candidates: _Optional[_Iterable[str]] = ..., backbone_time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., recipe: _Optional[_Union[_job_pb2.Recipe, _Mapping]] = ..., promote_if: _Optional[_Union[_comparison_pb2.PromotionGate, _Mapping]] = ..., request_id: _Optional[str] = ..., priority: _Optional[int] = ..., webhook: _Optional[str] = ...) -> None: ...

class RebaseResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("job_id", "wait_duration")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_DURATION_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    wait_duration: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[str] = ..., wait_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("job_id", "after_event")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_EVENT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_event: int
    def __init__(self, job_id: _Optional[str] = ..., after_event: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _job_pb2.JobEvent
    def __init__(self, event: _Optional[_Union[_job_pb2.JobEvent, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ("model", "resume_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    resume_token: str
    def __init__(self, model: _Optional[str] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchJobsResponse(_message.Message):
    __slots__ = ("event", "resume_token")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    event: _job_pb2.JobEvent
    resume_token: str
    def __init__(self, event: _Optional[_Union[_job_pb2.JobEvent, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("model", "states", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    states: _containers.RepeatedScalarFieldContainer[_job_pb2.JobState]
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_job_pb2.JobState, str]]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SubmitFineTuneRequest(_message.Message):
    __slots__ = ("spec", "examples")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    spec: _job_pb2.FineTuneSpec
    examples: _containers.RepeatedCompositeFieldContainer[_input_pb2.Example]
    def __init__(self, spec: _Optional[_Union[_job_pb2.FineTuneSpec, _Mapping]] = ..., examples: _Optional[_Iterable[_Union[_input_pb2.Example, _Mapping]]] = ...) -> None: ...

class SubmitFineTuneResponse(_message.Message):
    __slots__ = ("job", "validation")
    JOB_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    validation: Validation
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., validation: _Optional[_Union[Validation, _Mapping]] = ...) -> None: ...
