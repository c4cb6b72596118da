"""Two versions side by side, and what became of an alias that was to be moved under a condition."""

from dataclasses import dataclass
from enum import StrEnum

from headstart.display import figure, percent, table
from headstart.results.faults import ExampleFault
from headstart.version_ref import VersionRef

__all__ = ["ComparedClass", "ComparedMetrics", "Comparison", "Promotion", "PromotionDecision"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedMetrics:
    """How good one of two versions is on the examples of a comparison; None where it is not of its task.

    Attributes:
        accuracy: the share that was classified right.
        balanced_accuracy: mean recall of the classes.
        log_loss: mean negative log-likelihood of the truth, in nats.
        mean_absolute_error: mean size of the error of a number.
    """

    accuracy: float | None
    balanced_accuracy: float | None
    log_loss: float | None
    mean_absolute_error: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedClass:
    """Two versions on one class.

    Attributes:
        name: the class.
        example_count: its examples.
        first_recall: the share of them that the first got right.
        second_recall: the share of them that the second got right.
    """

    name: str
    example_count: int
    first_recall: float
    second_recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two versions side by side on the same examples.

    Attributes:
        first_version: the first version, by model and number; None if it has no number.
        second_version: the second version.
        example_count: the examples that both answered.
        first: how good the first is.
        second: how good the second is.
        difference: accuracy of the second less that of the first; for a number the mean absolute error of the
            first less that of the second. Above 0: the second is better.
        difference_low: lower end of its 95 % interval, from paired differences.
        difference_high: upper end of its 95 % interval.
        only_first_right: examples that only the first got right.
        only_second_right: examples that only the second got right.
        p_value: how probable such a difference is if both are equally good (McNemar's exact test; for a
            number the Wilcoxon signed-rank test).
        significant: whether the difference is more than chance: the p-value is below 0.05.
        classes: class by class, by name; none for a number.
        verdict: what it comes to, in a sentence.
        faults: examples that could not be used, at most 100 of them.
        fault_count: how many could not be used.
    """

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
    classes: tuple[ComparedClass, ...]
    verdict: str
    first_version: VersionRef | None = None
    second_version: VersionRef | None = None
    faults: tuple[ExampleFault, ...] = ()
    fault_count: int = 0

    def _repr_html_(self) -> str:
        first = "first" if self.first_version is None else str(self.first_version)
        second = "second" if self.second_version is None else str(self.second_version)
        names = ("accuracy", "balanced_accuracy", "log_loss", "mean_absolute_error")
        metrics = [
            (name.replace("_", " "), getattr(self.first, name), getattr(self.second, name))
            for name in names
            if getattr(self.first, name) is not None
        ]
        classes = [
            (each.name, each.example_count, percent(each.first_recall), percent(each.second_recall))
            for each in self.classes[:20]
        ]
        chance = f"{self.example_count:,} examples, p = {self.p_value:.3g}"
        return figure(
            self.verdict,
            table(metrics, ("", first, second)),
            table(classes, ("class", "examples", f"recall of {first}", f"recall of {second}")),
            note=chance,
        )

    def __repr__(self) -> str:
        return f"Comparison({self.verdict!r}, difference={self.difference:+.4g}, p_value={self.p_value:.3g})"


class PromotionDecision(StrEnum):
    """What was decided about an alias. UNSPECIFIED: something that this client does not know yet."""

    UNSPECIFIED = "UNSPECIFIED"
    PROMOTED = "PROMOTED"
    KEPT = "KEPT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What became of an alias that was to be moved under a condition.

    Attributes:
        alias: the alias.
        decision: whether it was moved.
        baseline_version: the number of the version that the new one was compared with; None: the alias named
            none.
        comparison: the figures, the baseline first; None where there was nothing to compare.
        reasons: why, each in a sentence.
    """

    alias: str
    decision: PromotionDecision
    baseline_version: int | None
    comparison: Comparison | None
    reasons: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """True if the alias names the new version now."""
        return self.decision is PromotionDecision.PROMOTED
