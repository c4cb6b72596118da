"""How good a version is, in all detail."""

from dataclasses import dataclass

from headstart.display import figure, percent, table
from headstart.results.faults import ExampleFault
from headstart.results.findings import DatasetFindings, ExampleReference
from headstart.results.label_values import LabelValue
from headstart.results.models import Metrics, Version

__all__ = [
    "ClassMetrics",
    "ConfusedPair",
    "Evaluation",
    "EvaluationResult",
    "ExampleOutcome",
    "ReliabilityBin",
    "ThresholdPoint",
    "ValuePair",
    "VersionEvaluation",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdPoint:
    """Precision and recall of a class at one threshold.

    Attributes:
        threshold: the probability from which on the class is predicted.
        precision: 1 if the class is never predicted.
        recall: the share of the class's examples that are found.
    """

    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """How good a version is at one class against all others; None where nothing could be measured.

    Attributes:
        name: the class.
        support: the examples of this class.
        precision: the share of examples predicted as this class that are of it.
        recall: the share of examples of this class that were predicted as it.
        f1: harmonic mean of precision and recall.
        average_precision: area under the precision-recall curve.
        roc_auc: area under the receiver operating characteristic.
        thresholds: precision and recall by threshold, ascending.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    roc_auc: float | None
    thresholds: tuple[ThresholdPoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Answers whose probabilities lie in one range.

    Attributes:
        low: the range's lower end.
        high: its upper end.
        count: the answers.
        confidence: their mean probability.
        accuracy: the share that came true.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusedPair:
    """Two classes that are taken for each other.

    Attributes:
        actual: the true class.
        predicted: the predicted class.
        count: the examples.
    """

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleOutcome:
    """An example and its prediction.

    Attributes:
        example: the example.
        predicted: the label that was predicted.
        probability: of its true class; of a multi-label version the lowest of all right answers; None for a
            number.
        loss: log loss in nats; for a number the size of the error.
    """

    example: ExampleReference
    predicted: LabelValue
    probability: float | None
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuePair:
    """A true number and the predicted one.

    Attributes:
        actual: the true number.
        predicted: the predicted number.
    """

    actual: float
    predicted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How good a version is, in all detail.

    Attributes:
        metrics: the figures in short.
        classes: class by class, by name; none for a number.
        reliability: how far probabilities can be believed, by ranges of them; empty ranges are left out.
        confused: the classes that are most often taken for each other, at most 50, the most frequent first.
        worst: the examples with the largest loss, at most 100, the worst first.
        interval_coverage: the share of numbers within their interval of 90 %; None for classes.
        median_absolute_error: the size of the error that half of the numbers stay below; None for classes.
        values: true and predicted numbers of at most 1,000 examples; none for classes.
    """

    metrics: Metrics
    classes: tuple[ClassMetrics, ...]
    reliability: tuple[ReliabilityBin, ...]
    confused: tuple[ConfusedPair, ...]
    worst: tuple[ExampleOutcome, ...]
    interval_coverage: float | None
    median_absolute_error: float | None
    values: tuple[ValuePair, ...] = ()

    def _repr_html_(self) -> str:
        rows = [
            (each.name, each.support, percent(each.precision), percent(each.recall), percent(each.f1))
            for each in self.classes[:20]
        ]
        confused = [(each.actual, each.predicted, each.count) for each in self.confused[:5]]
        return figure(
            self.metrics.summary,
            table(rows, ("class", "examples", "precision", "recall", "F1")),
            table(confused, ("actual", "predicted", "examples")),
            note=f"{self.metrics.example_count:,} examples",
        )

    def __repr__(self) -> str:
        return f"Evaluation({self.metrics.summary}, {len(self.classes)} classes, {len(self.worst)} worst)"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """How good a version is on examples of your own.

    Attributes:
        model: the model.
        version: the number of the version that was measured.
        evaluation: how good it is.
        faults: examples that could not be used, at most 100 of them.
        fault_count: how many could not be used.
        trained_count: how many the version was trained on. If it is above 0, the figures are better than they
            would be on new examples.
    """

    model: str
    version: int
    evaluation: Evaluation
    faults: tuple[ExampleFault, ...]
    fault_count: int
    trained_count: int = 0

    def _repr_html_(self) -> str:
        trained = f"{self.trained_count:,} of the examples were trained on" if self.trained_count else ""
        return figure(f"{self.model}@{self.version}", self.evaluation._repr_html_(), note=trained)

    @property
    def metrics(self) -> Metrics:
        """The figures in short."""
        return self.evaluation.metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionEvaluation:
    """What was found out about a version when it was made.

    Attributes:
        version: the version.
        evaluation: evaluation of the version; None if only `Version.metrics` is stored.
        findings: findings in its examples; None if none are stored.
    """

    version: Version
    evaluation: Evaluation | None
    findings: DatasetFindings | None

    def _repr_html_(self) -> str:
        found = [] if self.findings is None else [(each.message,) for each in self.findings.recommendations]
        evaluation = "" if self.evaluation is None else self.evaluation._repr_html_()
        return self.version._repr_html_() + evaluation + table(found, ("What to do",))
