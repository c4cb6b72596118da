"""Requests of Label Studio through the HTTP port: callers, paths, bodies, and tasks of every kind."""

import asyncio
import base64
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.v1 import feedback_pb2, input_pb2, label_pb2, model_pb2, model_service_pb2
from headstart.v1 import model_service_pb2_grpc as model_stubs
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as prediction_stubs
from headstart.v1 import review_service_pb2_grpc as review_stubs
from headstart_server.api.grpc.access import AccessCheck
from headstart_server.api.grpc.call import Call, CallCheck
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http.body_storage import BodyStorage
from headstart_server.api.http.gateway import Gateway
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.label_studio import annotations, label_studio
from headstart_server.api.label_studio.contents import TaskContents
from headstart_server.api.label_studio.label_studio import LabelStudio
from headstart_server.api.label_studio.labeling import Labeling, labeling_of
from headstart_server.api.label_studio.predicting import TaskPredictor
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator
from headstart_server.auth.tokens import token_hash
from headstart_server.errors import (
    ModelNotFound,
    PermissionDenied,
    PredictionNotCaptured,
    Unauthenticated,
    UndecodableInput,
    UnknownClass,
)
from headstart_server.observability.telemetry import Telemetry
from headstart_server.prediction.prediction_capture import is_traffic

CONFIG = """<View><Text name="text" value="$text"/><Choices name="kind" toName="text">
<Choice value="cat"/><Choice value="dog"/></Choices></View>"""
MULTIPLE = CONFIG.replace("<Choices", '<Choices choice="multiple"')


class Models(model_stubs.ModelServiceServicer):
    """Has one model of one version."""

    async def GetVersion(  # noqa: N802
        self, request: model_service_pb2.GetVersionRequest, context: Any
    ) -> model_service_pb2.GetVersionResponse:
        if request.target.model != "pets":
            raise ModelNotFound("There is no such model.")
        version = model_pb2.Version(model="pets", version=3, task=input_pb2.TASK_SINGLE_LABEL)
        return model_service_pb2.GetVersionResponse(version=version)


