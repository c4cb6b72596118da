"""The messages of comparisons, and of the promotion gate that uses them."""

from headstart.v1 import comparison_pb2
from headstart_server.learning.metrics.comparison import ComparedMetrics, Comparison
from headstart_server.learning.metrics.promotion import Decision, Promotion, PromotionCriteria

DECISIONS = {
    Decision.PROMOTED: comparison_pb2.PROMOTION_DECISION_PROMOTED,
    Decision.KEPT: comparison_pb2.PROMOTION_DECISION_KEPT,
}


def comparison_message(comparison: Comparison) -> comparison_pb2.Comparison:
    """Return the message of a comparison."""
    return comparison_pb2.Comparison(
        example_count=comparison.example_count,
        first=_metrics_message(comparison.first),
        second=_metrics_message(comparison.second),
        difference=comparison.difference,
        difference_low=comparison.difference_low,
        difference_high=comparison.difference_high,
        only_first_right=comparison.only_first_right,
        only_second_right=comparison.only_second_right,
        p_value=comparison.p_value,
        significant=comparison.significant,
        classes=[
            comparison_pb2.ComparedClass(
                name=one.name,
                example_count=one.example_count,
                first_recall=one.first_recall,
                second_recall=one.second_recall,
            )
            for one in comparison.classes
        ],
        verdict=comparison.verdict,
    )


def promotion_message(promotion: Promotion | None) -> comparison_pb2.Promotion | None:
    """Return the message of a promotion of an alias; None for None."""
    if promotion is None:
        return None
    return comparison_pb2.Promotion(
        alias=promotion.alias,
        decision=DECISIONS[promotion.decision],
        baseline_version=promotion.baseline or None,
        comparison=comparison_message(promotion.comparison) if promotion.comparison else None,
        reasons=promotion.reasons,
    )


def gate_message(gate: PromotionCriteria | None) -> comparison_pb2.PromotionGate | None:
    """Return the message of a gate; None for None."""
    if gate is None:
        return None
    return comparison_pb2.PromotionGate(
        max_drop=gate.max_drop,
        max_class_drop=gate.max_class_drop,
        min_class_examples=gate.min_class_examples,
        significance=gate.significance,
    )


def gate_of(message: comparison_pb2.PromotionGate) -> PromotionCriteria:
    """Return the gate of a message; `PromotionCriteria.check` checks its ranges."""
    default = PromotionCriteria()
    return PromotionCriteria(
        max_drop=message.max_drop if message.HasField("max_drop") else default.max_drop,
        max_class_drop=(
            message.max_class_drop if message.HasField("max_class_drop") else default.max_class_drop
        ),
        min_class_examples=(
            message.min_class_examples
            if message.HasField("min_class_examples")
            else default.min_class_examples
        ),
        significance=message.significance if message.HasField("significance") else default.significance,
    )


def _metrics_message(metrics: ComparedMetrics) -> comparison_pb2.ComparedMetrics:
    return comparison_pb2.ComparedMetrics(
        accuracy=metrics.accuracy,
        balanced_accuracy=metrics.balanced_accuracy,
        log_loss=metrics.log_loss,
        mean_absolute_error=metrics.mean_absolute_error,
    )
