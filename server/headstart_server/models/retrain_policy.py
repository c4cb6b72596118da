"""The policy of a model's automatic retraining: its triggers, and how its result is promoted."""

from dataclasses import dataclass, field
from enum import StrEnum

from headstart_server.errors import InvalidField
from headstart_server.learning.metrics.promotion import PromotionCriteria
from headstart_server.models.names import check_alias_name
from headstart_server.storage.json_values import JsonValue

#: Maximum of `min_feedback_count`: a policy that waits for more would never retrain.
MAX_FEEDBACK_COUNT = 1_000_000
#: Seconds of 100 years.
MAX_SECONDS = 3_155_760_000.0
DEFAULT_MIN_INTERVAL = 60.0
DEFAULT_MAX_FAILURES, MAX_FAILURES = 5, 100
#: Minimum seconds before the first retry of a failed retrain, and maximum before any retry.
MIN_BACKOFF, MAX_BACKOFF = 10.0, 86_400.0


class UnknownClasses(StrEnum):
    """Whether feedback may name a class that the version does not know."""

    ALLOW = "allow"
    REJECT = "reject"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainPolicy(JsonValue):
    """When a model is retrained from feedback."""

    alias: str  # names the parent of the retrain, and moves if the gate allows it
    # feedback that starts a retrain; None disables this trigger
    min_feedback_count: int | None = None
    # seconds from the first feedback to a retrain; None disables this trigger
    max_delay: float | None = None
    # a lower accuracy in production starts a retrain; None disables this trigger
    min_accuracy: float | None = None
    promote_if: PromotionCriteria = field(default_factory=PromotionCriteria)
    min_interval: float = DEFAULT_MIN_INTERVAL  # seconds between the starts of two retrains
    unknown_classes: UnknownClasses = UnknownClasses.ALLOW
    # URL that receives the end of each retrain; None for the server's URL
    webhook: str | None = field(default=None, repr=False)
    max_failures: int = DEFAULT_MAX_FAILURES  # failed retrains in a row after which the policy stops

    def check(self) -> "RetrainPolicy":
        """Return the policy if all its fields are in their ranges."""
        if not self.alias:
            raise InvalidField("The policy has no alias. Name the alias to retrain.", field="retrain.alias")
        check_alias_name(self.alias, "retrain.alias")
        triggers = (self.min_feedback_count, self.max_delay, self.min_accuracy)
        if all(trigger is None for trigger in triggers):
            raise InvalidField(
                "The policy never starts a retrain. Set min_feedback_count, max_delay or min_accuracy.",
                field="retrain",
            )
        for name, low, high in (
            ("min_feedback_count", 1, MAX_FEEDBACK_COUNT),
            ("max_delay", 0.0, MAX_SECONDS),
            ("min_accuracy", 0.0, 1.0),
            ("min_interval", 0.0, MAX_SECONDS),
            ("max_failures", 1, MAX_FAILURES),
        ):
            value = getattr(self, name)
            # Written so that NaN fails.
            if value is not None and not low <= value <= high:
                raise InvalidField(
                    f"Expected {name} from {low:g} to {high:g}. Received: {value:g}.", field=f"retrain.{name}"
                )
        self.promote_if.check("retrain.promote_if")
        return self

    def backoff(self, failures: int) -> float:
        """Return the seconds before the next retrain after a number of failures in a row."""
        first = max(MIN_BACKOFF, self.min_interval)
        return min(MAX_BACKOFF, first * 2.0 ** min(failures - 1, 32))
