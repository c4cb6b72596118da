"""The messages of a Predict: what is asked for, and what versions answered."""

from collections.abc import Collection, Iterator

from headstart import tensors
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1.label_pb2 import ExampleReference, Label, LabelSet
from headstart_server.backbones.backbone import Truncation
from headstart_server.errors import HeadstartError
from headstart_server.learning.neighbors import Neighbor
from headstart_server.learning.task import Task
from headstart_server.prediction.answers import AbstentionReason, Answer
from headstart_server.prediction.asked import Abstention, Asked, SaliencyAsked
from headstart_server.prediction.predictor import BackboneFeatures, StageTimes
from headstart_server.prediction.saliency import Saliency
from headstart_server.rpc.messages import TASKS, duration, label_message

#: Classes returned for each input where the caller does not say.
DEFAULT_TOP_K = 5
REASONS = {
    AbstentionReason.UNLIKE_TRAINING: pb.ABSTENTION_REASON_UNLIKE_TRAINING,
    AbstentionReason.LOW_PROBABILITY: pb.ABSTENTION_REASON_LOW_PROBABILITY,
}


def asked_of(message: pb.PredictRequest) -> Asked:
    """What a Predict asks for; its ranges are checked by `Asked.check`."""
    return Asked(
        top_k=message.top_k if message.HasField("top_k") else DEFAULT_TOP_K,
        with_features=message.return_features,
        abstention=_abstention_of(message.abstention) if message.HasField("abstention") else None,
        neighbors=message.neighbors,
        saliency=_saliency_of(message.saliency) if message.HasField("saliency") else None,
        skip_invalid=message.skip_invalid_inputs,
    )


def predictions_message(
    answer: Answer, skipped: Collection[int] = (), inputs: int = 0
) -> pb.VersionPredictions:
    """Return the message of what a version predicts.

    Args:
        answer: what it predicts.
        skipped: the places of inputs that were skipped, which the answer is not about.
        inputs: the number of all inputs, if any was skipped.
    """
    predictions = _predictions(answer)
    if skipped:
        found = predictions
        predictions = (pb.Prediction() if place in skipped else next(found) for place in range(inputs))
    return pb.VersionPredictions(
        model=answer.version.model,
        version=answer.version.number,
        task=TASKS[answer.version.head.task],
        predictions=predictions,
    )


def fault_message(place: int, fault: HeadstartError) -> pb.InputFault:
    """Return the message of why an input was skipped."""
    return pb.InputFault(index=place, reason=f"ERROR_REASON_{fault.reason}", message=fault.message)


def features_message(features: BackboneFeatures) -> pb.Features:
    """The message of what a backbone gave."""
    return pb.Features(
        backbone=features.backbone,
        views={view: tensors.encode(matrix) for view, matrix in features.views.items()},
    )


def times_message(times: StageTimes) -> pb.StageTimes:
    """The message of where the time went."""
    return pb.StageTimes(
        total_duration=duration(times.total),
        resolve_duration=duration(times.resolve),
        decode_duration=duration(times.decode),
        queue_duration=duration(times.queue),
        backbone_duration=duration(times.backbone),
        head_duration=duration(times.head),
    )


def truncation_message(cut: Truncation) -> pb.Truncation:
    """The message of how much of an input was seen."""
    return pb.Truncation(kept_characters=cut.kept, characters=cut.length)


def _abstention_of(message: pb.Abstention) -> Abstention:
    if not message.HasField("false_alarm_rate"):
        return Abstention(min_probability=message.min_probability)
    return Abstention(false_alarm_rate=message.false_alarm_rate, min_probability=message.min_probability)


def _saliency_of(message: pb.SaliencyRequest) -> SaliencyAsked:
    return SaliencyAsked(class_name=message.class_name, overlay=message.overlay)


def _predictions(answer: Answer) -> Iterator[pb.Prediction]:
    head = answer.version.head
    names, labels = head.class_names, _labels(answer)
    predicted = zip(
        answer.indexes.tolist(), answer.probabilities.tolist(), answer.selected.tolist(), labels, strict=True
    )
    has_evidence = answer.judged is not None or bool(answer.neighbors) or bool(answer.saliency)
    for place, (indexes, probabilities, selected, label) in enumerate(predicted):
        message = pb.Prediction(
            label=label,
            abstention_reason=pb.ABSTENTION_REASON_NONE,
            classes=[
                pb.ClassProbability(name=names[index], probability=probability, index=index, selected=taken)
                for index, probability, taken in zip(indexes, probabilities, selected, strict=True)
            ],
        )
        if answer.values is not None and (interval := head.interval) is not None:
            value = float(answer.values[place])
            message.interval_low, message.interval_high = (value + offset for offset in interval)
        if has_evidence:
            _add_evidence(message, answer, place)
        if (cut := answer.truncation.get(place)) is not None:
            message.truncation.CopyFrom(truncation_message(cut))
        yield message


def _labels(answer: Answer) -> Iterator[Label]:
    """Return the predicted label of each input."""
    head = answer.version.head
    if answer.values is not None:
        return (Label(number=value) for value in answer.values.tolist())
    names = head.class_names
    if head.task is Task.MULTI_LABEL:
        reached = answer.outputs >= head.thresholds
        return (
            Label(classes=LabelSet(class_names=[names[index] for index in row.nonzero()[0]]))
            for row in reached
        )
    return (Label(class_name=names[index]) for index in answer.indexes[:, 0].tolist())


def _add_evidence(message: pb.Prediction, answer: Answer, place: int) -> None:
    if (judged := answer.judged) is not None:
        if judged.typicality is not None:
            message.typicality = float(judged.typicality[place])
        if (reason := judged.reasons[place]) is not None:
            message.abstained, message.abstention_reason = True, REASONS[reason]
    if answer.neighbors:
        message.neighbors.extend(map(_neighbor_message, answer.neighbors[place]))
    if answer.saliency:
        message.saliency.CopyFrom(_saliency_message(answer.saliency[place]))


def _neighbor_message(neighbor: Neighbor) -> pb.Neighbor:
    example = neighbor.example
    return pb.Neighbor(
        example=ExampleReference(
            index=example.index, example_id=example.id, label=label_message(example.target)
        ),
        distance=neighbor.distance,
    )


def _saliency_message(saliency: Saliency) -> pb.Saliency:
    return pb.Saliency(
        map=tensors.encode(saliency.values), class_name=saliency.class_name, overlay=saliency.overlay
    )