class Predictions(prediction_stubs.PredictionServiceServicer):
    """Predicts the text itself; refuses texts that begin with `bad`."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.were_traffic: list[bool] = []
        #: Waited for by each call with the number of its inputs.
        self.before: Callable[[int], Awaitable[object]] | None = None

    async def Predict(self, request: pb.PredictRequest, context: Any) -> pb.PredictResponse:  # noqa: N802
        self.counts.append(len(request.inputs))
        self.were_traffic.append(is_traffic())
        if self.before is not None:
            await self.before(len(request.inputs))
        assert request.skip_invalid_inputs
        assert (request.targets[0].model, request.targets[0].version) == ("pets", 3)
        bad = [place for place, each in enumerate(request.inputs) if each.text.startswith("bad")]
        if len(bad) == len(request.inputs):
            raise UndecodableInput("Every input is bad.")
        found = [
            pb.Prediction(
                label=label_pb2.Label(class_name=each.text),
                classes=[pb.ClassProbability(name=each.text, probability=0.75)],
            )
            for each in request.inputs
        ]
        for place in bad:
            found[place] = pb.Prediction()
        return pb.PredictResponse(
            results=[pb.VersionPredictions(model="pets", version=3, predictions=found)],
            faults=[pb.InputFault(index=place) for place in bad],
        )


class Reviews(review_stubs.ReviewServiceServicer):
    """Knows one captured prediction, and keeps the feedback."""

    def __init__(self) -> None:
        self.sent: list[feedback_pb2.SendFeedbackRequest] = []

    async def SendFeedback(  # noqa: N802
        self, request: feedback_pb2.SendFeedbackRequest, context: Any
    ) -> feedback_pb2.SendFeedbackResponse:
        if request.prediction_id not in ("", "captured"):
            raise PredictionNotCaptured("No input of this prediction is stored.")
        if request.label.class_name == "bird":
            raise UnknownClass("The model does not know this class.")
        self.sent.append(request)
        feedback = feedback_pb2.Feedback(feedback_id=f"f{len(self.sent)}")
        return feedback_pb2.SendFeedbackResponse(feedback=feedback)


class TokenCheck(CallCheck):
    """Admits callers with the token; a slow check waits until `checked`."""

    def __init__(self) -> None:
        self.is_slow = False
        self.begun, self.checked = asyncio.Event(), asyncio.Event()

    async def begin(self, call: Call) -> None:
        if dict(call.context.invocation_metadata() or ()).get("authorization") != "Bearer word":
            raise Unauthenticated("Send a token.")

    async def knows(self, method: str, context: Any) -> bool:
        if self.is_slow:
            self.begun.set()
            await self.checked.wait()
        return dict(context.invocation_metadata() or ()).get("authorization") == "Bearer word"


class Contents(TaskContents):
    """Keeps the tasks whose contents were read."""

    def __init__(self) -> None:
        super().__init__(None, None, 500)
        self.read: list[Any] = []

    async def input_of(self, labeling: Labeling, data: Any, tenant: str) -> input_pb2.Input:
        self.read.append(data)
        return await super().input_of(labeling, data, tenant)


class Site:
    """The HTTP port of a server with one model."""

    def __init__(
        self,
        folder: Path,
        *checks: CallCheck,
        message_bytes: int = 1 << 20,
        max_calls: int = 4,
        contents: TaskContents | None = None,
        authorization: str = "",
    ) -> None:
        self._headers = {"authorization": authorization} if authorization else {}
        server = InProcessServer(CallInterceptor(CallObserver(Telemetry("test")), checks))
        self.predictions = Predictions()
        model_stubs.add_ModelServiceServicer_to_server(Models(), server.server)
        self.reviews = Reviews()
        review_stubs.add_ReviewServiceServicer_to_server(self.reviews, server.server)
        prediction_stubs.add_PredictionServiceServicer_to_server(self.predictions, server.server)
        limits = UploadLimits(
            message_bytes=message_bytes,
            input_bytes=500,
            dataset_bytes=9000,
            examples=10,
            inputs=16,
            storage=BodyStorage(folder),
        )
        label_studio = LabelStudio(server, limits, contents or TaskContents(None, None, 500))
        self.gateway = Gateway(server, limits, max_calls=max_calls, version="1", protocols=[label_studio])

    async def ask(self, verb: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Code and content."""
        sent: list[dict[str, Any]] = []
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        requested = [{"type": "http.request", "body": content}]

        async def receive() -> dict[str, Any]:
            if requested:
                return requested.pop()
            await asyncio.Event().wait()
            return {}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http",
            "method": verb,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost")]
            + [(name.encode(), text.encode()) for name, text in (self._headers | headers).items()],
            "client": ("127.0.0.1", 4321),
        }
        await self.gateway(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(event["body"] for event in sent[1:]))

    async def predict(self, *texts: Any, config: str = CONFIG) -> tuple[int, Any]:
        tasks = [{"id": place, "data": {"text": text}} for place, text in enumerate(texts)]
        return await self.ask(
            "POST", "/label-studio/pets/predict", {"tasks": tasks, "label_config": config, "project": "1.17"}
        )

    async def annotate(self, annotated: Any, task: Any = None, **fields: Any) -> tuple[int, Any]:
        event = {
            "action": "ANNOTATION_CREATED",
            "annotation": annotated,
            "task": task or {"id": 1, "data": {"text": "a text"}},
            "project": {"id": 1, "label_config": CONFIG},
            **fields,
        }
        return await self.ask("POST", "/label-studio/pets/webhook", event)


def annotation(name: str = "cat", **fields: Any) -> dict[str, Any]:
    result = {
        "id": "Xy12",
        "from_name": "kind",
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [name]},
    }
    return {"id": 7, "unique_id": "u7", "updated_at": "2026-01-01T00:00:00Z", "result": [result], **fields}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("name", ["pets", "pets@3", "pets@stable", "pets%403"])
async def test_a_backend_is_healthy_and_names_its_version(site: Site, name: str) -> None:
    assert await site.ask("GET", f"/label-studio/{name}/health") == (
        200,
        {"status": "UP", "model_class": "pets"},
    )
    assert await site.ask("POST", f"/label-studio/{name}/setup", {"schema": CONFIG}) == (
        200,
        {"model_version": "pets@3"},
    )
    assert (await site.ask("GET", f"/label-studio/{name}/versions"))[1] == {"versions": ["pets@3"]}


