import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from headstart.v1 import label_pb2 as _label_pb2
from headstart.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecommendationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECOMMENDATION_KIND_UNSPECIFIED: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_TOO_FEW_EXAMPLES: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_IMBALANCE: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_DUPLICATES: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_LEAKAGE: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_CONTRADICTIONS: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_LABEL_ISSUES: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_OUTLIERS: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_MORE_DATA: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_FAULTS: _ClassVar[RecommendationKind]
    RECOMMENDATION_KIND_TRUNCATION: _ClassVar[RecommendationKind]
RECOMMENDATION_KIND_UNSPECIFIED: RecommendationKind
RECOMMENDATION_KIND_TOO_FEW_EXAMPLES: RecommendationKind
RECOMMENDATION_KIND_IMBALANCE: RecommendationKind
RECOMMENDATION_KIND_DUPLICATES: RecommendationKind
RECOMMENDATION_KIND_LEAKAGE: RecommendationKind
RECOMMENDATION_KIND_CONTRADICTIONS: RecommendationKind
RECOMMENDATION_KIND_LABEL_ISSUES: RecommendationKind
RECOMMENDATION_KIND_OUTLIERS: RecommendationKind
RECOMMENDATION_KIND_MORE_DATA: RecommendationKind
RECOMMENDATION_KIND_FAULTS: RecommendationKind
RECOMMENDATION_KIND_TRUNCATION: RecommendationKind

class Evaluation(_message.Message):
    __slots__ = ("metrics", "classes", "reliability", "confused", "worst", "interval_coverage", "values", "median_absolute_error")
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    CONFUSED_FIELD_NUMBER: _ClassVar[int]
    WORST_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    metrics: _model_pb2.Metrics
    classes: _containers.RepeatedCompositeFieldContainer[ClassMetrics]
    reliability: _containers.RepeatedCompositeFieldContainer[ReliabilityBin]
    confused: _containers.RepeatedCompositeFieldContainer[ConfusedPair]
    worst: _containers.RepeatedCompositeFieldContainer[ExampleOutcome]
    interval_coverage: float
    values: _containers.RepeatedCompositeFieldContainer[ValuePair]
    median_absolute_error: float
    def __init__(self, metrics: _Optional[_Union[_model_pb2.Metrics, _Mapping]] = ..., classes: _Optional[_Iterable[_Union[ClassMetrics, _Mapping]]] = ..., reliability: _Optional[_Iterable[_Union[ReliabilityBin, _Mapping]]] = ..., confused: _Optional[_Iterable[_Union[ConfusedPair, _Mapping]]] = ..., worst: _Optional[_Iterable[_Union[ExampleOutcome, _Mapping]]] = ..., interval_coverage: _Optional[float] = ..., values: _Optional[_Iterable[_Union[ValuePair, _Mapping]]] = ..., median_absolute_error: _Optional[float] = ...) -> None: ...

class ValuePair(_message.Message):
    __slots__ = ("actual", "predicted")
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    actual: float
    predicted: float
    def __init__(self, actual: _Optional[float] = ..., predicted: _Optional[float] = ...) -> None: ...

class ClassMetrics(_message.Message):
    __slots__ = ("name", "support", "precision", "recall", "f1", "average_precision", "roc_auc", "thresholds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    F1_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_PRECISION_FIELD_NUMBER: _ClassVar[int]
    ROC_AUC_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float
    roc_auc: float
    thresholds: _containers.RepeatedCompositeFieldContainer[ThresholdPoint]
    def __init__(self, name: _Optional[str] = ..., support: _Optional[int] = ..., precision: _Optional[float] = ..., recall: _Optional[float] = ..., f1: _Optional[float] = ..., average_precision: _Optional[float] = ..., roc_auc: _Optional[float] = ..., thresholds: _Optional[_Iterable[_Union[ThresholdPoint, _Mapping]]] = ...) -> None: ...

class ThresholdPoint(_message.Message):
    __slots__ = ("threshold", "precision", "recall")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    precision: float
    recall: float
    def __init__(self, threshold: _Optional[float] = ..., precision: _Optional[float] = ..., recall: _Optional[float] = ...) -> None: ...

class ReliabilityBin(_message.Message):
    __slots__ = ("low", "high", "count", "confidence", "accuracy")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ..., count: _Optional[int] = ..., confidence: _Optional[float] = ..., accuracy: _Optional[float] = ...) -> None: ...

