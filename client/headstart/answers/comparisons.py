"""Comparisons of two versions and what became of aliases, from messages."""

from headstart.answers.enums import read_enum
from headstart.answers.faults import read_fault
from headstart.answers.optional import optional
from headstart.results import (
    ComparedClass,
    ComparedMetrics,
    Comparison,
    ExampleFault,
    Promotion,
    PromotionDecision,
)
from headstart.targets import Target
from headstart.v1 import comparison_pb2 as pb
from headstart.v1 import evaluation_service_pb2

__all__ = ["read_comparison", "read_promotion"]


def read_comparison(response: evaluation_service_pb2.CompareResponse) -> Comparison:
    """Reads how two versions compare."""
    return _comparison(
        response.comparison,
        _target(response.first_model, response.first_version),
        _target(response.second_model, response.second_version),
        tuple(read_fault(fault) for fault in response.faults),
        response.fault_count,
    )


def read_promotion(promotion: pb.Promotion, model: str, number: int) -> Promotion:
    """Reads what became of an alias when the version of this number was made; 0 if there is none yet."""
    return Promotion(
        alias=promotion.alias,
        decision=read_enum(promotion.decision, pb.PromotionDecision.DESCRIPTOR, PromotionDecision),
        baseline_version=promotion.baseline_version or None,
        comparison=_comparison(
            promotion.comparison, _target(model, promotion.baseline_version), _target(model, number)
        )
        if promotion.HasField("comparison")
        else None,
        reasons=tuple(promotion.reasons),
    )


def _comparison(
    message: pb.Comparison,
    first: Target | None,
    second: Target | None,
    faults: tuple[ExampleFault, ...] = (),
    fault_count: int = 0,
) -> Comparison:
    return Comparison(
        first_version=first,
        second_version=second,
        example_count=message.example_count,
        first=_metrics(message.first),
        second=_metrics(message.second),
        difference=message.difference,
        difference_low=message.difference_low,
        difference_high=message.difference_high,
        only_first_right=message.only_first_right,
        only_second_right=message.only_second_right,
        p_value=message.p_value,
        significant=message.significant,
        classes=tuple(
            ComparedClass(
                name=each.name,
                example_count=each.example_count,
                first_recall=each.first_recall,
                second_recall=each.second_recall,
            )
            for each in message.classes
        ),
        verdict=message.verdict,
        faults=faults,
        fault_count=fault_count,
    )


def _metrics(metrics: pb.ComparedMetrics) -> ComparedMetrics:
    return ComparedMetrics(
        **optional(metrics, "accuracy", "balanced_accuracy", "log_loss", "mean_absolute_error")
    )


def _target(model: str, number: int) -> Target | None:
    return Target(model, version=number) if model and number else None
