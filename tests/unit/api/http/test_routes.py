"""What HTTP requests stand for, and the document that describes them."""

import json
import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2

from headstart_server.api.grpc.status import CODES, status_of
from headstart_server.api.http.comments import comment
from headstart_server.api.http.messages import fill_parameters
from headstart_server.api.http.openapi import openapi
from headstart_server.api.http.response import HTTP_CODES, error_response
from headstart_server.api.http.routes import _SHORT_FORMS, ROUTES, SERVICES, Body, Route
from headstart_server.errors import JobQueueFull, MessageTooLarge, ModelNotFound


def test_every_method_of_the_contract_has_a_route() -> None:
    methods = {method for service in SERVICES for method in service.methods if service.name != "Health"}
    routed = {route.descriptor for route in ROUTES if route.descriptor.containing_service.name != "Health"}
    assert routed == methods


def test_every_short_form_is_of_a_method_that_exists() -> None:
    known = {method.full_name for service in SERVICES for method in service.methods}
    assert _SHORT_FORMS.keys() <= known


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.verb} {route.path}")
def test_a_route_is_found_by_its_own_path_alone(route: Route) -> None:
    path = re.sub(r"\{[a-z_]+\}", "1", route.shown_path)
    same = [each for each in ROUTES if each.verb == route.verb and each.pattern.fullmatch(path)]
    assert same == [route]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.verb} {route.path}")
def test_the_variables_of_a_route_are_fields_of_its_message(route: Route) -> None:
    assert "{" not in route.shown_path.replace("{", "", len(route.variables))
    message = GetMessageClass(route.message)()
    fill_parameters(message, {name: ["1"] for name in route.variables}, {})
    assert len(message.ListFields()) == len({name.partition(".")[0] for name in route.variables})


def test_a_body_may_be_one_field_of_the_message() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="field.proto", package="t", syntax="proto3")
    for name in ("Request", "Response"):
        file.message_type.add(name=name)
    field = file.message_type[0].field.add(name="thing", number=1, type=11, label=1, type_name=".t.Response")
    assert field.name == "thing"
    file.service.add(name="S").method.add(name="M", input_type=".t.Request", output_type=".t.Response")
    service = descriptor_pool.DescriptorPool().AddSerializedFile(file.SerializeToString())
    method = service.services_by_name["S"].methods_by_name["M"]
    assert Route("PATCH", "/v1/things", method, "thing").body is Body.MESSAGE
    assert Route("GET", "/v1/things", method).body is Body.NONE


def test_streams_take_examples_and_only_they() -> None:
    streams = {route for route in ROUTES if route.descriptor.client_streaming}
    assert streams == {route for route in ROUTES if route.body is Body.EXAMPLES}


def test_every_code_of_grpc_has_one_of_http() -> None:
    assert set(HTTP_CODES) == set(code_pb2.Code.values())
    assert all(HTTP_CODES[code.value[0]] >= 400 for code in CODES.values())


def test_an_error_becomes_a_status_with_a_retry_delay() -> None:
    answer = error_response(status_of(JobQueueFull("Full.", retry_after=1.2)))
    reported = json.loads(answer.content)
    assert answer.code == 429
    assert answer.headers["retry-after"] == "2"
    assert reported["code"] == code_pb2.RESOURCE_EXHAUSTED
    assert reported["details"][0]["reason"] == "JOB_QUEUE_FULL"


def test_a_too_large_request_is_not_reported_as_retriable() -> None:
    assert error_response(status_of(MessageTooLarge("Large."))).code == 413
    assert error_response(status_of(ModelNotFound("None."))).code == 404


def document() -> Any:
    return json.loads(openapi("1.2.3"))


def test_the_document_is_valid_openapi() -> None:
    # Slow to import: it compiles a grammar.
    from openapi_spec_validator import validate

    validate(document())


def test_the_document_has_each_rule_once_and_each_operation_its_own_name() -> None:
    paths = document()["paths"]
    operations = [(verb.upper(), path) for path, verbs in paths.items() for verb in verbs]
    assert sorted(operations) == sorted((route.verb, route.shown_path) for route in ROUTES)
    names = [operation["operationId"] for verbs in paths.values() for operation in verbs.values()]
    assert len(set(names)) == len(names)


def test_the_document_describes_messages_as_protobuf_maps_them_to_json() -> None:
    schemas = document()["components"]["schemas"]
    job = schemas["Job"]["properties"]
    assert job["version"]["type"] == "string"
    assert job["createTime"].items() >= {"type": "string", "format": "date-time"}.items()
    assert job["stepDurations"]["additionalProperties"]["pattern"].endswith("s$")
    assert job["state"]["$ref"] == "#/components/schemas/JobState"
    assert "JOB_STATE_QUEUED" in schemas["JobState"]["enum"]
    image = schemas["Input"]["properties"]["image"]
    assert image.items() >= {"type": "string", "contentEncoding": "base64"}.items()
    assert schemas["Input"]["description"].endswith("At most one of image, text, tensor.")


def test_all_that_the_document_names_is_described() -> None:
    found = document()
    parts = dict(found["components"]["schemas"])
    for name, schema in found["components"]["schemas"].items():
        parts |= {f"{name}.{field}": part for field, part in schema.get("properties", {}).items()}
    for path, verbs in found["paths"].items():
        for verb, operation in verbs.items():
            parts[f"{verb} {path}"] = operation
            parts |= {f"{verb} {path} {one['name']}": one for one in operation["parameters"]}
    parts |= {tag["name"]: tag for tag in found["tags"]}
    assert {tag for verbs in found["paths"].values() for one in verbs.values() for tag in one["tags"]} <= set(
        parts
    )
    assert not [name for name, part in parts.items() if not part.get("description")]


def test_what_is_said_is_the_protos_comment_with_the_names_of_the_json() -> None:
    found = document()
    schemas = found["components"]["schemas"]
    assert schemas["Job"]["properties"]["jobId"]["description"] == comment("headstart.v1.Job.job_id") != ""
    state = schemas["JobState"]["description"]
    assert "- `JOB_STATE_QUEUED`: The job is accepted and stored, and waits for a worker." in state
    page = found["paths"]["/v1/models"]["get"]["parameters"]
    reported = {one["name"]: one["description"] for one in page}
    assert reported["pageToken"] == (
        "`nextPageToken` of the previous page. Default: the first page. "
        "Limit: at most 2048 characters, no control characters."
    )
    status = found["paths"]["/v1/jobs/{job_id}"]["get"]
    assert status["summary"] == "Returns a job, immediately or after waiting for its end"
