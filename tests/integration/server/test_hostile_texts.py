"""No text of any request reaches a database that would choke on it: jobs of others go on to their end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from chaos.replica import Replica
from headstart.v1 import evaluation_service_pb2 as evaluating
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from integration.server.calls import Api, serves
from postgres import PostgresServer
from request_fields import Place, methods, places, text_of
from server_process import START_SECONDS, eventually

#: NUL, an escape sequence of terminals, a change of direction, and half of a character.
HOSTILE = {
    "NUL": b"a\0b",
    "ESC": b"\x1b]0;title\x07",
    "direction": "a\u202eb".encode(),
    "half": b"a\xed\xa0\x80b",
}
EXAMPLES = [
    input_pb2.Example(input={"image": f"quick {label}:{place}".encode()}, label={"class_name": label})
    for label in ("cat", "dog")
    for place in range(3)
]
SPEC = tuning.FineTuneRequest(spec={"model": "good"}).SerializeToString()
TARGET = {"target": {"model": "good"}}


@dataclass
class Service:
    api: Api
    channel: grpc.Channel


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings: dict[str, Any] = {}
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        settings["database"] = server.empty_database()
    replica = Replica(tmp_path_factory.mktemp(request.param), **settings)
    replica.start()
    api = Api.connect(replica.target)
    try:
        eventually(lambda: serves(api), START_SECONDS, "a server that serves")
        with grpc.insecure_channel(replica.target) as channel:
            yield Service(api, channel)
    finally:
        replica.kill()


def call_of(service: Service, method: MethodDescriptor, content: bytes) -> Callable[[], object]:
    """Return a call of a method with the bytes of a request, after those that have to come first."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming and method.server_streaming:
        return lambda: list(service.channel.stream_stream(name)(iter([content]), timeout=60))
    if method.client_streaming:
        first = {
            "FineTune": SPEC,
            "Evaluate": evaluating.EvaluateRequest(spec=TARGET).SerializeToString(),
            "Compare": evaluating.CompareRequest(
                spec={"first": {"model": "good"}, "second": {"model": "good"}}
            ).SerializeToString(),
        }[method.name]
        sent = [first, content] if content.startswith(b"\x12") else [content]
        return lambda: service.channel.stream_unary(name)(iter(sent), timeout=60)
    if method.server_streaming:
        return lambda: list(service.channel.unary_stream(name)(content, timeout=60))
    return lambda: service.channel.unary_unary(name)(content, timeout=60)


def texts(method: MethodDescriptor) -> list[Place]:
    return [place for place in places(method.input_type) if place.is_text]


def test_hostile_texts_are_refused_in_every_field_and_jobs_go_on(service: Service) -> None:
    good = [tuning.FineTuneRequest(spec={"model": "good"}), *_batch()]
    service.api.ended(service.api.fine_tuning.FineTune(iter(good)).job.job_id)
    running = service.api.fine_tuning.FineTune(iter(good)).job.job_id
    refusals = 0
    for method in methods():
        for place in texts(method):
            for what, text in HOSTILE.items():
                if place.limit.lines and what in ("ESC", "direction"):
                    continue
                with pytest.raises(grpc.RpcError) as caught:
                    call_of(service, method, text_of(place, text))()
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, (place, what, caught.value)
                refusals += 1
    assert refusals > 300
    assert service.api.ended(running).state == job_pb2.JOB_STATE_SUCCEEDED
    # And what comes afterwards is run, too.
    again = service.api.fine_tuning.FineTune(iter(good)).job.job_id
    assert service.api.ended(again).state == job_pb2.JOB_STATE_SUCCEEDED


def test_every_other_character_is_kept_as_it_came(service: Service) -> None:
    odd = "'; DROP TABLE jobs; -- \u2028\u200f\ufeff💥日本\uffff"
    spec = {
        "model": "m" * 128,
        "display_name": odd,
        "tags": {odd[:40]: odd, "k" * 63: "💥" * 64},
        "alias": "a" * 128,
        "request_id": odd,
    }
    example = input_pb2.Example(input={"image": b"quick cat:9"}, label={"class_name": odd}, example_id=odd)
    sent = [tuning.FineTuneRequest(spec=spec), *_batch(example)]
    job = service.api.ended(service.api.fine_tuning.FineTune(iter(sent)).job.job_id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    assert (job.spec.display_name, dict(job.spec.tags)) == (odd, spec["tags"])
    assert service.api.fine_tuning.FineTune(iter(sent)).job.job_id == job.job_id


def _batch(*more: input_pb2.Example) -> list[tuning.FineTuneRequest]:
    return [tuning.FineTuneRequest(examples={"examples": [*EXAMPLES, *more]})]
