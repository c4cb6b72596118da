from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pytest

from headstart.v1 import input_pb2, job_pb2, model_pb2
from headstart_server.api.grpc.messages.encode import message_of, numbers_of
from headstart_server.jobs.job import JobEvent, JobState, JobStep, Progress
from headstart_server.learning.examples.task import Task
from headstart_server.models.version import TrafficSplit

EVENT = JobEvent(
    job_id="j",
    number=3,
    time=1.5,
    state=JobState.RUNNING,
    progress=Progress(step=JobStep.FIT, fraction=0.5),
    model="pets",
)


def test_fields_of_the_same_names_are_copied_and_converted():
    message = message_of(EVENT, job_pb2.JobEvent)

    assert message == job_pb2.JobEvent(
        job_id="j",
        number=3,
        event_time={"seconds": 1, "nanos": 500_000_000},
        state=job_pb2.JOB_STATE_RUNNING,
        progress=job_pb2.Progress(step=job_pb2.JOB_STEP_FIT, fraction=0.5),
        model="pets",
    )


def test_none_leaves_a_field_unset():
    message = message_of(EVENT, job_pb2.JobEvent, progress=None)

    assert not message.HasField("progress")


def test_given_fields_are_converted_too():
    @dataclass
    class Alias:
        number: int = 2
        etag: str = "e"
        updated: float = 7.0
        traffic: tuple[TrafficSplit, ...] = (TrafficSplit(number=8, fraction=0.25),)

    message = message_of(Alias(), model_pb2.Alias, alias="stable")

    assert (message.alias, message.version, message.update_time.seconds) == ("stable", 2, 7)
    assert [(split.version, split.fraction) for split in message.traffic] == [(8, 0.25)]


def test_maps_are_converted_by_value():
    @dataclass
    class Settings:
        step_durations: Mapping[str, float] = field(default_factory=lambda: {"fit": 2.0})

    others = {each.name: None for each in job_pb2.Job.DESCRIPTOR.fields if not each.is_repeated}
    message = message_of(Settings(), job_pb2.Job, excluded_examples=(), **others)

    assert {name: length.seconds for name, length in message.step_durations.items()} == {"fit": 2}


def test_a_field_that_the_value_lacks_is_an_error():
    @dataclass
    class Empty:
        fraction: float = 0.5

    with pytest.raises(AttributeError, match="no attribute 'number'"):
        message_of(Empty(), model_pb2.TrafficSplit)


def test_members_have_the_numbers_of_the_contract():
    assert numbers_of(Task, input_pb2.Task) == {
        Task.SINGLE_LABEL: input_pb2.TASK_SINGLE_LABEL,
        Task.MULTI_LABEL: input_pb2.TASK_MULTI_LABEL,
        Task.REGRESSION: input_pb2.TASK_REGRESSION,
    }


def test_a_member_that_the_contract_lacks_is_an_error():
    class Shape(Enum):
        ROUND = "round"

    with pytest.raises(KeyError, match="ROUND"):
        numbers_of(Shape, input_pb2.Task)
