from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PromotionDecision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROMOTION_DECISION_UNSPECIFIED: _ClassVar[PromotionDecision]
    PROMOTION_DECISION_PROMOTED: _ClassVar[PromotionDecision]
    PROMOTION_DECISION_KEPT: _ClassVar[PromotionDecision]
PROMOTION_DECISION_UNSPECIFIED: PromotionDecision
PROMOTION_DECISION_PROMOTED: PromotionDecision
PROMOTION_DECISION_KEPT: PromotionDecision

class PromotionGate(_message.Message):
    __slots__ = ("max_drop", "max_class_drop", "min_class_examples", "significance")
    MAX_DROP_FIELD_NUMBER: _ClassVar[int]
    MAX_CLASS_DROP_FIELD_NUMBER: _ClassVar[int]
    MIN_CLASS_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    SIGNIFICANCE_FIELD_NUMBER: _ClassVar[int]
    max_drop: float
    max_class_drop: float
    min_class_examples: int
    significance: float
    def __init__(self, max_drop: _Optional[float] = ..., max_class_drop: _Optional[float] = ..., min_class_examples: _Optional[int] = ..., significance: _Optional[float] = ...) -> None: ...

class Promotion(_message.Message):
    __slots__ = ("alias", "decision", "baseline_version", "comparison", "reasons")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    BASELINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    alias: str
    decision: PromotionDecision
    baseline_version: int
    comparison: Comparison
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, alias: _Optional[str] = ..., decision: _Optional[_Union[PromotionDecision, str]] = ..., baseline_version: _Optional[int] = ..., comparison: _Optional[_Union[Comparison, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class Comparison(_message.Message):
    __slots__ = ("example_count", "first", "second", "difference", "difference_low", "difference_high", "only_first_right", "only_second_right", "p_value", "significant", "classes", "verdict")
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_LOW_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_HIGH_FIELD_NUMBER: _ClassVar[int]
    ONLY_FIRST_RIGHT_FIELD_NUMBER: _ClassVar[int]
    ONLY_SECOND_RIGHT_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    SIGNIFICANT_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    example_count: int
    first: ComparedMetrics
    second: ComparedMetrics
    difference: float
    difference_low: float
    difference_high: float
    only_first_right: int
    only_second_right: int
    p_value: float
    significant: bool
    classes: _containers.RepeatedCompositeFieldContainer[ComparedClass]
    verdict: str
    def __init__(self, example_count: _Optional[int] = ..., first: _Optional[_Union[ComparedMetrics, _Mapping]] = ..., second: _Optional[_Union[ComparedMetrics, _Mapping]] = ..., difference: _Optional[float] = ..., difference_low: _Optional[float] = ..., difference_high: _Optional[float] = ..., only_first_right: _Optional[int] = ..., only_second_right: _Optional[int] = ..., p_value: _Optional[float] = ..., significant: bool = ..., classes: _Optional[_Iterable[_Union[ComparedClass, _Mapping]]] = ..., verdict: _Optional[str] = ...) -> None: ...

class ComparedMetrics(_message.Message):
    __slots__ = ("accuracy", "balanced_accuracy", "log_loss", "mean_absolute_error")
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    BALANCED_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    MEAN_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    mean_absolute_error: float
    def __init__(self, accuracy: _Optional[float] = ..., balanced_accuracy: _Optional[float] = ..., log_loss: _Optional[float] = ..., mean_absolute_error: _Optional[float] = ...) -> None: ...

class ComparedClass(_message.Message):
    __slots__ = ("name", "example_count", "first_recall", "second_recall")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_RECALL_FIELD_NUMBER: _ClassVar[int]
    SECOND_RECALL_FIELD_NUMBER: _ClassVar[int]
    name: str
    example_count: int
    first_recall: float
    second_recall: float
    def __init__(self, name: _Optional[str] = ..., example_count: _Optional[int] = ..., first_recall: _Optional[float] = ..., second_recall: _Optional[float] = ...) -> None: ...
