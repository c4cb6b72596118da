"""Decision whether an alias moves to a new version: it must not be worse than the aliased version."""

from dataclasses import dataclass
from enum import StrEnum

from headstart_server.errors import InvalidField
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.comparison import Comparison
from headstart_server.storage.json_values import JsonValue

#: Maximum number of classes named in the reasons; others are counted.
MAX_NAMED = 5
#: Rounding error of a difference of proportions.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionCriteria(JsonValue):
    """Criteria for moving an alias, as the contract's `PromotionGate` documents them.

    A fall beyond a margin counts only if its p-value is at most `significance`. So an equally good version is
    rejected for its accuracy with at most this probability, and for any of its classes with at most this
    probability.
    """

    max_drop: float = 0.01
    max_class_drop: float = 0.1
    min_class_examples: int = 10
    significance: float = 0.05

    def check(self, field: str) -> "PromotionCriteria":
        """Return the criteria if each value is in its range; `field` names them in errors."""
        for name in ("max_drop", "max_class_drop"):
            value = getattr(self, name)
            # Written so that NaN fails.
            if not 0 <= value <= 1:
                raise InvalidField(
                    f"Expected {field}.{name} from 0 to 1. Received: {value}.", field=f"{field}.{name}"
                )
        if not 0 < self.significance <= 1:
            raise InvalidField(
                f"Expected {field}.significance above 0 and at most 1. Received: {self.significance}.",
                field=f"{field}.significance",
            )
        if self.min_class_examples < 1:
            raise InvalidField(
                f"Expected {field}.min_class_examples of 1 or more, or 0 for the default. "
                f"Received: {self.min_class_examples}.",
                field=f"{field}.min_class_examples",
            )
        return self


class Decision(StrEnum):
    """Decision about an alias."""

    PROMOTED = "promoted"
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion(JsonValue):
    """Result of a conditional promotion.

    The baseline is 0 if the alias named no version; the comparison, the baseline first, is None if there was
    nothing to compare.
    """

    alias: str
    decision: Decision
    baseline: int
    comparison: Comparison | None = None
    reasons: tuple[str, ...]

    @property
    def is_promoted(self) -> bool:
        """Whether the alias moves."""
        return self.decision is Decision.PROMOTED


def first_promotion(alias: str) -> Promotion:
    """Return the promotion of an alias that names no version yet."""
    return Promotion(
        alias=alias,
        decision=Decision.PROMOTED,
        baseline=0,
        reasons=(f"Alias '{alias}' named no version, so there was nothing to compare.",),
    )


def rejected_promotion(alias: str, baseline: int, reason: str) -> Promotion:
    """Return the decision to keep an alias on its version."""
    return Promotion(
        alias=alias, decision=Decision.KEPT, baseline=baseline, comparison=None, reasons=(reason,)
    )


def decide_promotion(gate: PromotionCriteria, alias: str, baseline: int, comparison: Comparison) -> Promotion:
    """Decide whether an alias moves from its baseline, the first version of the comparison, to the second.

    It stays if a metric falls by more than its margin and by more than chance explains: a one-sided McNemar
    test for accuracy and for each class, a signed-rank test for regression. The significance is divided by
    the number of compared classes (Bonferroni), so many classes do not make a false rejection more likely.
    """
    worse = (
        _worse_numbers(gate, comparison) if comparison.task is Task.REGRESSION else _worse(gate, comparison)
    )
    if worse:
        return Promotion(
            alias=alias,
            decision=Decision.KEPT,
            baseline=baseline,
            comparison=comparison,
            reasons=tuple(worse),
        )
    return Promotion(
        alias=alias,
        decision=Decision.PROMOTED,
        baseline=baseline,
        comparison=comparison,
        reasons=(
            f"Not worse than version {baseline} by more than margins and chance allow. {comparison.verdict}",
        ),
    )


def _worse(gate: PromotionCriteria, comparison: Comparison) -> list[str]:
    reasons = []
    is_beyond_margin = comparison.difference < -gate.max_drop - _ROUNDING
    if is_beyond_margin and comparison.worse_p_value <= gate.significance:
        reasons.append(
            f"The accuracy falls by {-comparison.difference:.2%} on {comparison.example_count} examples "
            f"(p = {comparison.worse_p_value:.2g}); {gate.max_drop:.2%} is allowed."
        )
    judged = [one for one in comparison.classes if one.example_count >= gate.min_class_examples]
    # A significance of 1 disables the test, regardless of the number of classes.
    significance = gate.significance / len(judged) if judged and gate.significance < 1 else gate.significance
    fallen = [
        (one.first_recall - one.second_recall, one)
        for one in judged
        if one.first_recall - one.second_recall > gate.max_class_drop + _ROUNDING
        and one.worse_p_value <= significance
    ]
    fallen.sort(key=lambda drop: -drop[0])
    reasons += [
        f"The recall of class {one.name!r} falls by {drop:.2%} on {one.example_count} examples "
        f"(p = {one.worse_p_value:.2g}); {gate.max_class_drop:.2%} is allowed."
        for drop, one in fallen[:MAX_NAMED]
    ]
    if len(fallen) > MAX_NAMED:
        reasons.append(
            f"The recall of {len(fallen) - MAX_NAMED} further classes falls by more than is allowed."
        )
    return reasons


def _worse_numbers(gate: PromotionCriteria, comparison: Comparison) -> list[str]:
    before = comparison.first.mean_absolute_error or 0.0
    after = comparison.second.mean_absolute_error or 0.0
    if after <= before * (1 + gate.max_drop + _ROUNDING) or comparison.worse_p_value > gate.significance:
        return []
    return [
        f"The mean absolute error rises from {before:.4g} to {after:.4g} on {comparison.example_count} "
        f"examples (p = {comparison.worse_p_value:.2g}); a rise by {gate.max_drop:.2%} is allowed."
    ]
