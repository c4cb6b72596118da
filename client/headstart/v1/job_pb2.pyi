import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from headstart.v1 import energy_pb2 as _energy_pb2
from headstart.v1 import errors_pb2 as _errors_pb2
from headstart.v1 import example_record_pb2 as _example_record_pb2
from headstart.v1 import input_pb2 as _input_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureScaling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_SCALING_UNSPECIFIED: _ClassVar[FeatureScaling]
    FEATURE_SCALING_UNIT: _ClassVar[FeatureScaling]
    FEATURE_SCALING_ROOT: _ClassVar[FeatureScaling]
    FEATURE_SCALING_STANDARD: _ClassVar[FeatureScaling]

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class JobStep(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STEP_UNSPECIFIED: _ClassVar[JobStep]
    JOB_STEP_FEATURES: _ClassVar[JobStep]
    JOB_STEP_FIT: _ClassVar[JobStep]
    JOB_STEP_EVALUATE: _ClassVar[JobStep]
    JOB_STEP_PUBLISH: _ClassVar[JobStep]
    JOB_STEP_SELECT_BACKBONE: _ClassVar[JobStep]

class JobTrigger(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_TRIGGER_UNSPECIFIED: _ClassVar[JobTrigger]
    JOB_TRIGGER_REQUEST: _ClassVar[JobTrigger]
    JOB_TRIGGER_RETRAIN: _ClassVar[JobTrigger]

class WebhookState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEBHOOK_STATE_UNSPECIFIED: _ClassVar[WebhookState]
    WEBHOOK_STATE_PENDING: _ClassVar[WebhookState]
    WEBHOOK_STATE_DELIVERED: _ClassVar[WebhookState]
    WEBHOOK_STATE_GIVEN_UP: _ClassVar[WebhookState]
FEATURE_SCALING_UNSPECIFIED: FeatureScaling
FEATURE_SCALING_UNIT: FeatureScaling
FEATURE_SCALING_ROOT: FeatureScaling
FEATURE_SCALING_STANDARD: FeatureScaling
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_STEP_UNSPECIFIED: JobStep
JOB_STEP_FEATURES: JobStep
JOB_STEP_FIT: JobStep
JOB_STEP_EVALUATE: JobStep
JOB_STEP_PUBLISH: JobStep
JOB_STEP_SELECT_BACKBONE: JobStep
JOB_TRIGGER_UNSPECIFIED: JobTrigger
JOB_TRIGGER_REQUEST: JobTrigger
JOB_TRIGGER_RETRAIN: JobTrigger
WEBHOOK_STATE_UNSPECIFIED: WebhookState
WEBHOOK_STATE_PENDING: WebhookState
WEBHOOK_STATE_DELIVERED: WebhookState
WEBHOOK_STATE_GIVEN_UP: WebhookState

class FineTuneSpec(_message.Message):
    __slots__ = ("model", "backbone", "recipe", "held_out_fraction", "seed", "display_name", "tags", "alias", "expire_time", "ttl", "request_id", "validate_only", "max_excluded_fraction", "task", "promote_if", "parent_version", "parent_alias", "discard_examples", "priority", "backbone_candidates", "backbone_time_budget", "webhook", "dataset_uri", "dataset", "edits")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FRACTION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    MAX_EXCLUDED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_IF_FIELD_NUMBER: _ClassVar[int]
    PARENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_ALIAS_FIELD_NUMBER: _ClassVar[int]
    DISCARD_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    DATASET_URI_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EDITS_FIELD_NUMBER: _ClassVar[int]
    model: str
    backbone: str
    recipe: Recipe
    held_out_fraction: float
    seed: int
    display_name: str
    tags: _containers.ScalarMap[str, str]
    alias: str
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    request_id: str
    validate_only: bool
    max_excluded_fraction: float
    task: _input_pb2.Task
    promote_if: _comparison_pb2.PromotionGate
    parent_version: int
    parent_alias: str
    discard_examples: bool
    priority: int
    backbone_candidates: _containers.RepeatedScalarFieldContainer[str]
    backbone_time_budget: _duration_pb2.Duration
    webhook: str
    dataset_uri: str
    dataset: str
    edits: _containers.RepeatedCompositeFieldContainer[_example_record_pb2.ExampleEdit]
    def __init__(self, model: _Optional[str] = ..., backbone: _Optional[str] = ..., recipe: _Optional[_Union[Recipe, _Mapping]] = ..., held_out_fraction: _Optional[float] = ..., seed: _Optional[int] = ..., display_name: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., alias: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., max_excluded_fraction: _Optional[float] = ..., task: _Optional[_Union[_input_pb2.Task, str]] = ..., promote_if: _Optional[_Union[_comparison_pb2.PromotionGate, _Mapping]] = ..., parent_version: _Optional[int] = ..., parent_alias: _Optional[str] = ..., discard_examples: bool = ..., priority: _Optional[int] = ..., backbone_candidates: _Optional[_Iterable[str]] = ..., backbone_time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., webhook: _Optional[str] = ..., dataset_uri: _Optional[str] = ..., dataset: _Optional[str] = ..., edits: _Optional[_Iterable[_Union[_example_record_pb2.ExampleEdit, _Mapping]]] = ...) -> None: ...

class Recipe(_message.Message):
    __slots__ = ("auto", "ridge", "logistic", "mlp", "partial")
    AUTO_FIELD_NUMBER: _ClassVar[int]
    RIDGE_FIELD_NUMBER: _ClassVar[int]
    LOGISTIC_FIELD_NUMBER: _ClassVar[int]
    MLP_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    auto: AutoRecipe
    ridge: RidgeRecipe
    logistic: LogisticRecipe
    mlp: MlpRecipe
    partial: PartialRecipe
    def __init__(self, auto: _Optional[_Union[AutoRecipe, _Mapping]] = ..., ridge: _Optional[_Union[RidgeRecipe, _Mapping]] = ..., logistic: _Optional[_Union[LogisticRecipe, _Mapping]] = ..., mlp: _Optional[_Union[MlpRecipe, _Mapping]] = ..., partial: _Optional[_Union[PartialRecipe, _Mapping]] = ...) -> None: ...

class AutoRecipe(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RidgeRecipe(_message.Message):
    __slots__ = ("regularization", "temperature", "folds", "view", "views", "scaling", "balanced")
    REGULARIZATION_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    regularization: float
    temperature: float
    folds: int
    view: str
    views: _containers.RepeatedScalarFieldContainer[str]
    scaling: FeatureScaling
    balanced: bool
    def __init__(self, regularization: _Optional[float] = ..., temperature: _Optional[float] = ..., folds: _Optional[int] = ..., view: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ..., scaling: _Optional[_Union[FeatureScaling, str]] = ..., balanced: bool = ...) -> None: ...

class LogisticRecipe(_message.Message):
    __slots__ = ("regularization", "temperature", "folds", "views", "scaling", "balanced", "time_budget")
    REGULARIZATION_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    regularization: float
    temperature: float
    folds: int
    views: _containers.RepeatedScalarFieldContainer[str]
    scaling: FeatureScaling
    balanced: bool
    time_budget: _duration_pb2.Duration
    def __init__(self, regularization: _Optional[float] = ..., temperature: _Optional[float] = ..., folds: _Optional[int] = ..., views: _Optional[_Iterable[str]] = ..., scaling: _Optional[_Union[FeatureScaling, str]] = ..., balanced: bool = ..., time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MlpRecipe(_message.Message):
    __slots__ = ("hidden_units", "dropout", "weight_decay", "learning_rate", "max_epochs", "patience", "temperature", "folds", "views", "balanced", "time_budget")
    HIDDEN_UNITS_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    hidden_units: int
    dropout: float
    weight_decay: float
    learning_rate: float
    max_epochs: int
    patience: int
    temperature: float
    folds: int
    views: _containers.RepeatedScalarFieldContainer[str]
    balanced: bool
    time_budget: _duration_pb2.Duration
    def __init__(self, hidden_units: _Optional[int] = ..., dropout: _Optional[float] = ..., weight_decay: _Optional[float] = ..., learning_rate: _Optional[float] = ..., max_epochs: _Optional[int] = ..., patience: _Optional[int] = ..., temperature: _Optional[float] = ..., folds: _Optional[int] = ..., views: _Optional[_Iterable[str]] = ..., balanced: bool = ..., time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PartialRecipe(_message.Message):
    __slots__ = ("blocks", "learning_rate", "max_epochs", "patience", "temperature", "balanced", "time_budget")
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    blocks: int
    learning_rate: float
    max_epochs: int
    patience: int
    temperature: float
    balanced: bool
    time_budget: _duration_pb2.Duration
    def __init__(self, blocks: _Optional[int] = ..., learning_rate: _Optional[float] = ..., max_epochs: _Optional[int] = ..., patience: _Optional[int] = ..., temperature: _Optional[float] = ..., balanced: bool = ..., time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "state", "spec", "progress", "version", "error", "example_count", "class_count", "dataset_digest", "excluded_examples", "excluded_count", "create_time", "start_time", "end_time", "step_durations", "last_event", "queue_position", "task", "promotion", "estimated_start_time", "estimated_end_time", "energy", "webhook", "trigger")
    class StepDurationsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _duration_pb2.Duration
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLASS_COUNT_FIELD_NUMBER: _ClassVar[int]
    DATASET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_DURATIONS_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROMOTION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_TIME_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_TIME_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    state: JobState
    spec: FineTuneSpec
    progress: Progress
    version: int
    error: _status_pb2.Status
    example_count: int
    class_count: int
    dataset_digest: str
    excluded_examples: _containers.RepeatedCompositeFieldContainer[ExampleFault]
    excluded_count: int
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    step_durations: _containers.MessageMap[str, _duration_pb2.Duration]
    last_event: int
    queue_position: int
    task: _input_pb2.Task
    promotion: _comparison_pb2.Promotion
    estimated_start_time: _timestamp_pb2.Timestamp
    estimated_end_time: _timestamp_pb2.Timestamp
    energy: _energy_pb2.Energy
    webhook: WebhookDelivery
    trigger: JobTrigger
    def __init__(self, job_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., spec: _Optional[_Union[FineTuneSpec, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., version: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., example_count: _Optional[int] = ..., class_count: _Optional[int] = ..., dataset_digest: _Optional[str] = ..., excluded_examples: _Optional[_Iterable[_Union[ExampleFault, _Mapping]]] = ..., excluded_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step_durations: _Optional[_Mapping[str, _duration_pb2.Duration]] = ..., last_event: _Optional[int] = ..., queue_position: _Optional[int] = ..., task: _Optional[_Union[_input_pb2.Task, str]] = ..., promotion: _Optional[_Union[_comparison_pb2.Promotion, _Mapping]] = ..., estimated_start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., estimated_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., energy: _Optional[_Union[_energy_pb2.Energy, _Mapping]] = ..., webhook: _Optional[_Union[WebhookDelivery, _Mapping]] = ..., trigger: _Optional[_Union[JobTrigger, str]] = ...) -> None: ...

class WebhookDelivery(_message.Message):
    __slots__ = ("uri", "state", "attempt_count", "error", "next_attempt_time", "end_time")
    URI_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    uri: str
    state: WebhookState
    attempt_count: int
    error: str
    next_attempt_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, uri: _Optional[str] = ..., state: _Optional[_Union[WebhookState, str]] = ..., attempt_count: _Optional[int] = ..., error: _Optional[str] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "fraction", "done", "total", "loss", "accuracy", "message")
    STEP_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    step: JobStep
    fraction: float
    done: int
    total: int
    loss: float
    accuracy: float
    message: str
    def __init__(self, step: _Optional[_Union[JobStep, str]] = ..., fraction: _Optional[float] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., loss: _Optional[float] = ..., accuracy: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("job_id", "number", "event_time", "state", "progress", "model")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    number: int
    event_time: _timestamp_pb2.Timestamp
    state: JobState
    progress: Progress
    model: str
    def __init__(self, job_id: _Optional[str] = ..., number: _Optional[int] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[JobState, str]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class ExampleFault(_message.Message):
    __slots__ = ("index", "example_id", "reason", "message")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    example_id: str
    reason: _errors_pb2.ErrorReason
    message: str
    def __init__(self, index: _Optional[int] = ..., example_id: _Optional[str] = ..., reason: _Optional[_Union[_errors_pb2.ErrorReason, str]] = ..., message: _Optional[str] = ...) -> None: ...
