"""Versions and models are read, listed and changed, and fine-tunes are submitted in one message."""

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from headstart import Client, NotFound
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2
from headstart.v1 import model_service_pb2 as pb
from integration.server.calls import TIMEOUT, Api, digit, digits, refused
from server_process import ServerProcess, eventually, running

SPEC = {"tags": {"team": "a"}, "display_name": "first"}


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"http://{server.event('http_listening')}"


def ask(url: str, content: Any = None, verb: str = "GET") -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=verb)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def pets(api: Api) -> str:
    """A model with two versions; the first has the alias `stable`."""
    api.published(digits((0, 1), 3), model="versions", alias="stable", **SPEC)
    api.published(digits((0, 1), 4), model="versions", tags={"team": "b"})
    return "versions"


def test_versions_are_read_and_listed_over_grpc_http_and_the_client(
    api: Api, url: str, server: ServerProcess, pets: str
):
    whole = api.models.GetVersion(pb.GetVersionRequest(target={"model": pets, "alias": "stable"})).version
    listed = api.models.ListVersions(pb.ListVersionsRequest(model=pets)).versions

    assert whole.metrics.confusion
    assert [not version.metrics.confusion for version in listed] == [True, True]
    whole.metrics.ClearField("confusion")
    assert listed[1] == whole
    found = ask(f"{url}/v1/models/{pets}/versions?filter.tags.team=b&orderBy=version")
    assert [version["displayName"] for version in found["versions"]] == [""]
    assert ask(f"{url}/v1/models/{pets}/aliases/stable")["version"]["displayName"] == "first"
    with Client(server.target) as client:
        assert [version.tags["team"] for version in client.versions(pets, order_by="version")] == ["a", "b"]
        assert [version.aliases for version in client.versions(pets, alias="stable")] == [("stable",)]
        assert client.get_version(f"{pets}@2").tags == {"team": "b"}
        with pytest.raises(NotFound):
            client.get_version(f"{pets}@3")
        with pytest.raises(NotFound):
            list(client.versions("missing"))


def test_pages_of_each_order_have_every_version_once(api: Api, pets: str):
    for order in ("", "version", "create_time desc", "size_bytes"):
        tags, token = [], ""
        while True:
            request = pb.ListVersionsRequest(model=pets, order_by=order, page_size=1, page_token=token)
            page = api.models.ListVersions(request)
            tags += [version.tags["team"] for version in page.versions]
            token = page.next_page_token
            if not token:
                break
        assert sorted(tags) == ["a", "b"]
    token = api.models.ListVersions(pb.ListVersionsRequest(model=pets, page_size=1)).next_page_token
    other = pb.ListVersionsRequest(model=pets, order_by="create_time", page_token=token)
    assert refused(lambda: api.models.ListVersions(other)).code is grpc.StatusCode.INVALID_ARGUMENT


def test_details_and_expirations_are_changed_and_omission_destroys_nothing(
    api: Api, url: str, server: ServerProcess, model: str
):
    api.published(digits((0, 1), 3), model=model, **SPEC)
    path = f"{url}/v1/models/{model}/versions/1"
    changed = ask(path, {"displayName": "new", "tags": {"x": "1"}, "updateMask": "displayName"}, "PATCH")
    assert (changed["version"]["displayName"], changed["version"]["tags"]) == ("new", {"team": "a"})
    changed = ask(path, {"ttl": "3600s", "updateMask": "expiration"}, "PATCH")
    assert changed["version"]["expireTime"]
    with Client(server.target) as client:
        version = client.update_version(model, 1, tags={})
        assert (version.display_name, version.tags) == ("new", {})
        assert version.expire_time is not None
        assert client.update_version(model, 1, expire_time="never").expire_time is None
        later = datetime.now(UTC) + timedelta(days=1)
        assert client.update_version(model, 1, expire_time=later).expire_time == later
        assert client.update_model(model, description="Which digit?").description == "Which digit?"
        assert client.update_model(model, display_name="Digits").description == "Which digit?"
        assert next(each for each in client.models() if each.model == model).display_name == "Digits"
    assert ask(f"{url}/v1/models/{model}")["model"]["displayName"] == "Digits"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "update_mask"),
        ({"update_mask": {"paths": ["lineage"]}}, "update_mask"),
        ({"update_mask": {"paths": ["expiration"]}, "ttl": {"seconds": -1}}, "ttl"),
        ({"update_mask": {"paths": ["expiration"]}, "expire_time": {"seconds": 1}}, "expire_time"),
        ({"update_mask": {"paths": ["tags"]}, "tags": {"": "a"}}, "tags"),
    ],
)
def test_a_change_that_cannot_be_made_is_rejected_and_changes_nothing(
    api: Api, pets: str, fields: dict[str, Any], field: str
):
    before = api.models.GetVersion(pb.GetVersionRequest(target={"model": pets, "version": 1}))
    request = pb.UpdateVersionRequest(model=pets, version=1, **fields)
    refusal = refused(lambda: api.models.UpdateVersion(request))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert field in refusal.fields
    assert api.models.GetVersion(pb.GetVersionRequest(target={"model": pets, "version": 1})) == before
    request = pb.UpdateModelRequest(model=pets, update_mask=FieldMask(paths=["expiration"]))
    assert refused(lambda: api.models.UpdateModel(request)).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_fine_tune_is_submitted_in_one_message(api: Api, url: str, model: str):
    examples = digits((0, 1), 3)
    request = tuning.SubmitFineTuneRequest(spec={"model": model, "request_id": model}, examples=examples)
    job = api.fine_tuning.SubmitFineTune(request, timeout=TIMEOUT).job
    # The stream is the same request.
    assert api.fine_tune(examples, model=model, request_id=model).job_id == job.job_id
    assert api.ended(job.job_id).version == 1
    body = {
        "spec": {"model": model, "validateOnly": True},
        "examples": [
            {
                "input": {"image": b64encode(digit(label, place)).decode()},
                "label": {"className": str(label)},
            }
            for label in (0, 1)
            for place in range(3)
        ],
    }
    assert ask(f"{url}/v1/jobs", body, "POST")["validation"]["valid"]
    body["spec"] = {"model": model}
    accepted = ask(f"{url}/v1/jobs", body, "POST")["job"]
    assert api.ended(accepted["jobId"]).version == 2


