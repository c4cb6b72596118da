"""Evaluations of versions."""

from dataclasses import dataclass

from headstart.display import figure, percent, table
from headstart.label_values import LabelValue
from headstart.results.findings import DatasetFindings, ExampleFault, ExampleReference
from headstart.results.versions import Metrics, Version


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdPoint:
    """Precision and recall of a class at one threshold.

    Attributes:
        threshold: minimum probability at which the class is predicted.
        precision: precision, 0 to 1; 1 if the class is never predicted.
        recall: recall, 0 to 1.
    """

    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMetrics:
    """One-vs-rest metrics of a class, 0 to 1; None if a metric is undefined.

    Attributes:
        name: the class.
        support: number of examples of the class.
        precision: fraction of the predictions of the class that are correct.
        recall: fraction of the examples of the class that were predicted as it.
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
    """Predictions with probabilities in one range.

    Attributes:
        low: lower end of the range.
        high: upper end of the range.
        count: number of predictions.
        confidence: mean probability.
        accuracy: fraction of correct predictions.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusedPair:
    """Two classes that the version confuses.

    Attributes:
        actual: the true class.
        predicted: the predicted class.
        count: number of examples.
    """

    actual: str
    predicted: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleOutcome:
    """An example and its prediction.

    Attributes:
        example: the example.
        predicted: the predicted label.
        probability: probability of the true class; for a multi-label version the lowest probability of a
            correct prediction; None for a regression.
        loss: log loss in nats; for a regression the absolute error.
    """

    example: ExampleReference
    predicted: LabelValue
    probability: float | None
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuePair:
    """A true number and its prediction.

    Attributes:
        actual: the true number.
        predicted: the predicted number.
    """

    actual: float
    predicted: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The evaluation of a version.

    Attributes:
        metrics: the metrics.
        classes: metrics of each class, by name; empty for a regression.
        reliability: calibration by ranges of probability, without empty ranges.
        confused: the most confused pairs of classes, at most 50, the most frequent first.
        worst: the examples with the largest loss, at most 100, the worst first.
        interval_coverage: fraction of numbers within their 90 % interval; None for classes.
        median_absolute_error: median absolute error; None for classes.
        values: true and predicted numbers of at most 1,000 examples; empty for classes.
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
    """The evaluation of a version on a caller's examples.

    Attributes:
        model: the model.
        version: number of the version.
        evaluation: the evaluation.
        faults: unusable examples, at most 100.
        fault_count: number of unusable examples.
        trained_count: number of examples that the version was trained on. Above 0, the metrics are better
            than on new examples.
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
        """The metrics of the evaluation."""
        return self.evaluation.metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionEvaluation:
    """The stored evaluation of a version, and the findings in its examples.

    Attributes:
        version: the version.
        evaluation: its evaluation; None if only `Version.metrics` is stored.
        findings: findings in its examples; None if none are stored.
    """

    version: Version
    evaluation: Evaluation | None
    findings: DatasetFindings | None

    def _repr_html_(self) -> str:
        recommendations = (
            [] if self.findings is None else [(each.message,) for each in self.findings.recommendations]
        )
        evaluation = "" if self.evaluation is None else self.evaluation._repr_html_()
        return self.version._repr_html_() + evaluation + table(recommendations, ("What to do",))
