"""The labeling configuration of a Label Studio project: an object, and the control that labels it."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from xml.parsers import expat

from headstart.inputs.labels import to_float
from headstart.v1 import input_pb2, label_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.api.http.long_strings import LongString
from headstart_server.errors import InvalidField

#: Maximum characters of a labeling configuration.
MAX_CONFIG_BYTES = 1 << 20
_FIELD = "label_config"
_EXPECTED = (
    "Expected a labeling configuration with an <Image> or <Text> and <Choices> or <Number> that label it"
)


class Answer(Enum):
    """The kind of answer that a control gives; the value is the type of its results."""

    CHOICE = "one of <Choices>"
    CHOICES = '<Choices choice="multiple">'
    NUMBER = "<Number>"


#: The task of models whose predictions a control can display.
TASKS = {
    Answer.CHOICE: input_pb2.TASK_SINGLE_LABEL,
    Answer.CHOICES: input_pb2.TASK_MULTI_LABEL,
    Answer.NUMBER: input_pb2.TASK_REGRESSION,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeling:
    """The control of a project, and the object that it labels."""

    control: str
    shown: str
    answer: Answer
    # the values of the choices; empty for numbers, and if each task lists its own choices
    choices: frozenset[str]
    is_image: bool
    key: str  # the key of a task's data that has the object
    is_url: bool  # whether the data is a URL of the object rather than the object itself

    @property
    def kind(self) -> str:
        """The type of the results of the control."""
        return "number" if self.answer is Answer.NUMBER else "choices"

    def label_of(self, result: Any) -> label_pb2.Label | None:
        """Return the label of an annotation's results; None without an answer of the control."""
        values = [
            each.get("value")
            for each in _objects(result, "annotation.result")
            if each.get("from_name") == self.control and each.get("type") == self.kind
        ]
        if self.answer is Answer.NUMBER:
            number = values[0].get("number") if values and isinstance(values[0], dict) else None
            if isinstance(number, int | float) and not isinstance(number, bool):
                return label_pb2.Label(number=to_float(number))
            return None
        chosen = [name for value in values for name in _choices(value)]
        if self.answer is Answer.CHOICES:
            return label_pb2.Label(classes=label_pb2.LabelSet(class_names=dict.fromkeys(chosen)))
        return label_pb2.Label(class_name=chosen[0]) if chosen else None


def region_ids(result: Any, labeling: Labeling) -> list[str]:
    """Return the IDs of a control's results; in accepted pre-annotations these are prediction IDs."""
    return [
        each["id"]
        for each in _objects(result, "annotation.result")
        if each.get("from_name") == labeling.control and isinstance(each.get("id"), str)
    ]


def _objects(values: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise InvalidField(f"Expected a list of objects in {name}.", field=name)
    return values


def _choices(value: Any) -> list[str]:
    chosen = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        raise InvalidField("Expected a list of strings in value.choices.", field="annotation.result")
    return chosen


@dataclass(slots=True)
class _Control:
    """An object or a control in the configuration."""

    tag: str
    attributes: dict[str, str]
    choices: list[str] = field(default_factory=list)


def labeling_of(config: Any) -> Labeling:
    """Return the labeling of a configuration: its first control that labels a whole image or text."""
    if isinstance(config, LongString) or (isinstance(config, str) and len(config) > MAX_CONFIG_BYTES):
        raise InvalidField(
            f"The labeling configuration is too long. Use at most {MAX_CONFIG_BYTES} characters.",
            field=_FIELD,
        )
    if not isinstance(config, str) or not config.strip():
        raise InvalidField(f"{_EXPECTED}. The request has no configuration string.", field=_FIELD)
    objects, controls = _parsed(config)
    for control in controls:
        shown = objects.get(control.attributes.get("toName", "").partition(",")[0].strip())
        if shown is not None and _labels_the_whole(control):
            return _labeling(control, shown)
    raise InvalidField(f"{_EXPECTED}. The configuration has no such control.", field=_FIELD)


def _labels_the_whole(control: _Control) -> bool:
    return not any(control.attributes.get(name) == "true" for name in ("perRegion", "perItem"))


def _labeling(control: _Control, shown: _Control) -> Labeling:
    value = shown.attributes.get("value", "")
    if not value.startswith("$") or len(value) < 2:
        raise InvalidField(
            f'Expected a value such as "$image" in <{shown.tag}>. Received: {value[:80]!r}.', field=_FIELD
        )
    answer = Answer.NUMBER
    if control.tag == "Choices":
        answer = Answer.CHOICES if control.attributes.get("choice") == "multiple" else Answer.CHOICE
    is_image = shown.tag == "Image"
    return Labeling(
        control=control.attributes.get("name", ""),
        shown=shown.attributes["name"],
        answer=answer,
        choices=frozenset(control.choices),
        is_image=is_image,
        key=value[1:],
        is_url=is_image or shown.attributes.get("valueType") == "url",
    )


def _parsed(config: str) -> tuple[dict[str, _Control], list[_Control]]:
    objects: dict[str, _Control] = {}
    controls: list[_Control] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag in ("Image", "Text") and attributes.get("name"):
            objects[attributes["name"]] = _Control(tag, attributes)
        elif tag in ("Choices", "Number"):
            controls.append(_Control(tag, attributes))
        elif tag == "Choice" and controls:
            controls[-1].choices.append(attributes.get("alias") or attributes.get("value", ""))

    def refuse(*_: object) -> None:
        # Rejected, because a document type may define entities that expand to gigabytes.
        raise InvalidField("The labeling configuration has a document type. Remove it.", field=_FIELD)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(config, True)
    except (expat.ExpatError, UnicodeError) as error:
        raise InvalidField(f"{_EXPECTED}. The XML is malformed: {error}.", field=_FIELD) from None
    return objects, controls


_NAMES = {
    input_pb2.TASK_SINGLE_LABEL: "one class",
    input_pb2.TASK_MULTI_LABEL: "any number of classes",
    input_pb2.TASK_REGRESSION: "a number",
}


def check_task(labeling: Labeling, task: input_pb2.Task, version: str) -> None:
    """Check that a control can display the predictions of a version."""
    if TASKS[labeling.answer] != task:
        wanted = next(answer.value for answer, known in TASKS.items() if known == task)
        raise InvalidField(
            f"{version} predicts {_NAMES[task]}, so the labeling configuration needs {wanted}. "
            f"Received: {labeling.answer.value}.",
            field="label_config",
        )


def pre_annotation(labeling: Labeling, prediction: pb.Prediction, version: str) -> dict[str, Any]:
    """Return a prediction in Label Studio's form; empty if the project does not have the predicted class.

    The result has the prediction's ID, so that a resulting annotation refers to the prediction.
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
    """Return the value of a result, which may be empty, and its score."""
    if labeling.answer is Answer.NUMBER:
        return {"number": prediction.label.number}, None
    if labeling.answer is Answer.CHOICE:
        names = [prediction.label.class_name]
        score = next((each.probability for each in prediction.classes if each.name == names[0]), 0.0)
    else:
        names = list(prediction.label.classes.class_names)
        # The probability that the least certain decision is correct.
        score = min((max(each.probability, 1 - each.probability) for each in prediction.classes), default=0.0)
    shown = [name for name in names if not labeling.choices or name in labeling.choices]
    return ({"choices": shown} if shown else {}), min(1.0, float(score))
