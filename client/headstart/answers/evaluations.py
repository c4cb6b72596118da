"""How good a version is, from messages."""

from headstart.answers.faults import read_fault
from headstart.answers.findings import read_findings, read_reference
from headstart.answers.models import read_metrics, read_version
from headstart.answers.optional import optional
from headstart.results import (
    ClassMetrics,
    ConfusedPair,
    Evaluation,
    EvaluationResult,
    ExampleOutcome,
    ReliabilityBin,
    ThresholdPoint,
    ValuePair,
    VersionEvaluation,
)
from headstart.v1 import evaluation_pb2 as pb
from headstart.v1 import evaluation_service_pb2, model_service_pb2

__all__ = ["read_evaluation", "read_evaluation_result", "read_version_evaluation"]


def read_evaluation(evaluation: pb.Evaluation) -> Evaluation:
    """Reads an evaluation."""
    return Evaluation(
        metrics=read_metrics(evaluation.metrics),
        classes=tuple(_class(each) for each in evaluation.classes),
        reliability=tuple(
            ReliabilityBin(
                low=each.low,
                high=each.high,
                count=each.count,
                confidence=each.confidence,
                accuracy=each.accuracy,
            )
            for each in evaluation.reliability
        ),
        confused=tuple(
            ConfusedPair(actual=each.actual, predicted=each.predicted, count=each.count)
            for each in evaluation.confused
        ),
        worst=tuple(_outcome(each) for each in evaluation.worst),
        values=tuple(ValuePair(actual=each.actual, predicted=each.predicted) for each in evaluation.values),
        **optional(evaluation, "interval_coverage", "median_absolute_error"),
    )


def read_evaluation_result(response: evaluation_service_pb2.EvaluateResponse) -> EvaluationResult:
    """Reads how good a version is on a caller's examples."""
    return EvaluationResult(
        model=response.model,
        version=response.version,
        evaluation=read_evaluation(response.evaluation),
        faults=tuple(read_fault(fault) for fault in response.faults),
        fault_count=response.fault_count,
        trained_count=response.trained_count,
    )


def read_version_evaluation(response: model_service_pb2.GetEvaluationResponse) -> VersionEvaluation:
    """Reads what was found out about a version when it was made."""
    return VersionEvaluation(
        version=read_version(response.version),
        evaluation=read_evaluation(response.evaluation) if response.HasField("evaluation") else None,
        findings=read_findings(response.findings) if response.HasField("findings") else None,
    )


def _class(metrics: pb.ClassMetrics) -> ClassMetrics:
    return ClassMetrics(
        name=metrics.name,
        support=metrics.support,
        thresholds=tuple(
            ThresholdPoint(threshold=each.threshold, precision=each.precision, recall=each.recall)
            for each in metrics.thresholds
        ),
        **optional(metrics, "precision", "recall", "f1", "average_precision", "roc_auc"),
    )


def _outcome(outcome: pb.ExampleOutcome) -> ExampleOutcome:
    return ExampleOutcome(
        example=read_reference(outcome.example),
        predicted=outcome.predicted,
        loss=outcome.loss,
        **optional(outcome, "probability", "value"),
    )
