"""What examples of the contract show, and what is said when they show two things at once."""

import pytest

from headstart.v1 import input_pb2, job_pb2
from headstart_server.errors import InvalidField
from headstart_server.learning.target import Target
from headstart_server.learning.task import Task
from headstart_server.rpc.messages import examples_of, spec_message, spec_of

INPUT = input_pb2.Input(text="hello")
LABEL_SET = input_pb2.LabelSet(labels=["b", "a"])


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"label": "cat"}, Target.of_label("cat")),
        ({"label_set": LABEL_SET}, Target.of_labels(["a", "b"])),
        ({"label_set": input_pb2.LabelSet()}, Target.of_labels([])),
        ({"value": 0.0}, Target.of_value(0.0)),
        (
            {"soft_label": input_pb2.SoftLabel(probabilities={"a": 0.25, "b": 0.75})},
            Target.of_shares({"a": 0.25, "b": 0.75}),
        ),
        ({}, Target.of_label("")),
    ],
)
def test_each_kind_of_target_is_read(fields: dict, target: Target) -> None:
    (example,) = examples_of([input_pb2.Example(input=INPUT, **fields)], 0)
    assert example.target == target
    assert example.weight == 1.0


def test_a_weight_is_read_zero_too() -> None:
    messages = [input_pb2.Example(input=INPUT, label="a", weight=weight) for weight in (2.5, 0.0)]
    assert [example.weight for example in examples_of(messages, 0)] == [2.5, 0.0]


def test_two_things_at_once_are_refused_with_the_example() -> None:
    with pytest.raises(InvalidField, match="either a label or a value in example 7") as caught:
        examples_of([input_pb2.Example(input=INPUT, label="a", value=1.0)], 7)
    assert caught.value.field == "examples[7].value"
    twice = input_pb2.LabelSet(labels=["a", "b", "a"])
    with pytest.raises(InvalidField, match="each label of example 3 once") as caught:
        examples_of([input_pb2.Example(input=INPUT, label_set=twice)], 3)
    assert caught.value.field == "examples[3].label_set"


def test_a_label_that_comes_twice_among_very_many_is_found_at_once() -> None:
    labels = [str(place) for place in range(300_000)]
    with pytest.raises(InvalidField, match="'299999' twice"):
        twice = input_pb2.LabelSet(labels=[*labels, labels[-1]])
        examples_of([input_pb2.Example(input=INPUT, label_set=twice)], 0)


@pytest.mark.parametrize("task", [None, *Task])
def test_the_task_of_a_spec_goes_there_and_back(task: Task | None) -> None:
    number = 0 if task is None else list(Task).index(task) + 1
    spec = spec_of(job_pb2.FineTuneSpec(model="m", task=number))
    assert spec.task is task
    assert spec_message(spec).task == number


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(InvalidField, match="Expected a task of 1 to 3"):
        spec_of(job_pb2.FineTuneSpec(model="m", task=9))
