"""Predictions as pre-annotations of Label Studio."""

from typing import Any

from headstart.v1 import input_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.api.label_studio.labeling import TASKS, Answer, Labeling
from headstart_server.errors import InvalidField

_NAMES = {
    input_pb2.TASK_SINGLE_LABEL: "one class",
    input_pb2.TASK_MULTI_LABEL: "any number of classes",
    input_pb2.TASK_REGRESSION: "a number",
}


def check_task(labeling: Labeling, task: input_pb2.Task, version: str) -> None:
    """Check that a control can show the predictions of a version."""
    if TASKS[labeling.answer] != task:
        wanted = next(answer.value for answer, known in TASKS.items() if known == task)
        raise InvalidField(
            f"{version} predicts {_NAMES[task]}, so the labeling configuration needs {wanted}. "
            f"Received: {labeling.answer.value}.",
            field="label_config",
        )


def pre_annotation(labeling: Labeling, prediction: pb.Prediction, version: str) -> dict[str, Any]:
    """Return a prediction as Label Studio reads it; empty if the project does not have the predicted class.

    The result has the ID of the prediction, so that the annotation that comes of it names the prediction.
    """
    value, score = _value(labeling, prediction)
    result = {
        "from_name": labeling.control,
        "to_name": labeling.shown,
        "type": labeling.kind,
        "value": value,
    }
    if prediction_id := getattr(prediction, "prediction_id", ""):
        result["id"] = prediction_id
    found: dict[str, Any] = {"result": [result] if value else [], "model_version": version}
    if score is not None:
        found["score"] = score
    return found


def no_pre_annotation(version: str) -> dict[str, Any]:
    """Return the pre-annotation of a task whose content cannot be predicted."""
    return {"result": [], "model_version": version}


def _value(labeling: Labeling, prediction: pb.Prediction) -> tuple[dict[str, Any], float | None]:
    """Return the value of a result, empty for none, and its score."""
    if labeling.answer is Answer.NUMBER:
        return {"number": prediction.label.number}, None
    if labeling.answer is Answer.CHOICE:
        names = [prediction.label.class_name]
        score = next((each.probability for each in prediction.classes if each.name == names[0]), 0.0)
    else:
        names = list(prediction.label.classes.class_names)
        # The probability that the least certain of the decisions is right.
        score = min((max(each.probability, 1 - each.probability) for each in prediction.classes), default=0.0)
    shown = [name for name in names if not labeling.choices or name in labeling.choices]
    return ({"choices": shown} if shown else {}), min(1.0, float(score))
