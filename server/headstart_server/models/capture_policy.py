"""The capture policy of a model: conditions that select inputs of Predict calls for review, and limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart_server.database.capture_tables import MAX_TTL
from headstart_server.errors import InvalidField, decoding
from headstart_server.storage.json_values import JsonValue

#: Defaults of the limits.
DEFAULT_COUNT, DEFAULT_BYTES, DEFAULT_TTL = 10_000, 1 << 30, 30 * 86_400.0
MAX_COUNT, MIN_BYTES = 1_000_000, 1 << 20
#: Minimum time to live, in seconds.
MIN_TTL = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturePolicy(JsonValue):
    """Conditions that select inputs, and limits of the stored inputs. A condition of 0 is disabled."""

    random_fraction: float = 0.0  # fraction of inputs that is captured at random
    max_margin: float = 0.0  # margin at or below which an input is captured
    max_typicality: float = 0.0  # typicality at or below which an input is captured
    rare_class_fraction: float = 0.0  # fraction of examples below which a predicted class is rare
    # whether inputs are captured for which the shadow predicts another label
    shadow_disagreement: bool = False
    max_count: int = DEFAULT_COUNT  # maximum number of captured inputs
    max_bytes: int = DEFAULT_BYTES  # maximum bytes of captured inputs with their features
    ttl: float = DEFAULT_TTL  # seconds after which a captured input is deleted

    def check(self) -> None:
        """Check that the policy selects something and that its time to live is in range."""
        selects = self.random_fraction or self.max_margin or self.max_typicality or self.rare_class_fraction
        if not selects and not self.shadow_disagreement:
            raise InvalidField(
                "The capture policy has no condition, so it would capture nothing. Set random_fraction, "
                "max_margin, max_typicality, rare_class_fraction or shadow_disagreement, or clear the "
                "policy.",
                field="capture",
            )
        # Written so that NaN fails.
        if not MIN_TTL <= self.ttl <= MAX_TTL:
            raise InvalidField(
                f"The ttl of the capture policy is {self.ttl:g} seconds. Choose one of 1 minute to 10 years.",
                field="capture.ttl",
            )


def decoded_policy(model: str, values: Mapping[str, Any]) -> CapturePolicy:
    """Return the stored policy of a model; raise WrittenByNewerRelease if it is unreadable."""
    with decoding(f"The capture policy of model '{model}'", model=model):
        return CapturePolicy.from_json(values)
