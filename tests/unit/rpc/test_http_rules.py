"""What HTTP requests stand for, and the document that describes them."""

import json
from typing import Any

import pytest
from google.rpc import code_pb2
from openapi_spec_validator import validate

from headstart_server.errors import JobQueueFull, MessageTooLarge, ModelNotFound
from headstart_server.rpc.http.answers import HTTP_CODES, error_answer
from headstart_server.rpc.http.comments import comment
from headstart_server.rpc.http.openapi import openapi, shown
from headstart_server.rpc.http.rules import _SERVICES, RULES, Body, Rule
from headstart_server.rpc.status import CODES, status_of


def test_every_call_of_the_contract_has_a_rule() -> None:
    calls = {
        f"{name}/{method}"
        for name, service in _SERVICES.items()
        for method in service.methods_by_name
        if name != "Health"
    }
    assert {rule.call for rule in RULES} == calls | {"Health/Check"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.verb} {rule.path}")
def test_a_rule_is_found_by_its_own_path_alone(rule: Rule) -> None:
    path = shown(rule.path)
    for name in ("{model}", "{version}", "{alias}", "{job_id}", "{backbone}", "{example_id}"):
        path = path.replace(name, "1")
    same = [each for each in RULES if each.verb == rule.verb and each.pattern.fullmatch(path)]
    assert same == [rule]


def test_streams_take_examples_and_only_they() -> None:
    streams = {rule.call for rule in RULES if rule.descriptor.client_streaming}
    assert streams == {rule.call for rule in RULES if rule.body is Body.EXAMPLES}


def test_every_code_of_grpc_has_one_of_http() -> None:
    assert set(HTTP_CODES) == set(code_pb2.Code.values())
    assert all(HTTP_CODES[code.value[0]] >= 400 for code in CODES.values())


def test_an_error_is_told_as_a_status_with_the_time_to_wait() -> None:
    answer = error_answer(status_of(JobQueueFull("Full.", retry_after=1.2)))
    told = json.loads(answer.content)
    assert answer.code == 429
    assert answer.headers["retry-after"] == "2"
    assert told["code"] == code_pb2.RESOURCE_EXHAUSTED
    assert told["details"][0]["reason"] == "JOB_QUEUE_FULL"


def test_what_is_too_large_is_not_told_as_something_to_send_again() -> None:
    assert error_answer(status_of(MessageTooLarge("Large."))).code == 413
    assert error_answer(status_of(ModelNotFound("None."))).code == 404


def document() -> Any:
    return json.loads(openapi("1.2.3"))


def test_the_document_is_valid_openapi() -> None:
    validate(document())


def test_the_document_has_each_rule_once_and_each_operation_its_own_name() -> None:
    paths = document()["paths"]
    operations = [(verb.upper(), path) for path, verbs in paths.items() for verb in verbs]
    assert sorted(operations) == sorted((rule.verb, shown(rule.path)) for rule in RULES)
    names = [operation["operationId"] for verbs in paths.values() for operation in verbs.values()]
    assert len(set(names)) == len(names)


def test_the_document_describes_messages_as_protobuf_maps_them_to_json() -> None:
    schemas = document()["components"]["schemas"]
    job = schemas["Job"]["properties"]
    assert job["version"]["type"] == "string"
    assert job["createTime"].items() >= {"type": "string", "format": "date-time"}.items()
    assert job["stepMilliseconds"]["additionalProperties"] == {"type": "number", "format": "double"}
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
    assert "- `JOB_STATE_QUEUED`: Accepted and stored; waits for a worker." in state
    page = found["paths"]["/v1/models"]["get"]["parameters"]
    told = {one["name"]: one["description"] for one in page}
    assert told["pageToken"] == (
        "`nextPageToken` of the page before. Default: the first page. "
        "Limit: at most 2048 characters, no control characters."
    )
    status = found["paths"]["/v1/jobs/{job_id}"]["get"]
    assert status["summary"] == "Tells where a job stands, at once or when it has ended"
