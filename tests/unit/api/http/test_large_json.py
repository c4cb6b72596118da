"""A large message written in parts is the same JSON as one written as a whole."""

import json
from typing import Any

import pytest
from google.protobuf.message import Message

from headstart.protojson import to_dict
from headstart.v1 import job_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart_server.api.http import large_json
from headstart_server.api.http.messages import json_of


def prediction(place: int) -> pb.Prediction:
    message = pb.Prediction(label={"class_name": f'"kind" {place}\n\u2028é'})
    for rank in range(40):
        message.classes.add(name=f"kind {rank}", probability=1 / (rank + 1), index=rank)
    return message


def predicted(count: int, **fields: Any) -> pb.PredictResponse:
    results = [{"model": "pets", "version": 3, "predictions": map(prediction, range(count))}]
    return pb.PredictResponse(results=results, times={"total_duration": {"nanos": 5_000_000}}, **fields)


@pytest.mark.parametrize(
    "message",
    [
        predicted(300),
        predicted(300, faults=[{"index": 7, "message": "x" * 40_000}]),
        predicted(
            1, features=[{"backbone": "b", "views": {"last": {"data": bytes(90_000), "shape": [1, 9]}}}]
        ),
        pb.EmbedResponse(truncation={place: {"characters": place} for place in range(20_000)}),
        job_pb2.Job(job_id="j" * 70_000, spec={"tags": {"a": "b"}}),
        pb.PredictResponse(),
    ],
    ids=lambda message: f"{message.DESCRIPTOR.name} {message.ByteSize()}",
)
def test_the_parts_are_the_whole(message: Message) -> None:
    text = json_of(message)
    assert json.loads(text) == to_dict(message)
    assert text.endswith(b"}\n")


def test_no_part_is_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    to_json = large_json.to_json
    monkeypatch.setattr(large_json, "to_json", lambda part: sizes.append(part.ByteSize()) or to_json(part))
    message = predicted(3000)
    json_of(message)
    assert max(sizes) <= large_json.PART_BYTES < sum(sizes)
