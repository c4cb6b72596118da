import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headstart.v1 import backbone_selection_pb2 as _backbone_selection_pb2
from headstart.v1 import capture_policy_pb2 as _capture_policy_pb2
from headstart.v1 import comparison_pb2 as _comparison_pb2
from headstart.v1 import energy_pb2 as _energy_pb2
from headstart.v1 import input_pb2 as _input_pb2
from headstart.v1 import job_pb2 as _job_pb2
from headstart.v1 import retrain_policy_pb2 as _retrain_policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MetricsSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRICS_SOURCE_UNSPECIFIED: _ClassVar[MetricsSource]
    METRICS_SOURCE_NONE: _ClassVar[MetricsSource]
    METRICS_SOURCE_OUT_OF_FOLD: _ClassVar[MetricsSource]
    METRICS_SOURCE_HELD_OUT: _ClassVar[MetricsSource]

class StopReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOP_REASON_UNSPECIFIED: _ClassVar[StopReason]
    STOP_REASON_CLOSED_FORM: _ClassVar[StopReason]
    STOP_REASON_CONVERGED: _ClassVar[StopReason]
    STOP_REASON_STEPS: _ClassVar[StopReason]
    STOP_REASON_TIME: _ClassVar[StopReason]

class Modality(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODALITY_UNSPECIFIED: _ClassVar[Modality]
    MODALITY_IMAGE: _ClassVar[Modality]
    MODALITY_TEXT: _ClassVar[Modality]
    MODALITY_TENSOR: _ClassVar[Modality]
METRICS_SOURCE_UNSPECIFIED: MetricsSource
METRICS_SOURCE_NONE: MetricsSource
METRICS_SOURCE_OUT_OF_FOLD: MetricsSource
METRICS_SOURCE_HELD_OUT: MetricsSource
STOP_REASON_UNSPECIFIED: StopReason
STOP_REASON_CLOSED_FORM: StopReason
STOP_REASON_CONVERGED: StopReason
STOP_REASON_STEPS: StopReason
STOP_REASON_TIME: StopReason
MODALITY_UNSPECIFIED: Modality
MODALITY_IMAGE: Modality
MODALITY_TEXT: Modality
MODALITY_TENSOR: Modality

class Model(_message.Message):
    __slots__ = ("model", "create_time", "newest_version", "version_count", "aliases", "display_name", "description", "tags", "capture", "retrain")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEWEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_FIELD_NUMBER: _ClassVar[int]
    RETRAIN_FIELD_NUMBER: _ClassVar[int]
    model: str
    create_time: _timestamp_pb2.Timestamp
    newest_version: int
    version_count: int
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    display_name: str
    description: str
    tags: _containers.ScalarMap[str, str]
    capture: _capture_policy_pb2.CapturePolicy
    retrain: _retrain_policy_pb2.RetrainPolicy
    def __init__(self, model: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., newest_version: _Optional[int] = ..., version_count: _Optional[int] = ..., aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ..., display_name: _Optional[str] = ..., description: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., capture: _Optional[_Union[_capture_policy_pb2.CapturePolicy, _Mapping]] = ..., retrain: _Optional[_Union[_retrain_policy_pb2.RetrainPolicy, _Mapping]] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("alias", "version", "etag", "update_time", "traffic")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    alias: str
    version: int
    etag: str
    update_time: _timestamp_pb2.Timestamp
    traffic: _containers.RepeatedCompositeFieldContainer[TrafficSplit]
    def __init__(self, alias: _Optional[str] = ..., version: _Optional[int] = ..., etag: _Optional[str] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traffic: _Optional[_Iterable[_Union[TrafficSplit, _Mapping]]] = ...) -> None: ...

class TrafficSplit(_message.Message):
    __slots__ = ("version", "fraction")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    version: int
    fraction: float
    def __init__(self, version: _Optional[int] = ..., fraction: _Optional[float] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("model", "version", "create_time", "expire_time", "display_name", "tags", "class_names", "metrics", "lineage", "size_bytes", "aliases", "task", "thresholds", "promotion", "has_examples", "backbone_selection", "energy", "description")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    PROMOTION_FIELD_NUMBER: _ClassVar[int]
    HAS_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_SELECTION_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    display_name: str
    tags: _containers.ScalarMap[str, str]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    metrics: Metrics
    lineage: Lineage
    size_bytes: int
    aliases: _containers.RepeatedScalarFieldContainer[str]
    task: _input_pb2.Task
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    promotion: _comparison_pb2.Promotion
    has_examples: bool
    backbone_selection: _backbone_selection_pb2.BackboneSelection
    energy: _energy_pb2.Energy
    description: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., display_name: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., class_names: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ..., size_bytes: _Optional[int] = ..., aliases: _Optional[_Iterable[str]] = ..., task: _Optional[_Union[_input_pb2.Task, str]] = ..., thresholds: _Optional[_Iterable[float]] = ..., promotion: _Optional[_Union[_comparison_pb2.Promotion, _Mapping]] = ..., has_examples: bool = ..., backbone_selection: _Optional[_Union[_backbone_selection_pb2.BackboneSelection, _Mapping]] = ..., energy: _Optional[_Union[_energy_pb2.Energy, _Mapping]] = ..., description: _Optional[str] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("source", "example_count", "accuracy", "accuracy_low", "accuracy_high", "log_loss", "confusion", "balanced_accuracy", "macro_f1", "micro_f1", "calibration_error", "mean_absolute_error", "root_mean_squared_error", "r_squared")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_LOW_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_HIGH_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    CONFUSION_FIELD_NUMBER: _ClassVar[int]
    BALANCED_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MACRO_F1_FIELD_NUMBER: _ClassVar[int]
    MICRO_F1_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ERROR_FIELD_NUMBER: _ClassVar[int]
    MEAN_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    ROOT_MEAN_SQUARED_ERROR_FIELD_NUMBER: _ClassVar[int]
    R_SQUARED_FIELD_NUMBER: _ClassVar[int]
    source: MetricsSource
    example_count: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    confusion: _containers.RepeatedCompositeFieldContainer[ConfusionCell]
    balanced_accuracy: float
    macro_f1: float
    micro_f1: float
    calibration_error: float
    mean_absolute_error: float
    root_mean_squared_error: float
    r_squared: float
    def __init__(self, source: _Optional[_Union[MetricsSource, str]] = ..., example_count: _Optional[int] = ..., accuracy: _Optional[float] = ..., accuracy_low: _Optional[float] = ..., accuracy_high: _Optional[float] = ..., log_loss: _Optional[float] = ..., confusion: _Optional[_Iterable[_Union[ConfusionCell, _Mapping]]] = ..., balanced_accuracy: _Optional[float] = ..., macro_f1: _Optional[float] = ..., micro_f1: _Optional[float] = ..., calibration_error: _Optional[float] = ..., mean_absolute_error: _Optional[float] = ..., root_mean_squared_error: _Optional[float] = ..., r_squared: _Optional[float] = ...) -> None: ...

class ConfusionCell(_message.Message):
    __slots__ = ("actual", "predicted", "count")
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    actual: int
    predicted: int
    count: int
    def __init__(self, actual: _Optional[int] = ..., predicted: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("job_id", "backbone", "backbone_digest", "dataset_digest", "recipe", "seed", "example_count", "software", "runtime", "stop_reason", "fit_duration", "parent_version", "added_example_count", "removed_example_count", "trained_blocks", "note", "edited_example_count", "feedback_count")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    BACKBONE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATASET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    FIT_DURATION_FIELD_NUMBER: _ClassVar[int]
    PARENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDED_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    EDITED_EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    backbone: str
    backbone_digest: str
    dataset_digest: str
    recipe: _job_pb2.Recipe
    seed: int
    example_count: int
    software: str
    runtime: str
    stop_reason: StopReason
    fit_duration: _duration_pb2.Duration
    parent_version: int
    added_example_count: int
    removed_example_count: int
    trained_blocks: int
    note: str
    edited_example_count: int
    feedback_count: int
    def __init__(self, job_id: _Optional[str] = ..., backbone: _Optional[str] = ..., backbone_digest: _Optional[str] = ..., dataset_digest: _Optional[str] = ..., recipe: _Optional[_Union[_job_pb2.Recipe, _Mapping]] = ..., seed: _Optional[int] = ..., example_count: _Optional[int] = ..., software: _Optional[str] = ..., runtime: _Optional[str] = ..., stop_reason: _Optional[_Union[StopReason, str]] = ..., fit_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., parent_version: _Optional[int] = ..., added_example_count: _Optional[int] = ..., removed_example_count: _Optional[int] = ..., trained_blocks: _Optional[int] = ..., note: _Optional[str] = ..., edited_example_count: _Optional[int] = ..., feedback_count: _Optional[int] = ...) -> None: ...

class Backbone(_message.Message):
    __slots__ = ("backbone", "modality", "views", "input_size", "parameter_count", "source", "license", "default", "description", "precision_reason")
    class ViewsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SIZE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRECISION_REASON_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    modality: Modality
    views: _containers.ScalarMap[str, int]
    input_size: _containers.RepeatedScalarFieldContainer[int]
    parameter_count: int
    source: str
    license: str
    default: bool
    description: str
    precision_reason: str
    def __init__(self, backbone: _Optional[str] = ..., modality: _Optional[_Union[Modality, str]] = ..., views: _Optional[_Mapping[str, int]] = ..., input_size: _Optional[_Iterable[int]] = ..., parameter_count: _Optional[int] = ..., source: _Optional[str] = ..., license: _Optional[str] = ..., default: bool = ..., description: _Optional[str] = ..., precision_reason: _Optional[str] = ...) -> None: ...

class BackboneStatus(_message.Message):
    __slots__ = ("backbone", "ready", "digest", "runtime", "problem")
    BACKBONE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    backbone: str
    ready: bool
    digest: str
    runtime: str
    problem: str
    def __init__(self, backbone: _Optional[str] = ..., ready: bool = ..., digest: _Optional[str] = ..., runtime: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...
