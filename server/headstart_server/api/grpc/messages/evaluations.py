"""The messages of metrics and evaluations."""

from headstart.v1 import evaluation_pb2, model_pb2
from headstart.v1.label_pb2 import ExampleReference, Label, LabelSet
from headstart_server.learning.metrics.evaluation import ClassMetrics, Evaluation
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource
from headstart_server.learning.metrics.outcomes import ExampleOutcome

SOURCES = {
    MetricsSource.NONE: model_pb2.METRICS_SOURCE_NONE,
    MetricsSource.OUT_OF_FOLD: model_pb2.METRICS_SOURCE_OUT_OF_FOLD,
    MetricsSource.HELD_OUT: model_pb2.METRICS_SOURCE_HELD_OUT,
}


def metrics_message(metrics: Metrics) -> model_pb2.Metrics:
    """Return the message of metrics."""
    return model_pb2.Metrics(
        source=SOURCES[metrics.source],
        example_count=metrics.example_count,
        accuracy=metrics.accuracy,
        accuracy_low=metrics.accuracy_low,
        accuracy_high=metrics.accuracy_high,
        log_loss=metrics.log_loss,
        confusion=[
            model_pb2.ConfusionCell(actual=actual, predicted=predicted, count=count)
            for actual, predicted, count in metrics.confusion
        ],
        balanced_accuracy=metrics.balanced_accuracy,
        macro_f1=metrics.macro_f1,
        micro_f1=metrics.micro_f1,
        calibration_error=metrics.calibration_error,
        mean_absolute_error=metrics.mean_absolute_error,
        root_mean_squared_error=metrics.root_mean_squared_error,
        r_squared=metrics.r_squared,
    )


def evaluation_message(evaluation: Evaluation) -> evaluation_pb2.Evaluation:
    """Return the message of an evaluation."""
    return evaluation_pb2.Evaluation(
        metrics=metrics_message(evaluation.metrics),
        classes=[_class_message(one) for one in evaluation.classes],
        reliability=[
            evaluation_pb2.ReliabilityBin(
                low=one.low, high=one.high, count=one.count, confidence=one.confidence, accuracy=one.accuracy
            )
            for one in evaluation.reliability
        ],
        confused=[
            evaluation_pb2.ConfusedPair(actual=pair.actual, predicted=pair.predicted, count=pair.count)
            for pair in evaluation.confused
        ],
        worst=[_outcome_message(outcome) for outcome in evaluation.worst],
        interval_coverage=evaluation.interval_coverage,
        median_absolute_error=evaluation.median_absolute_error,
        values=[
            evaluation_pb2.ValuePair(actual=pair.actual, predicted=pair.predicted)
            for pair in evaluation.values
        ],
    )


def _class_message(metrics: ClassMetrics) -> evaluation_pb2.ClassMetrics:
    return evaluation_pb2.ClassMetrics(
        name=metrics.name,
        support=metrics.support,
        precision=metrics.precision,
        recall=metrics.recall,
        f1=metrics.f1,
        average_precision=metrics.average_precision,
        roc_auc=metrics.roc_auc,
        thresholds=[
            evaluation_pb2.ThresholdPoint(
                threshold=point.threshold, precision=point.precision, recall=point.recall
            )
            for point in metrics.thresholds
        ],
    )


def _outcome_message(outcome: ExampleOutcome) -> evaluation_pb2.ExampleOutcome:
    if outcome.number is not None:
        label, predicted = Label(number=outcome.number), Label(number=outcome.value)
    elif outcome.multi_label:
        label = Label(classes=LabelSet(class_names=outcome.labels))
        predicted = Label(classes=LabelSet(class_names=outcome.predicted))
    else:
        # A class that the version does not know has an empty name.
        label = Label(class_name=next(iter(outcome.labels), ""))
        predicted = Label(class_name=outcome.predicted[0])
    return evaluation_pb2.ExampleOutcome(
        example=ExampleReference(index=outcome.index, example_id=outcome.id, label=label),
        predicted=predicted,
        probability=outcome.probability,
        loss=outcome.loss,
    )
