"""Data of another tenant looks like data that is missing: every call of the data loop, over gRPC and HTTP."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from headstart import CapturePolicy, Client, Example
from headstart.v1 import (
    dataset_service_pb2,
    evaluation_service_pb2,
    example_service_pb2,
    feedback_pb2,
    fine_tuning_service_pb2,
    model_service_pb2,
    review_service_pb2,
)
from headstart.v1.version_selector_pb2 import VersionSelector
from headstart_server.api.http.routes import ROUTES, Body, Route
from headstart_server.auth.permissions import Right
from headstart_server.auth.tokens import token_hash
from integration.server.calls import TIMEOUT, refusal_of
from server_process import ServerProcess, running

#: The tenants, which are also their tokens.
OWNER, OTHER = "owner", "other"
SERVICES = (dataset_service_pb2, example_service_pb2, review_service_pb2)
#: Methods that name nothing that exists.
WITHOUT_NAMES = {"CreateDataset", "ListDatasets"}


@dataclass(frozen=True)
class Names:
    """What the calls are about."""

    model: str
    dataset: str
    prediction_id: str
    example_id: str

    @property
    def all(self) -> tuple[str, ...]:
        return (self.dataset, self.model, self.prediction_id, self.example_id)


MISSING = Names("nothing", "nothing-set", "0" * 32, "no-example")


def calls_about(names: Names) -> Iterator[tuple[str, str, Message]]:
    """Yield a name, a method and a request for each way to reach what the names name."""
    model, dataset, prediction_id, example_id = (
        names.model,
        names.dataset,
        names.prediction_id,
        names.example_id,
    )
    versions = {
        "newest": {"version": VersionSelector(model=model)},
        "number": {"version": VersionSelector(model=model, version=1)},
        "alias": {"version": VersionSelector(model=model, alias="stable")},
        "dataset": {"dataset": dataset},
    }
    for form, source in versions.items():
        yield form, "ExampleService.ListExamples", example_service_pb2.ListExamplesRequest(**source)
        content = example_service_pb2.GetExampleContentRequest(example_id=example_id, **source)
        yield form, "ExampleService.GetExampleContent", content
        if "version" in source:
            yield form, "ExampleService.GetExampleMap", example_service_pb2.GetExampleMapRequest(**source)
    yield from _of_datasets(dataset)
    yield from _of_reviews(model, prediction_id)
    for form, found in (("prediction", prediction_id), ("example", example_id)):
        for rebuild in (False, True):
            erase = model_service_pb2.EraseExampleRequest(model=model, example_id=found, rebuild=rebuild)
            yield f"{form}-{rebuild}", "ModelService.EraseExample", erase
    policy = model_service_pb2.UpdateModelRequest(
        model=model, capture={"random_fraction": 1.0}, update_mask={"paths": ["capture"]}
    )
    yield "capture", "ModelService.UpdateModel", policy
    retrain = model_service_pb2.UpdateModelRequest(
        model=model, retrain={"alias": "stable", "min_feedback_count": 1}, update_mask={"paths": ["retrain"]}
    )
    yield "retrain", "ModelService.UpdateModel", retrain
    edit = {"example_id": example_id, "remove": True}
    spec = {"model": model, "parent_version": 1, "edits": [edit]}
    submit = fine_tuning_service_pb2.SubmitFineTuneRequest(spec=spec)
    yield "edits", "FineTuningService.SubmitFineTune", submit


def _of_datasets(dataset: str) -> Iterator[tuple[str, str, Message]]:
    service, pb = "DatasetService", dataset_service_pb2
    example = {"input": {"text": "a"}, "label": {"class_name": "up"}}
    yield "", f"{service}.GetDataset", pb.GetDatasetRequest(dataset=dataset)
    for batch in (0, 1):
        write = pb.WriteExamplesRequest(dataset=dataset, batch=batch, examples={"examples": [example]})
        yield str(batch), f"{service}.WriteExamples", write
    yield "", f"{service}.FinishDataset", pb.FinishDatasetRequest(dataset=dataset)
    update = pb.UpdateDatasetRequest(dataset=dataset, update_mask={"paths": ["display_name"]})
    yield "", f"{service}.UpdateDataset", update
    yield "", f"{service}.DeleteDataset", pb.DeleteDatasetRequest(dataset=dataset)
    submit = fine_tuning_service_pb2.SubmitFineTuneRequest(spec={"model": "mine", "dataset": dataset})
    yield "dataset", "FineTuningService.SubmitFineTune", submit
    target = VersionSelector(model="mine")
    evaluate = evaluation_service_pb2.EvaluateRequest(spec={"target": target, "dataset": dataset})
    yield "dataset", "EvaluationService.Evaluate", evaluate
    compare = evaluation_service_pb2.CompareRequest(
        spec={"first": target, "second": target, "dataset": dataset}
    )
    yield "dataset", "EvaluationService.Compare", compare


def _of_reviews(model: str, prediction_id: str) -> Iterator[tuple[str, str, Message]]:
    service, pb = "ReviewService", review_service_pb2
    yield "", f"{service}.GetCaptureStatus", pb.GetCaptureStatusRequest(model=model)
    yield "", f"{service}.ListReview", pb.ListReviewRequest(model=model)
    for size in (None, 64):
        captured = pb.GetCapturedInputRequest(model=model, prediction_id=prediction_id, thumbnail_size=size)
        yield str(size), f"{service}.GetCapturedInput", captured
    label = {"class_name": "up"}
    answers: dict[str, dict[str, Any]] = {
        "confirmed": {"prediction_id": prediction_id, "confirmed": True},
        "rejected": {"prediction_id": prediction_id, "rejected": True},
        "label": {"prediction_id": prediction_id, "label": label},
        "input": {"input": {"text": "a"}, "label": label},
    }
    for form, answer in answers.items():
        yield form, f"{service}.SendFeedback", feedback_pb2.SendFeedbackRequest(model=model, **answer)
    yield "", f"{service}.ListFeedback", feedback_pb2.ListFeedbackRequest(model=model)
    yield "", f"{service}.GetFeedbackSummary", feedback_pb2.GetFeedbackSummaryRequest(model=model)


@dataclass(frozen=True)
class Place:
    """A server of two tenants, and what the first one has."""

    server: ServerProcess
    http: str
    theirs: Names

    def client(self, tenant: str) -> Client:
        return Client(self.server.target, token=tenant, retries=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("isolation")
    rights = json.dumps(sorted(Right))
    (folder / "access.toml").write_text(
        "".join(
            f'[[principals]]\nname = "{name}"\ntoken_sha256 = ["{token_hash(name)}"]\ntenant = "{name}"\n'
            f'grants = [{{ rights = {rights}, models = ["*"] }}]\n'
            for name in (OWNER, OTHER)
        )
    )
    flags = ("--access-file", str(folder / "access.toml"), "--http-port", "0")
    with running(folder / "data", *flags) as server:
        server.event("listening")
        with Client(server.target, token=OTHER) as other:
            other.fine_tune(_examples(), model="mine").result()
        with Client(server.target, token=OWNER) as owner:
            owner.fine_tune(_examples(), model="hidden", alias="stable").result()
            owner.update_model("hidden", capture=CapturePolicy(random_fraction=1.0))
            prediction_id = owner.predict(np.float32([2.5, 1.0]), model="hidden").prediction_id
            owner.dataset("hidden-set").upload(_examples())
            assert owner.captured_input("hidden", prediction_id).content
        yield Place(
            server, str(server.event("http_listening")), Names("hidden", "hidden-set", prediction_id, "e0")
        )


def _examples() -> list[Example]:
    values = (-3.0, -2.0, 2.0, 3.0)
    return [
        Example(np.float32([value, 1.0]), label="up" if value > 0 else "down", id=f"e{number}")
        for number, value in enumerate(values)
    ]


CALLS = {
    f"{method}-{form}".rstrip("-"): number for number, (form, method, _) in enumerate(calls_about(MISSING))
}


@pytest.mark.parametrize("transport", ["gRPC", "HTTP"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_about_what_another_tenant_has_is_a_call_about_nothing(
    place: Place, call: str, transport: str
) -> None:
    send = over_grpc if transport == "gRPC" else over_http
    absent = send(place, call, MISSING)
    assert "NOT_FOUND" in absent, absent
    theirs = place.theirs
    assert send(place, call, theirs) == absent
    spelled_out = Names(
        f"{OWNER}/{theirs.model}", f"{OWNER}/{theirs.dataset}", theirs.prediction_id, theirs.example_id
    )
    assert "hidden" not in send(place, call, spelled_out).replace(spelled_out.model, "")


def test_every_method_of_the_loop_is_called() -> None:
    methods = {
        f"{service.name}.{method.name}"
        for module in SERVICES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    called = {method for _, method, _ in calls_about(MISSING)}
    assert {name for name in methods - called if name.partition(".")[2] not in WITHOUT_NAMES} == set()


def test_the_owner_has_everything_still_and_the_other_tenant_lists_nothing(place: Place) -> None:
    with place.client(OWNER) as owner, place.client(OTHER) as other:
        assert [each.dataset for each in owner.datasets()] == ["hidden-set"]
        assert [each.dataset for each in other.datasets()] == []
        assert owner.captured_input("hidden", place.theirs.prediction_id).content
        assert len(list(owner.feedback("hidden"))) == 0
        assert [version.version for version in owner.get_model("hidden").versions] == [1]
        # An erasure in all models of the other tenant erases nothing here.
        with pytest.raises(Exception, match=place.theirs.prediction_id):
            other.erase_example("-", place.theirs.prediction_id)
        assert owner.captured_input("hidden", place.theirs.prediction_id).content


def over_grpc(place: Place, call: str, names: Names) -> str:
    """Return the code, reason and message of a call that fails, without the names."""
    _, method, request = list(calls_about(names))[CALLS[call]]
    service, _, name = method.partition(".")
    with grpc.insecure_channel(place.server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        stub = channel.stream_stream(f"/headstart.v1.{service}/{name}", type(request).SerializeToString)
        list(stub(iter([request]), metadata=(("authorization", f"Bearer {OTHER}"),), timeout=TIMEOUT))
    found = refusal_of(caught.value)
    text = f"{found.code.name} {found.reason} {found.message} {sorted(found.metadata.items())}"
    return _without(text, names)


def over_http(place: Place, call: str, names: Names) -> str:
    """Return the status and the body of a call that fails, without the names."""
    _, method, request = list(calls_about(names))[CALLS[call]]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(_http_request(place, method, request), timeout=TIMEOUT)
    with caught.value as response:
        return _without(f"{response.code} {response.read().decode()}", names)


def _http_request(place: Place, method: str, request: Message) -> urllib.request.Request:
    routes = [each for each in ROUTES if each.method == f"/headstart.v1.{method.replace('.', '/')}"]
    fields: Any = MessageToDict(request, preserving_proto_field_name=True)
    if routes[0].body is Body.EXAMPLES:
        fields = fields["spec"]
    flat = dict(_flat(fields))
    # The longest path whose variables the request has.
    route = max(
        (each for each in routes if set(each.variables) <= set(flat)), key=lambda each: len(each.path)
    )
    path = route.path
    for name in route.variables:
        value = urllib.parse.quote(str(flat.pop(name)), safe="")
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}=**}}", value)
    body, query = _body(route, fields, flat)
    return urllib.request.Request(
        f"http://{place.http}{path}?{urllib.parse.urlencode(query, doseq=True)}",
        data=None if body is None else json.dumps(body).encode(),
        method=route.verb,
        headers={"authorization": f"Bearer {OTHER}", "content-type": "application/json"},
    )


def _body(route: Route, fields: Any, flat: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if route.body is Body.NONE:
        return None, flat
    if route.body is Body.EXAMPLES:
        return {"spec": fields}, {}
    return fields, {}


def _flat(fields: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _without(text: str, names: Names) -> str:
    for name in names.all:
        text = text.replace(name, "NAME").replace(urllib.parse.quote(name, safe=""), "NAME")
    return text
