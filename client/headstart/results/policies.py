"""Policies of models."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["CapturePolicy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturePolicy:
    """Which inputs of Predict calls a model stores for review. At least one condition is required.

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