@pytest.mark.parametrize(
    ("verb", "path", "code"),
    [
        ("GET", "/label-studio", 404),
        ("GET", "/label-studio/", 404),
        ("GET", "/label-studio/health", 404),
        ("GET", "/label-studio/pets/other", 404),
        ("POST", "/label-studio/pets/health", 404),
        ("GET", "/label-studio/pets/predict", 404),
        ("GET", "/label-studio/none/health", 404),
        ("GET", "/label-studio/@stable/health", 400),
        ("GET", "/label-studio/%00/health", 400),
    ],
)
async def test_other_paths_are_refused_with_the_expected_one(
    site: Site, verb: str, path: str, code: int
) -> None:
    answered, content = await site.ask(verb, path)
    assert answered == code, content
    assert content["message"]


async def test_tasks_get_pre_annotations_in_their_order(site: Site) -> None:
    code, content = await site.predict("cat", "bad", "dog", "bird", 7, "cat")
    assert code == 200
    assert content["model_version"] == "pets@3"
    shown = [
        each["result"][0]["value"]["choices"][0] if each["result"] else None for each in content["results"]
    ]
    # A class that the project does not have is not shown: Label Studio would refuse all predictions for it.
    assert shown == ["cat", None, "dog", None, None, "cat"]
    assert content["results"][0] == {
        "result": [
            {"from_name": "kind", "to_name": "text", "type": "choices", "value": {"choices": ["cat"]}}
        ],
        "model_version": "pets@3",
        "score": 0.75,
    }
    assert content["results"][1] == {"result": [], "model_version": "pets@3"}


async def test_pre_annotations_stay_out_of_the_random_sample(site: Site) -> None:
    assert (await site.predict("cat"))[0] == 200
    assert site.predictions.were_traffic == [False]
    assert is_traffic()


async def test_many_tasks_become_several_calls_of_the_allowed_size(site: Site) -> None:
    code, content = await site.predict(*["cat"] * 100)
    assert code == 200
    assert len(content["results"]) == 100
    assert all(each["result"] for each in content["results"])
    assert sum(site.predictions.counts) == 100
    assert max(site.predictions.counts) <= 16


async def test_a_short_request_does_not_wait_for_the_end_of_long_ones(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    are_running, is_waiting, is_done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    original = TaskPredictor.predict

    async def predict(self: TaskPredictor, *arguments: Any) -> Any:
        if len(arguments[-1]) == 1:
            # Once this task waits for its turn.
            asyncio.get_running_loop().call_soon(is_waiting.set)
        return await original(self, *arguments)

    async def before(count: int) -> None:
        if count == 16:
            begun = site.predictions.counts.count(16)
            if begun == 2:
                are_running.set()
            # Both long requests wait in their first call, and in their second one.
            await (is_waiting if begun <= 2 else is_done).wait()

    monkeypatch.setattr(TaskPredictor, "predict", predict)
    site.predictions.before = before
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        long = [group.create_task(site.predict(*["cat"] * 48)) for _ in range(2)]
        await are_running.wait()
        assert (await site.predict("dog"))[0] == 200
        is_done.set()
    assert [each.result()[0] for each in long] == [200, 200]


async def test_if_no_task_can_be_predicted_the_reason_is_reported(site: Site) -> None:
    code, content = await site.predict("bad", "bad too")
    assert code == 400
    assert content["message"] == "Every input is bad."
    code, content = await site.predict(7)
    assert code == 400
    assert "data.text" in content["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"tasks": 3}',
        b'{"tasks": [3]}',
        b"[" * 100_000,
        b'{"label_config": "' + b"a" * 100_000 + b'"}',
        {
            "tasks": [{"data": {"text": "cat"}}],
            "label_config": CONFIG.replace("<Choices", "<Choices choice='multiple'"),
        },
        {"tasks": [{}] * 10_001, "label_config": CONFIG},
        {"tasks": [{"data": []}], "label_config": CONFIG},
    ],
)
async def test_malformed_requests_are_refused(site: Site, body: Any) -> None:
    code, content = await site.ask("POST", "/label-studio/pets/predict", body)
    assert code == 400, content
    assert "expected" in content["message"].lower() or re.search("needs|Send a", content["message"])


async def test_large_bodies_are_refused(site: Site) -> None:
    code, _ = await site.ask("POST", "/label-studio/pets/predict", b" " * (3 << 20))
    assert code == 413


