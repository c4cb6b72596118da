"""What examples of the contract show, and what is said when they show two things at once."""

from dataclasses import replace

import pytest

from headstart.v1 import input_pb2, job_pb2, label_pb2
from headstart_server.api.grpc.messages.common import examples_of, spec_message, spec_of
from headstart_server.api.grpc.messages.encode import label_message
from headstart_server.errors import InvalidField
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task

INPUT = input_pb2.Input(text="hello")
LABEL_SET = label_pb2.LabelSet(class_names=["b", "a"])


@pytest.mark.parametrize(
    ("label", "target"),
    [
        ({"class_name": "cat"}, Target.of_label("cat")),
        ({"classes": LABEL_SET}, Target.of_labels(["a", "b"])),
        ({"classes": label_pb2.LabelSet()}, Target.of_labels([])),
        ({"number": 0.0}, Target.of_value(0.0)),
        (
            {"probabilities": label_pb2.SoftLabel(probabilities={"a": 0.25, "b": 0.75})},
            Target.of_shares({"a": 0.25, "b": 0.75}),
        ),
        ({}, Target.of_label("")),
    ],
)
def test_each_kind_of_label_is_read_and_written(label: dict, target: Target) -> None:
    (example,) = examples_of([input_pb2.Example(input=INPUT, label=label_pb2.Label(**label))], 0)
    assert example.target == target
    assert example.weight == 1.0
    written = input_pb2.Example(input=INPUT, label=label_message(target))
    assert examples_of([written], 0)[0].target == target


def test_a_weight_is_read_zero_too() -> None:
    label = label_pb2.Label(class_name="a")
    messages = [input_pb2.Example(input=INPUT, label=label, weight=weight) for weight in (2.5, 0.0)]
    assert [example.weight for example in examples_of(messages, 0)] == [2.5, 0.0]


def labelled(names: list[str]) -> input_pb2.Example:
    label = label_pb2.Label(classes=label_pb2.LabelSet(class_names=names))
    return input_pb2.Example(input=INPUT, label=label)


def test_a_class_that_is_named_twice_is_rejected_with_the_example() -> None:
    with pytest.raises(InvalidField, match="each class of example 3 once") as caught:
        examples_of([labelled(["a", "b", "a"])], 3)
    assert caught.value.field == "examples[3].label.classes"


def test_a_class_that_comes_twice_among_very_many_is_found_at_once() -> None:
    names = [str(place) for place in range(300_000)]
    with pytest.raises(InvalidField, match="'299999' twice"):
        examples_of([labelled([*names, names[-1]])], 0)


@pytest.mark.parametrize("task", [None, *Task])
def test_the_task_of_a_spec_goes_there_and_back(task: Task | None) -> None:
    number = None if task is None else list(Task).index(task) + 1
    spec = spec_of(job_pb2.FineTuneSpec(model="m", task=number))
    assert spec.task is task
    message = spec_message(spec)
    assert (message.task if message.HasField("task") else None) == number


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InvalidField, match="Expected a task of 1 to 3"):
        spec_of(job_pb2.FineTuneSpec(model="m", task=9))


@pytest.mark.parametrize("seconds", [253_402_300_800.0, 1e15])
def test_a_stored_time_beyond_those_of_the_contract_is_read_as_the_last_one(seconds: float) -> None:
    message = spec_message(replace(spec_of(job_pb2.FineTuneSpec(model="m")), expire_time=seconds))
    assert message.expire_time.ToJsonString() == "9999-12-31T23:59:59Z"