class ConfusedPair(_message.Message):
    __slots__ = ("actual", "predicted", "count")
    ACTUAL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    actual: str
    predicted: str
    count: int
    def __init__(self, actual: _Optional[str] = ..., predicted: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class ExampleOutcome(_message.Message):
    __slots__ = ("example", "predicted", "probability", "loss")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    predicted: _label_pb2.Label
    probability: float
    loss: float
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., predicted: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., probability: _Optional[float] = ..., loss: _Optional[float] = ...) -> None: ...

class DatasetFindings(_message.Message):
    __slots__ = ("duplicates", "duplicate_count", "label_issues", "label_issue_count", "outliers", "outlier_count", "learning_curve", "imbalance", "estimated_duration", "recommendations", "truncated_examples", "truncated_count")
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_ISSUES_FIELD_NUMBER: _ClassVar[int]
    LABEL_ISSUE_COUNT_FIELD_NUMBER: _ClassVar[int]
    OUTLIERS_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEARNING_CURVE_FIELD_NUMBER: _ClassVar[int]
    IMBALANCE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_DURATION_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    duplicates: _containers.RepeatedCompositeFieldContainer[DuplicateGroup]
    duplicate_count: int
    label_issues: _containers.RepeatedCompositeFieldContainer[LabelIssue]
    label_issue_count: int
    outliers: _containers.RepeatedCompositeFieldContainer[Outlier]
    outlier_count: int
    learning_curve: _containers.RepeatedCompositeFieldContainer[LearningPoint]
    imbalance: float
    estimated_duration: _duration_pb2.Duration
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    truncated_examples: _containers.RepeatedCompositeFieldContainer[_label_pb2.ExampleReference]
    truncated_count: int
    def __init__(self, duplicates: _Optional[_Iterable[_Union[DuplicateGroup, _Mapping]]] = ..., duplicate_count: _Optional[int] = ..., label_issues: _Optional[_Iterable[_Union[LabelIssue, _Mapping]]] = ..., label_issue_count: _Optional[int] = ..., outliers: _Optional[_Iterable[_Union[Outlier, _Mapping]]] = ..., outlier_count: _Optional[int] = ..., learning_curve: _Optional[_Iterable[_Union[LearningPoint, _Mapping]]] = ..., imbalance: _Optional[float] = ..., estimated_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., truncated_examples: _Optional[_Iterable[_Union[_label_pb2.ExampleReference, _Mapping]]] = ..., truncated_count: _Optional[int] = ...) -> None: ...

class DuplicateGroup(_message.Message):
    __slots__ = ("examples", "count", "exact", "contradicting", "across_held_out")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    CONTRADICTING_FIELD_NUMBER: _ClassVar[int]
    ACROSS_HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    examples: _containers.RepeatedCompositeFieldContainer[_label_pb2.ExampleReference]
    count: int
    exact: bool
    contradicting: bool
    across_held_out: bool
    def __init__(self, examples: _Optional[_Iterable[_Union[_label_pb2.ExampleReference, _Mapping]]] = ..., count: _Optional[int] = ..., exact: bool = ..., contradicting: bool = ..., across_held_out: bool = ...) -> None: ...

class LabelIssue(_message.Message):
    __slots__ = ("example", "suggested_label", "suggested_probability", "given_probability")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    GIVEN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    suggested_label: _label_pb2.Label
    suggested_probability: float
    given_probability: float
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., suggested_label: _Optional[_Union[_label_pb2.Label, _Mapping]] = ..., suggested_probability: _Optional[float] = ..., given_probability: _Optional[float] = ...) -> None: ...

class Outlier(_message.Message):
    __slots__ = ("example", "distance_ratio")
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_RATIO_FIELD_NUMBER: _ClassVar[int]
    example: _label_pb2.ExampleReference
    distance_ratio: float
    def __init__(self, example: _Optional[_Union[_label_pb2.ExampleReference, _Mapping]] = ..., distance_ratio: _Optional[float] = ...) -> None: ...

class LearningPoint(_message.Message):
    __slots__ = ("example_count", "score", "extrapolated")
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    EXTRAPOLATED_FIELD_NUMBER: _ClassVar[int]
    example_count: int
    score: float
    extrapolated: bool
    def __init__(self, example_count: _Optional[int] = ..., score: _Optional[float] = ..., extrapolated: bool = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: RecommendationKind
    message: str
    def __init__(self, kind: _Optional[_Union[RecommendationKind, str]] = ..., message: _Optional[str] = ...) -> None: ...
