"""The ranges of a retrain policy, and its form in the database."""

from dataclasses import replace

import pytest

from headstart_server.errors import InvalidField
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.retrain_policy import RetrainPolicy


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (RetrainPolicy(alias=""), "retrain.alias"),
        (RetrainPolicy(alias="1x", max_delay=1.0), "retrain.alias"),
        (RetrainPolicy(alias="stable"), "retrain"),
        (RetrainPolicy(alias="stable", min_feedback_count=0), "retrain.min_feedback_count"),
        (RetrainPolicy(alias="stable", max_delay=-1.0), "retrain.max_delay"),
        (RetrainPolicy(alias="stable", min_accuracy=float("nan")), "retrain.min_accuracy"),
        (RetrainPolicy(alias="stable", max_delay=1.0, max_failures=0), "retrain.max_failures"),
        (RetrainPolicy(alias="stable", max_delay=1.0, min_interval=float("inf")), "retrain.min_interval"),
    ],
)
def test_an_invalid_policy_is_rejected(policy: RetrainPolicy, field: str) -> None:
    with pytest.raises(InvalidField) as raised:
        policy.check()
    assert raised.value.field == field


def test_a_policy_survives_json() -> None:
    policy = replace(
        RetrainPolicy(alias="stable", max_delay=1.0),
        promote_if=PromotionCriteria(max_drop=0.3),
        webhook="https://example.org/x",
    )
    assert RetrainPolicy.from_json({**policy.to_json(), "later": 1}) == policy
