"""The message of a version's predictions, for each kind of task, against messages built from keywords."""

from typing import Any

import numpy as np

from fakes import make_head
from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.api.grpc.messages.predictions import fill_predictions
from headstart_server.backbones.contract.backbone import Truncation
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import Head
from headstart_server.models.resident import ResidentVersion
from headstart_server.prediction.version_prediction import (
    AbstentionReason,
    AbstentionResult,
    VersionPrediction,
)

NONE = pb.ABSTENTION_REASON_NONE
CLASSES = [
    {"name": "class 1", "probability": 0.75, "index": 1, "selected": True},
    {"name": "class 0", "probability": 0.25, "index": 0, "selected": False},
]


def predictions_message(*arguments: Any, **fields: Any) -> pb.VersionPredictions:
    message = pb.VersionPredictions()
    fill_predictions(message, *arguments, **fields)
    return message


def answer(head: Head, rows: int = 1, **fields: Any) -> VersionPrediction:
    version = ResidentVersion(
        model="pets", number=3, artifact="a", backbone="fake", backbone_digest="b" * 64, head=head
    )
    values = {
        "indexes": np.tile([1, 0], (rows, 1)),
        "probabilities": np.tile(np.float32([0.75, 0.25]), (rows, 1)),
        "selected": np.tile([True, False], (rows, 1)),
        "outputs": np.tile(np.float32([0.25, 0.75]), (rows, 1)),
    }
    return VersionPrediction(version=version, **values | fields)


def message(task: int, *predictions: dict[str, Any]) -> pb.VersionPredictions:
    return pb.VersionPredictions(model="pets", version=3, task=task, predictions=predictions)


def test_each_input_has_its_label_and_classes() -> None:
    whole = {"label": {"class_name": "class 1"}, "abstention_reason": NONE, "classes": CLASSES}
    expected = message(input_pb2.TASK_SINGLE_LABEL, whole, whole)
    assert predictions_message(answer(make_head(classes=2), rows=2)) == expected


def test_skipped_inputs_have_empty_predictions_in_their_places() -> None:
    head, cut = make_head(classes=2), Truncation(kept=3, length=9)
    abstention_result = AbstentionResult(
        typicality=np.float32([0.5, 0.25]), reasons=[None, AbstentionReason.UNLIKE_TRAINING]
    )
    found = predictions_message(
        answer(head, rows=2, truncation={1: cut}, abstention_result=abstention_result),
        skipped={0, 2},
        inputs=4,
    ).predictions
    first, second = found[1], found[3]
    assert (found[0], found[2], len(found)) == (pb.Prediction(), pb.Prediction(), 4)
    assert (first.typicality, first.abstained, first.HasField("truncation")) == (0.5, False, False)
    assert (second.typicality, second.abstained, second.truncation.characters) == (0.25, True, 9)
    assert (first.abstention_reason, second.abstention_reason) == (NONE, pb.ABSTENTION_REASON_UNLIKE_TRAINING)


def test_a_label_of_several_classes_is_set_even_when_it_has_none() -> None:
    thresholds = np.float32([0.5, 0.5])
    head = make_head(classes=2)
    head = Head(
        views=head.views,
        weights=head.weights,
        bias=head.bias,
        calibration=Calibration(task=Task.MULTI_LABEL, thresholds=thresholds),
        class_names=head.class_names,
    )
    outputs = np.float32([[0.25, 0.75], [0.25, 0.25]])
    one, none = predictions_message(answer(head, rows=2, outputs=outputs)).predictions
    assert list(one.label.classes.class_names) == ["class 1"]
    assert none.label.WhichOneof("value") == "classes"
    assert list(none.label.classes.class_names) == []


def test_a_value_has_its_interval() -> None:
    head = make_head(classes=1)
    head = Head(
        views=head.views,
        weights=head.weights,
        bias=head.bias,
        calibration=Calibration(task=Task.REGRESSION, interval=(-1.0, 2.0)),
        class_names=(),
    )
    empty = {name: np.empty((1, 0), kind) for name, kind in (("indexes", int), ("selected", bool))}
    found = answer(head, values=np.float32([1.5]), probabilities=np.empty((1, 0), np.float32), **empty)
    expected = {
        "label": {"number": 1.5},
        "abstention_reason": NONE,
        "interval_low": 0.5,
        "interval_high": 3.5,
    }
    assert predictions_message(found) == message(input_pb2.TASK_REGRESSION, expected)
