"""The results of comparisons: of two versions, and of the backbones of a selection."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from headstart.display import figure, percent, table
from headstart.label_values import LabelValue
from headstart.results.findings import ExampleFault, ExampleReference
from headstart.version_ref import VersionRef


class CandidateOutcome(StrEnum):
    """The outcome of a candidate."""

    UNSPECIFIED = "UNSPECIFIED"
    TRIED = "TRIED"
    NOT_TRIED = "NOT_TRIED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneCandidate:
    """One candidate of a backbone selection.

    Attributes:
        backbone: name of the backbone.
        outcome: outcome of the trial.
        message: reason why it was not tried, or failed; empty if it was tried.
        accuracy: fraction of correct cross-validated predictions, 0 to 1; for a multi-label task the fraction
            with every class correct. None for a regression, and if nothing was measured.
        mean_absolute_error: mean absolute error of a regression.
        standard_error: standard error of that metric.
        gap: difference from the best candidate on the same examples; 0 for the best.
        gap_standard_error: standard error of the gap.
        latency_duration: time to decode one input and run the backbone on it; None if untried.
        size_bytes: size of the weights in float32.
        spent_duration: duration of the trial; None if untried.
    """

    backbone: str
    outcome: CandidateOutcome
    message: str = ""
    accuracy: float | None = None
    mean_absolute_error: float | None = None
    standard_error: float | None = None
    gap: float | None = None
    gap_standard_error: float | None = None
    latency_duration: timedelta | None = None
    size_bytes: int = 0
    spent_duration: timedelta | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSelection:
    """The selected backbone and all candidates.

    Attributes:
        backbone: the selected backbone: the fastest within one standard error of the best.
        reason: reason in one sentence.
        candidates: all candidates, in the order of their trials.
        time_budget: time after which no further candidate was tried; None: no limit.
        example_count: number of examples that every tried candidate was measured on.
    """

    backbone: str
    reason: str
    candidates: tuple[BackboneCandidate, ...]
    time_budget: timedelta | None = None
    example_count: int = 0

    def __repr__(self) -> str:
        return f"BackboneSelection({self.backbone} of {len(self.candidates)} candidates)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedMetrics:
    """Metrics of one of two compared versions; None for metrics of another task.

    Attributes:
        accuracy: fraction of correct predictions, 0 to 1.
        balanced_accuracy: mean recall of the classes, 0 to 1.
        log_loss: mean negative log-likelihood of the true labels, in nats.
        mean_absolute_error: mean absolute error of a number.
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
        example_count: number of its examples.
        first_recall: recall of the first version, 0 to 1.
        second_recall: recall of the second version, 0 to 1.
    """

    name: str
    example_count: int
    first_recall: float
    second_recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferingExample:
    """An example that only one of two versions predicts correctly.

    Attributes:
        example: the example; its index is that among the stored examples of ``version``, or among those of
            the request or dataset.
        version: the version among whose stored examples it is; None for examples of a request or dataset.
        first_right: whether only the first version predicts it correctly; otherwise only the second does.
        first_label: label that the first version predicts; None if it does not know the class.
        second_label: label that the second version predicts.
    """

    example: ExampleReference
    first_right: bool
    first_label: LabelValue | None
    second_label: LabelValue | None
    version: VersionRef | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The comparison of two versions on the same examples.

    Attributes:
        first_version: the first version, by model and number; None if it has no number.
        second_version: the second version.
        example_count: number of examples that both versions predicted.
        first: metrics of the first version.
        second: metrics of the second version.
        difference: accuracy of the second version minus that of the first; for a regression the mean absolute
            error of the first minus that of the second. Above 0: the second is better.
        difference_low: lower end of its 95 % interval, from paired differences.
        difference_high: upper end of its 95 % interval.
        only_first_right: number of examples that only the first predicted correctly.
        only_second_right: number of examples that only the second predicted correctly.
        p_value: probability of such a difference if both versions are equally good (McNemar's exact test; for
            a regression the Wilcoxon signed-rank test).
        significant: whether the p-value is below 0.05.
        classes: the classes, by name; empty for a regression.
        verdict: conclusion in one sentence.
        faults: unusable examples, at most 100.
        fault_count: number of unusable examples.
        differing_examples: examples that only the first version predicts correctly, at most 100, followed by
            those that only the second does; `Client.compare` returns them.
        first_trained_count: number of given examples that the first version was trained on. Above 0, the
            comparison favors this version.
        second_trained_count: number of given examples that the second version was trained on.
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
    differing_examples: tuple[DifferingExample, ...] = ()
    first_trained_count: int = 0
    second_trained_count: int = 0

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
        notes = [f"{self.example_count:,} examples", f"p = {self.p_value:.3g}"]
        for name, trained in ((first, self.first_trained_count), (second, self.second_trained_count)):
            if trained:
                notes.append(f"{name} was trained on {trained:,} of the examples")
        return figure(
            self.verdict,
            table(metrics, ("", first, second)),
            table(classes, ("class", "examples", f"recall of {first}", f"recall of {second}")),
            note=", ".join(notes),
        )

    def __repr__(self) -> str:
        return f"Comparison({self.verdict!r}, difference={self.difference:+.4g}, p_value={self.p_value:.3g})"


class PromotionDecision(StrEnum):
    """The decision about an alias. UNSPECIFIED: a value that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    PROMOTED = "PROMOTED"
    KEPT = "KEPT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """The result of a conditional move of an alias.

    Attributes:
        alias: the alias.
        decision: whether the alias was moved.
        baseline_version: number of the version that the new one was compared with; None: the alias named no
            version.
        comparison: the comparison, with the baseline first; None if no comparison was possible.
        reasons: the reasons, each in one sentence.
    """

    alias: str
    decision: PromotionDecision
    baseline_version: int | None
    comparison: Comparison | None
    reasons: tuple[str, ...]

    @property
    def promoted(self) -> bool:
        """Whether the alias names the new version."""
        return self.decision is PromotionDecision.PROMOTED