async def test_the_password_of_basic_authentication_is_the_token(tmp_path: Path) -> None:
    site = Site(tmp_path, TokenCheck())

    def basic(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    path = "/label-studio/pets/health"
    assert (await site.ask("GET", path, authorization=basic("anyone:word")))[0] == 200
    assert (await site.ask("GET", path, authorization="Bearer word"))[0] == 200
    for wrong in (basic("word"), basic("word:"), basic("a:other"), "Basic !!!", "Basic", ""):
        code, content = await site.ask("GET", path, authorization=wrong)
        assert (code, content["message"]) == (401, "Send a token.")
    assert (await site.ask("POST", "/label-studio/pets/predict", b"["))[0] == 401


class RightCheck(CallCheck):
    """Denies every right on the model that a request names."""

    async def request(self, call: Call, message: Any) -> None:
        raise PermissionDenied("You lack the permission predict on this model.")


@pytest.mark.parametrize("work", ["predict", "setup", "webhook"])
async def test_the_body_of_a_caller_without_permission_is_not_read(tmp_path: Path, work: str) -> None:
    site = Site(tmp_path, RightCheck())
    assert (await site.ask("POST", f"/label-studio/pets/{work}", b"["))[0] == 403
    assert (await Site(tmp_path).ask("POST", f"/label-studio/pets/{work}", b"["))[0] == 400


async def test_a_request_whose_token_is_being_checked_is_no_call_under_way(tmp_path: Path) -> None:
    guarded = TokenCheck()
    site = Site(tmp_path, guarded, max_calls=1)
    guarded.is_slow = True
    waiting = asyncio.ensure_future(site.ask("GET", "/label-studio/pets/health", authorization="Bearer slow"))
    await guarded.begun.wait()
    guarded.is_slow = False
    assert (await site.ask("GET", "/label-studio/pets/health", authorization="Bearer word"))[0] == 200
    guarded.checked.set()
    assert (await waiting)[0] == 401


@pytest.mark.parametrize(
    ("right", "refused"),
    [("predict", ["SendFeedback"]), ("feedback", ["Predict"]), ("review", ["Predict", "SendFeedback"])],
)
async def test_contents_are_read_only_for_callers_who_may_use_them(
    tmp_path: Path, right: str, refused: list[str]
) -> None:
    access, log, contents = tmp_path / "access.toml", tmp_path / "audit.jsonl", Contents()
    access.write_text(
        f'[[principals]]\nname = "caller"\ntoken_sha256 = ["{token_hash("word")}"]\n'
        f'grants = [{{ rights = ["{right}"], models = ["pets"] }}]\n'
    )
    check = AccessCheck(Authenticator(access), lambda _: "", AuditLog(log))
    site = Site(tmp_path, check, contents=contents, authorization="Bearer word")

    answers = {"Predict": await site.predict("cat"), "SendFeedback": await site.annotate(annotation())}

    for method, (code, content) in answers.items():
        assert (code == 403, "You lack the permission" in str(content)) == (method in refused,) * 2
    assert len(contents.read) == 2 - len(refused)
    lines = map(json.loads, log.read_text().splitlines())
    assert [
        line["method"].split("/")[-1] for line in lines if line["outcome"] == "PERMISSION_DENIED"
    ] == refused


async def test_a_compressed_body_is_refused(site: Site) -> None:
    kind = {"content-encoding": "gzip"}
    code, content = await site.ask("POST", "/label-studio/pets/predict", b"\x1f\x8b", **kind)
    assert (code, content["message"].partition(".")[0]) == (
        415,
        "Bodies with Content-Encoding 'gzip' are not accepted",
    )


async def test_an_annotation_is_feedback_on_the_input(site: Site) -> None:
    assert await site.annotate(annotation("cat")) == (200, {"feedback": ["f1"]})
    (sent,) = site.reviews.sent
    assert (sent.model, sent.input.text, sent.label.class_name) == ("pets", "a text", "cat")
    assert not sent.prediction_id


async def test_an_accepted_pre_annotation_is_feedback_on_the_prediction(site: Site) -> None:
    accepted = annotation("cat")
    accepted["result"][0]["id"] = "captured"
    await site.annotate(accepted)
    assert site.reviews.sent[0].prediction_id == "captured"


async def test_the_same_state_of_an_annotation_has_the_same_request_id(site: Site) -> None:
    changed = annotation("dog", updated_at="2026-01-01T00:01:00Z")
    for each in (annotation(), annotation(), changed, annotation(unique_id="other")):
        await site.annotate(each)
    first, again, later, other = (sent.request_id for sent in site.reviews.sent)
    assert first == again
    assert len({first, later, other}) == 3


async def test_several_annotations_of_one_event(site: Site) -> None:
    tasks = [{"data": {"text": text}} for text in ("one", "two")]
    code, content = await site.annotate(
        [annotation("cat"), annotation("dog")], tasks, action="ANNOTATIONS_CREATED"
    )
    assert (code, content) == (200, {"feedback": ["f1", "f2"]})
    assert [(sent.input.text, sent.label.class_name) for sent in site.reviews.sent] == [
        ("one", "cat"),
        ("two", "dog"),
    ]


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"was_cancelled": True}, {}),
        ({"result": []}, {}),
        ({}, {"action": "ANNOTATIONS_DELETED"}),
        ({}, {"action": "PROJECT_UPDATED"}),
        ({}, {"action": None}),
    ],
)
async def test_events_without_an_answer_are_accepted_and_ignored(
    site: Site, changed: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert await site.annotate(annotation(**changed), **fields) == (200, {"feedback": []})
    assert site.reviews.sent == []


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"result": "cat"}, {}),
        ({}, {"annotation": None}),
        ({}, {"annotation": [3]}),
        ({}, {"task": [{}, {}]}),
        ({}, {"task": {"data": {"text": 3}}}),
        ({}, {"project": None}),
        ({}, {"project": {"label_config": MULTIPLE}}),
    ],
)
async def test_malformed_events_are_refused_and_logged(
    site: Site, changed: dict[str, Any], fields: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, content = await site.annotate(annotation(**changed), **fields)
    assert code == 400, content
    assert "label_studio_annotation_failed" in capsys.readouterr().out


async def test_refused_feedback_is_reported_and_logged(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    code, content = await site.annotate(annotation("bird"))
    assert (code, content["message"]) == (400, "The model does not know this class.")
    assert "label_studio_annotation_failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changed",
    [
        {"unique_id": "x" * (MAX_TEXT + 1)},
        {"result": [*annotation()["result"], {"from_name": "note", "value": {"text": "x" * (MAX_TEXT + 1)}}]},
    ],
)
async def test_long_strings_of_annotations_are_part_of_their_request_id(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    site = Site(tmp_path, message_bytes=4 << 20)
    longer = json.loads(json.dumps(changed).replace("xx", "xxx", 1))
    for fields in (changed, changed, longer):
        code, content = await site.annotate(annotation(**fields))
        assert code == 200, content
    first, again, other = (sent.request_id for sent in site.reviews.sent)
    assert first == again != other


async def test_half_of_a_surrogate_pair_is_refused_wherever_it_is(site: Site) -> None:
    half = "\ud800"
    for answer in (
        await site.annotate(annotation(half)),
        await site.annotate(annotation(result=[{**annotation()["result"][0], "id": half}])),
        await site.annotate(annotation(), {"data": {"text": half}}),
        await site.predict("a text", half),
    ):
        code, content = answer
        assert (code, "half of a surrogate pair" in content["message"]) == (400, True), content


async def test_a_text_with_nul_is_left_out_as_an_unusable_one(site: Site) -> None:
    code, content = await site.predict("cat", "a\0b", "dog")
    assert (code, [bool(each["result"]) for each in content["results"]]) == (200, [True, False, True])


async def test_a_configuration_that_is_too_long_is_refused_for_its_length(tmp_path: Path) -> None:
    site = Site(tmp_path, message_bytes=4 << 20)
    code, content = await site.predict("cat", config=CONFIG + " " * MAX_TEXT)
    assert (code, "is too long" in content["message"]) == (400, True)


async def test_configurations_are_read_outside_of_the_event_loop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[bool] = []

    def read(config: Any) -> Any:
        readers.append(threading.current_thread() is threading.main_thread())
        return labeling_of(config)

    for module in (annotations, label_studio):
        monkeypatch.setattr(module, "labeling_of", read)
    assert (await site.predict("cat"))[0] == 200
    assert (await site.annotate(annotation()))[0] == 200
    assert (await site.ask("POST", "/label-studio/pets/setup", {"schema": CONFIG}))[0] == 200
    assert readers == [False] * 3
