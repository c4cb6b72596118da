"""Names and ids of requests are checked in one place, before anything is looked up by them."""

from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from headstart.v1 import (
    evaluation_service_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
)
from headstart_server.errors import InvalidField
from headstart_server.rpc.dialects import open_inference_pb2, tensorflow_serving_pb2
from headstart_server.rpc.texts import MAX_CHARACTERS, NAMES, OTHER_TEXTS, TextInterceptor, check_texts

MODULES = [
    evaluation_service_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    prediction_service_pb2,
    open_inference_pb2,
    tensorflow_serving_pb2,
]


def texts_of(kind: Descriptor, above: frozenset[str] = frozenset()) -> set[str]:
    """Full names of all fields of a type, and of those within it, that hold text."""
    found = set()
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            found.add(field.full_name)
        inner = field.message_type
        if inner is not None and inner.full_name not in above:
            found |= texts_of(inner, above | {inner.full_name})
    return found


def test_every_text_of_a_request_is_a_name_or_known_to_be_none() -> None:
    services: list[ServiceDescriptor] = [
        service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()
    ]
    requests = [method.input_type for service in services for method in service.methods]
    texts = set().union(*map(texts_of, requests))
    assert not NAMES & OTHER_TEXTS
    assert texts - NAMES == OTHER_TEXTS


#: Where the text is in each of `requests`.
PATHS = [
    "job_id",
    "target.model",
    "additional_targets[1].alias",
    "views",
    "spec.request_id",
    "model_name",
    "model_spec.name",
]


@dataclass
class Details:
    method: str


def requests(text: str) -> list[Any]:
    """Messages with a text in a field of their own, in a part, in a list of parts, and in a list."""
    predict = prediction_service_pb2.PredictRequest
    return [
        fine_tuning_service_pb2.StatusRequest(job_id=text),
        predict(target={"model": text}),
        predict(target={"model": "a"}, additional_targets=[{"model": "b"}, {"alias": text}]),
        prediction_service_pb2.EmbedRequest(views=["last", text]),
        fine_tuning_service_pb2.FineTuneRequest(spec={"model": "a", "request_id": text}),
        open_inference_pb2.ModelInferRequest(model_name=text),
        tensorflow_serving_pb2.PredictRequest(model_spec={"name": text}),
    ]


@pytest.mark.parametrize("place", range(len(requests(""))))
@pytest.mark.parametrize("text", ["a\0b", "x" * (MAX_CHARACTERS + 1)], ids=["NUL", "long"])
async def test_a_name_that_cannot_be_is_refused_where_it_is_read(text: str, place: int) -> None:
    message = requests(text)[place]

    async def find(details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(None, type(message).FromString)

    handler = await TextInterceptor().intercept_service(find, Details("/a/B"))
    with pytest.raises(InvalidField) as caught:
        handler.request_deserializer(message.SerializeToString())
    assert caught.value.field == PATHS[place]
    assert len(caught.value.message) < 400
    check_texts(requests("x" * MAX_CHARACTERS)[place])


def test_examples_and_texts_to_be_told_apart_are_not_looked_through() -> None:
    check_texts(prediction_service_pb2.PredictRequest(inputs=[{"text": "\0" * 9999}]))
    check_texts(fine_tuning_service_pb2.FineTuneRequest(examples={"examples": [{"label": "\0"}]}))
