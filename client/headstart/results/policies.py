"""Policies of models."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from headstart.spec import PromotionGate


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturePolicy:
    """Conditions that select inputs of Predict calls for review, and limits. One condition is required.

    Attributes:
        random_fraction: fraction of the inputs that is captured at random.
        max_margin: margin at or below which an input is captured.
        max_typicality: typicality at or below which an input is captured.
        rare_class_fraction: fraction of the examples below which a predicted class is rare.
        shadow_disagreement: whether inputs are captured for which the shadow predicts another label.
        max_count: maximum number of captured inputs. None: 10,000.
        max_bytes: maximum size of the captured inputs. None: 1 GiB.
        ttl: time after which a captured input is deleted. None: 30 days.
    """

    random_fraction: float = 0.0
    max_margin: float = 0.0
    max_typicality: float = 0.0
    rare_class_fraction: float = 0.0
    shadow_disagreement: bool = False
    max_count: int | None = None
    max_bytes: int | None = None
    ttl: timedelta | None = None


class UnknownClasses(StrEnum):
    """Whether feedback may name classes that the model does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    """Newer than this client."""
    ALLOW = "ALLOW"
    REJECT = "REJECT"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrainPolicy:
    """Triggers of a model's automatic retraining. At least one of the first three conditions is required.

    Attributes:
        alias: names the parent of the retrain, and moves to the new version if `promote_if` allows it.
        min_feedback_count: number of pending feedback that starts a retrain.
        max_delay_duration: time from the first pending feedback to a retrain.
        min_accuracy: accuracy in production below which a retrain starts, by the random sample.
        promote_if: the condition of moving the alias. None: the default values.
        min_interval_duration: minimum time between the starts of two retrains. None: 1 minute.
        unknown_classes: whether feedback may name new classes. None: they may.
        webhook: URL that receives the end of each retrain; the server returns its scheme and host only.
        max_failures: number of failed retrains in a row after which the policy stops. None: 5.
    """

    alias: str
    min_feedback_count: int | None = None
    max_delay_duration: timedelta | None = None
    min_accuracy: float | None = None
    promote_if: PromotionGate | None = None
    min_interval_duration: timedelta | None = None
    unknown_classes: UnknownClasses | None = None
    webhook: str = ""
    max_failures: int | None = None
