"""The messages of a Predict: its options and its predictions."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from headstart.inputs import tensors
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1.label_pb2 import ExampleReference
from headstart_server.api.grpc.messages.common import TASKS
from headstart_server.api.grpc.messages.encode import label_message, numbers_of
from headstart_server.backbones.contract.backbone import Truncation
from headstart_server.errors import HeadstartError
from headstart_server.learning.analysis.neighbors import Neighbor, NeighborExample
from headstart_server.learning.examples.task import Task
from headstart_server.prediction.influence import ExampleInfluence
from headstart_server.prediction.predict_options import Abstention, PredictOptions, SaliencyOptions
from headstart_server.prediction.saliency import Saliency
from headstart_server.prediction.statistics import StageTimes
from headstart_server.prediction.version_prediction import (
    AbstentionReason,
    BackboneFeatures,
    VersionPrediction,
)

#: Default number of classes in each prediction.
DEFAULT_TOP_K = 5
#: Parts of predictions above which their messages are made in a thread.
_PARTS_IN_LOOP = 4000
REASONS = numbers_of(AbstentionReason, pb.AbstentionReason)


_Result = TypeVar("_Result")


async def encoded(work: Callable[[], _Result], predictions: Iterable[VersionPrediction]) -> _Result:
    """Run some work that makes the messages of predictions, in a thread if there are many."""
    if sum(each.parts for each in predictions) > _PARTS_IN_LOOP:
        return await asyncio.to_thread(work)
    return work()


def predict_options_of(message: pb.PredictRequest) -> PredictOptions:
    """Return the options of a Predict; `PredictOptions.check` checks their ranges."""
    return PredictOptions(
        top_k=message.top_k if message.HasField("top_k") else DEFAULT_TOP_K,
        with_features=message.return_features,
        abstention=_abstention_of(message.abstention) if message.HasField("abstention") else None,
        neighbors=message.neighbors,
        influence=message.influence,
        saliency=_saliency_of(message.saliency) if message.HasField("saliency") else None,
        skip_invalid=message.skip_invalid_inputs,
    )


def fill_predictions(
    message: pb.VersionPredictions, answer: VersionPrediction, skipped: Collection[int] = (), inputs: int = 0
) -> None:
    """Write the predictions of a version into a message.

    Args:
        skipped: the indexes of skipped inputs, which have no predictions.
    """
    version = answer.version
    message.model, message.version, message.task = version.model, version.number, TASKS[version.head.task]
    add = message.predictions.add
    predictions = [add() for _ in range(inputs if skipped else len(answer.indexes))]
    if skipped:
        predictions = [each for place, each in enumerate(predictions) if place not in skipped]
    _fill(predictions, answer)


def fault_message(index: int, fault: HeadstartError) -> pb.InputFault:
    """Return the message of a skipped input with the reason."""
    return pb.InputFault(index=index, reason=f"ERROR_REASON_{fault.reason}", message=fault.message)


def features_message(features: BackboneFeatures) -> pb.Features:
    """Return the message of the features of a backbone."""
    return pb.Features(
        backbone=features.backbone,
        views={view: tensors.encode(matrix) for view, matrix in features.views.items()},
    )


def fill_times(message: pb.StageTimes, times: StageTimes) -> None:
    """Write the times of the steps of a call into a message."""
    # Assigned in place: a message as an argument would be copied.
    for duration, seconds in (
        (message.total_duration, times.total),
        (message.resolve_duration, times.resolve),
        (message.decode_duration, times.decode),
        (message.queue_duration, times.queue),
        (message.backbone_duration, times.backbone),
        (message.head_duration, times.head),
    ):
        nanoseconds = round(seconds * 1e9)
        if nanoseconds < 1_000_000_000:
            duration.nanos = nanoseconds
        else:
            duration.seconds, duration.nanos = divmod(nanoseconds, 1_000_000_000)


def truncation_message(cut: Truncation) -> pb.Truncation:
    """Return the message of a truncated input."""
    return pb.Truncation(kept_characters=cut.kept, characters=cut.length)


def _abstention_of(message: pb.Abstention) -> Abstention:
    if not message.HasField("false_alarm_rate"):
        return Abstention(min_probability=message.min_probability)
    return Abstention(false_alarm_rate=message.false_alarm_rate, min_probability=message.min_probability)


def _saliency_of(message: pb.SaliencyRequest) -> SaliencyOptions:
    return SaliencyOptions(class_name=message.class_name, overlay=message.overlay)


def _fill(predictions: Sequence[pb.Prediction], answer: VersionPrediction) -> None:
    """Write the predictions of a version into one message per input."""
    # Each field is assigned, because messages as arguments would be copied, which takes three times as long.
    for prediction, indexes, probabilities, selected in zip(
        predictions,
        answer.indexes.tolist(),
        answer.probabilities.tolist(),
        answer.selected.tolist(),
        strict=True,
    ):
        prediction.abstention_reason = pb.ABSTENTION_REASON_NONE
        _add_classes(prediction, answer.version.head.class_names, indexes, probabilities, selected)
    _add_labels(predictions, answer)
    if answer.abstention_result is not None or answer.neighbors or answer.saliency or answer.influences:
        for place, prediction in enumerate(predictions):
            _add_evidence(prediction, answer, place)
    for prediction, prediction_id in zip(predictions, answer.prediction_ids, strict=False):
        prediction.prediction_id = prediction_id
    for place, cut in answer.truncation.items():
        predictions[place].truncation.CopyFrom(truncation_message(cut))


def _add_classes(
    prediction: pb.Prediction,
    names: Sequence[str],
    indexes: Iterable[int],
    probabilities: Iterable[float],
    selected: Iterable[bool],
) -> None:
    add = prediction.classes.add
    for index, probability, is_selected in zip(indexes, probabilities, selected, strict=True):
        message = add()
        message.name = names[index]
        message.probability = probability
        if index:
            message.index = index
        if is_selected:
            message.selected = True


def _add_labels(predictions: Sequence[pb.Prediction], answer: VersionPrediction) -> None:
    """Add the predicted label of each input, and the prediction interval of a value."""
    head = answer.version.head
    names = head.class_names
    if answer.values is not None:
        low, high = head.interval or (None, None)
        for prediction, value in zip(predictions, answer.values.tolist(), strict=True):
            prediction.label.number = value
            if low is not None and high is not None:
                prediction.interval_low, prediction.interval_high = value + low, value + high
    elif head.task is Task.MULTI_LABEL:
        for prediction, reached in zip(predictions, answer.outputs >= head.thresholds, strict=True):
            prediction.label.classes.SetInParent()
            prediction.label.classes.class_names.extend(names[index] for index in reached.nonzero()[0])
    else:
        for prediction, index in zip(predictions, answer.indexes[:, 0].tolist(), strict=True):
            prediction.label.class_name = names[index]


def _add_evidence(message: pb.Prediction, answer: VersionPrediction, place: int) -> None:
    if (abstention_result := answer.abstention_result) is not None:
        if abstention_result.typicality is not None:
            message.typicality = float(abstention_result.typicality[place])
        if (reason := abstention_result.reasons[place]) is not None:
            message.abstained, message.abstention_reason = True, REASONS[reason]
    if answer.neighbors:
        message.neighbors.extend(map(_neighbor_message, answer.neighbors[place]))
    if answer.influences:
        message.influences.extend(map(_influence_message, answer.influences[place]))
    if answer.saliency:
        message.saliency.CopyFrom(_saliency_message(answer.saliency[place]))


def _neighbor_message(neighbor: Neighbor) -> pb.Neighbor:
    return pb.Neighbor(example=_reference(neighbor.example), distance=neighbor.distance)


def _influence_message(influence: ExampleInfluence) -> pb.Influence:
    return pb.Influence(
        example=_reference(influence.example),
        score_change=influence.score_change,
        probability_change=influence.probability_change,
    )


def _reference(example: NeighborExample) -> ExampleReference:
    return ExampleReference(index=example.index, example_id=example.id, label=label_message(example.target))


def _saliency_message(saliency: Saliency) -> pb.Saliency:
    return pb.Saliency(
        map=tensors.encode(saliency.values), class_name=saliency.class_name, overlay=saliency.overlay
    )
