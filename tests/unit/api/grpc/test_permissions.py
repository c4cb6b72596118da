"""Every method has a row that says who may call it, and every name of a model is found in its messages."""

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

import request_fields
from headstart.v1 import (
    fine_tuning_service_pb2,
    job_pb2,
    prediction_service_pb2,
    version_selector_pb2,
)
from headstart_server.api.grpc.permissions import RULES, Subject
from headstart_server.api.grpc.requests.model_names import (
    DATASET_FIELDS,
    MODEL_FIELDS,
    dataset_names,
    model_names,
    rename_models,
)
from headstart_server.api.server import SERVICE_NAMES

MODULES = [*request_fields.MODULES, reflection_pb2]
DIALECTS = {
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
}


def services() -> dict[str, ServiceDescriptor]:
    found = [service for module in MODULES for service in module.DESCRIPTOR.services_by_name.values()]
    return {service.full_name: service for service in found}


def test_the_services_that_are_looked_at_are_those_of_the_server() -> None:
    assert set(services()) == {*SERVICE_NAMES, *DIALECTS, "grpc.health.v1.Health", reflection.SERVICE_NAME}


def test_every_method_has_a_row_and_every_row_is_of_a_method() -> None:
    methods = {f"/{name}/{method}" for name, each in services().items() for method in each.methods_by_name}
    # Later releases of gRPC's health service have it.
    later = {"/grpc.health.v1.Health/List"}
    assert methods | later == set(RULES)


def test_only_health_and_reflection_are_open() -> None:
    opened = {method for method, rule in RULES.items() if rule.on is Subject.NONE}
    assert opened == {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        f"/{reflection.SERVICE_NAME}/ServerReflectionInfo",
        # They are health in the Open Inference Protocol.
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
    assert all(rule.rights for rule in RULES.values() if rule.on is not Subject.NONE)


@pytest.mark.parametrize("method", sorted(name for name in RULES if RULES[name].on is not Subject.NONE))
def test_the_request_has_what_the_row_is_about(method: str) -> None:
    rule = RULES[method]
    _, service, name = method.split("/")
    request = services()[service].methods_by_name[name].input_type
    # A message in which all there is is set once.
    filled = message_factory.GetMessageClass(request)()
    fill(filled)
    if rule.on is Subject.MODEL:
        assert "x" in set(model_names(filled))
    elif rule.on is Subject.DATASET:
        assert set(dataset_names(filled)) == {"x"}
        assert not set(model_names(filled))
    elif rule.on is Subject.JOB:
        assert "job_id" in request.fields_by_name
    elif rule.on is Subject.ANY:
        assert not set(model_names(filled))


def fill(message, depth: int = 0) -> None:
    for field in message.DESCRIPTOR.fields:
        if depth > 5 or (field.containing_oneof and message.WhichOneof(field.containing_oneof.name)):
            continue
        if field.full_name in MODEL_FIELDS | DATASET_FIELDS:
            setattr(message, field.name, "x")
        elif field.message_type and field.message_type.GetOptions().map_entry:
            continue
        elif field.message_type and field.is_repeated:
            fill(getattr(message, field.name).add(), depth + 1)
        elif field.message_type:
            part = getattr(message, field.name)
            part.SetInParent()
            fill(part, depth + 1)


def all_messages() -> dict[str, Descriptor]:
    found: dict[str, Descriptor] = {}

    def add(descriptor: Descriptor) -> None:
        if descriptor.full_name not in found:
            found[descriptor.full_name] = descriptor
            for field in descriptor.fields:
                if field.message_type:
                    add(field.message_type)

    for service in services().values():
        for method in service.methods:
            add(method.input_type)
            add(method.output_type)
    return found


def may_name_a_model(field: FieldDescriptor) -> bool:
    is_text = field.type == FieldDescriptor.TYPE_STRING
    words = field.name.split("_")
    return is_text and ("model" in words or field.full_name.endswith(".Model.name"))


def test_no_field_that_names_a_model_is_forgotten() -> None:
    ours = [message for name, message in all_messages().items() if name.startswith("headstart.")]
    own = {name for name in MODEL_FIELDS if name.startswith("headstart.")}
    assert {f.full_name for each in ours for f in each.fields if may_name_a_model(f)} == own
    others = [message for name, message in all_messages().items() if not name.startswith("headstart.")]
    named = {f.full_name for each in others for f in each.fields if may_name_a_model(f)}
    assert {name for name in named if "model_name" in name} <= MODEL_FIELDS


def test_no_field_that_names_a_dataset_is_forgotten() -> None:
    every = [field for message in all_messages().values() for field in message.fields]
    texts = {f.full_name for f in every if f.name == "dataset" and f.type == FieldDescriptor.TYPE_STRING}
    assert texts == DATASET_FIELDS


def test_every_listed_field_is_one() -> None:
    every = {f.full_name: f for each in all_messages().values() for f in each.fields}
    assert all(every[name].type == FieldDescriptor.TYPE_STRING for name in MODEL_FIELDS)


def test_no_message_contains_its_type_with_a_model_name() -> None:
    def walk(descriptor: Descriptor, above: tuple[str, ...]) -> None:
        if descriptor.full_name in above:
            assert not any(f.full_name in MODEL_FIELDS for f in descriptor.fields), descriptor.full_name
            return
        for field in descriptor.fields:
            if field.message_type:
                walk(field.message_type, (*above, descriptor.full_name))

    for descriptor in all_messages().values():
        walk(descriptor, ())


def test_names_are_found_and_changed_wherever_they_are() -> None:
    selector = version_selector_pb2.VersionSelector
    request = prediction_service_pb2.PredictRequest(
        targets=[selector(model="a", version=1), selector(model="b"), selector(model="")],
    )
    assert list(model_names(request)) == ["a", "b", ""]

    rename_models(request, lambda name: f"t/{name}")
    assert list(model_names(request)) == ["t/a", "t/b", ""]
    assert request.targets[0].version == 1


def test_names_of_datasets_are_changed_and_are_no_names_of_models() -> None:
    request = fine_tuning_service_pb2.FineTuneRequest(spec={"model": "a", "dataset": "b"})
    assert (list(model_names(request)), list(dataset_names(request))) == (["a"], ["b"])
    rename_models(request, lambda name: f"t/{name}")
    assert (request.spec.model, request.spec.dataset) == ("t/a", "t/b")


def test_nothing_is_found_where_nothing_is_set_and_nothing_is_set_by_looking() -> None:
    request = fine_tuning_service_pb2.FineTuneRequest()
    assert not list(model_names(request))
    assert request.WhichOneof("part") is None
    response = fine_tuning_service_pb2.StatusResponse(job=job_pb2.Job(spec={"model": "t/a"}))
    rename_models(response, lambda name: name[2:])
    assert response.job.spec.model == "a"
