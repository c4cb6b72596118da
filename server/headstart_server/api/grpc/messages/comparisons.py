"""The messages of comparisons, and of the promotion gate that uses them."""

from headstart.v1 import comparison_pb2
from headstart_server.api.grpc.messages.encode import message_of
from headstart_server.learning.metrics.comparison import Comparison
from headstart_server.learning.metrics.promotion import Promotion, PromotionCriteria


def comparison_message(comparison: Comparison) -> comparison_pb2.Comparison:
    """Return the message of a comparison."""
    return message_of(comparison, comparison_pb2.Comparison)


def promotion_message(promotion: Promotion | None) -> comparison_pb2.Promotion | None:
    """Return the message of a promotion of an alias; None for None."""
    if promotion is None:
        return None
    return message_of(promotion, comparison_pb2.Promotion, baseline_version=promotion.baseline or None)


def gate_message(gate: PromotionCriteria | None) -> comparison_pb2.PromotionGate | None:
    """Return the message of a gate; None for None."""
    return None if gate is None else message_of(gate, comparison_pb2.PromotionGate)


def gate_of(message: comparison_pb2.PromotionGate) -> PromotionCriteria:
    """Return the gate of a message; `PromotionCriteria.check` checks its ranges."""
    return PromotionCriteria(**{field.name: value for field, value in message.ListFields()})
