"""The messages of metrics and evaluations."""

from headstart.v1 import evaluation_pb2, model_pb2
from headstart.v1.label_pb2 import ExampleReference, Label, LabelSet
from headstart_server.api.grpc.messages.encode import message_of
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.learning.metrics.metrics import Metrics
from headstart_server.learning.metrics.outcomes import ExampleOutcome


def metrics_message(metrics: Metrics) -> model_pb2.Metrics:
    """Return the message of metrics."""
    confusion = [
        model_pb2.ConfusionCell(actual=actual, predicted=predicted, count=count)
        for actual, predicted, count in metrics.confusion
    ]
    return message_of(metrics, model_pb2.Metrics, confusion=confusion)


def evaluation_message(evaluation: Evaluation) -> evaluation_pb2.Evaluation:
    """Return the message of an evaluation."""
    return message_of(
        evaluation,
        evaluation_pb2.Evaluation,
        metrics=metrics_message(evaluation.metrics),
        worst=map(_outcome_message, evaluation.worst),
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
    return message_of(
        outcome,
        evaluation_pb2.ExampleOutcome,
        example=ExampleReference(index=outcome.index, example_id=outcome.id, label=label),
        predicted=predicted,
    )