def test_a_submission_without_examples_or_with_a_bad_one_is_rejected(api: Api, model: str):
    def submit(**fields: Any) -> None:
        api.fine_tuning.SubmitFineTune(tuning.SubmitFineTuneRequest(**fields), timeout=TIMEOUT)

    assert refused(lambda: submit(spec={"model": model})).reason == "EMPTY_DATASET"
    assert refused(lambda: submit(examples=digits((0, 1), 2))).reason == "INVALID_FIELD"
    bad = [*digits((0, 1), 2), input_pb2.Example()]
    refusal = refused(lambda: submit(spec={"model": model}, examples=bad))
    assert refusal.reason == "INVALID_FIELD"
    assert list(refusal.fields) == ["examples[4].input"]


def test_moves_of_an_alias_are_listed_and_rolling_back_is_one_more(api: Api, url: str, model: str):
    job = api.published(digits((0, 1), 3), model=model, alias="stable")
    api.published(digits((0, 1), 4), model=model, alias="stable")
    last, first = api.models.ListAliasEvents(pb.ListAliasEventsRequest(model=model, alias="stable")).events
    assert (first.job_id, first.version, first.HasField("previous_version")) == (job.job_id, 1, False)
    assert (last.previous_version, last.version) == (1, 2)
    api.models.SetAlias(pb.SetAliasRequest(model=model, alias="stable", version=last.previous_version))
    (newest, *_) = ask(f"{url}/v1/models/{model}/aliases/stable:history?pageSize=1")["events"]
    assert (newest["cause"], newest["previousVersion"], newest["version"]) == (
        "ALIAS_EVENT_CAUSE_SET",
        "2",
        "1",
    )
    assert len(ask(f"{url}/v1/models/{model}/aliases:history")["events"]) == 3


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that has not counted traffic yet: each counts only the first 200 versions in 5 minutes."""
    with running(tmp_path / "data", "--http-port", "0") as server:
        server.wait_until_serving()
        yield server


def test_traffic_is_counted_by_version_over_grpc_and_http(fresh_server: ServerProcess):
    with Api.connect(fresh_server.target) as api:
        check_traffic(api, fresh_server, f"http://{fresh_server.event('http_listening')}", "pets")


def check_traffic(api: Api, server: ServerProcess, url: str, model: str) -> None:
    api.published(digits((0, 1), 3), model=model)
    api.published(digits((0, 1), 4), model=model)
    for place in range(3):
        api.predict(model, digit(0, place), digit(1, place), version=1)
    refused(lambda: api.predict(model, b"no image", version=2))
    assert refused(lambda: api.predict(model, digit(0, 0), version=9)).reason == "VERSION_NOT_FOUND"

    def counted() -> list[Any] | None:
        found = ask(f"{url}/v1/models/{model}/traffic?windowDuration=600s")["versions"]
        return found if len(found) == 2 else None

    first, second = eventually(counted, 60.0, "the traffic of both versions")
    assert (first["version"], first["requestCount"], first["inputCount"]) == ("1", "3", "6")
    assert (second["version"], second["requestCount"], second["errorCount"]) == ("2", "1", "1")
    with Client(server.target) as client:
        (version,) = client.traffic(model, version=1).versions
    assert version.latency_p50_duration is not None
    assert (
        timedelta(0)
        < version.latency_p50_duration
        <= version.latency_p90_duration
        <= version.latency_p99_duration
    )
    for window in ({"seconds": 0}, {"seconds": -1}, {"seconds": 700_000}):
        get = partial(api.models.GetTraffic, pb.GetTrafficRequest(model=model, window_duration=window))
        assert list(refused(get).fields) == ["window_duration"]
