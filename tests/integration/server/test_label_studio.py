"""The real Label Studio uses a server as its ML backend: it shows predictions, and its annotations teach."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from foreign.label_studio import TOKEN, LabelStudio, label_studio
from headstart.v1 import capture_policy_pb2, feedback_pb2, input_pb2, model_service_pb2
from integration.server.calls import TIMEOUT, Api, digit, digits
from programs import LABEL_STUDIO
from server_process import ServerProcess, running

# The first use installs Label Studio, and its first start creates a database.
pytestmark = pytest.mark.timeout(900)

CLASSES = ("0", "1", "7")
IMAGES = """<View><Image name="img" value="$image"/>
<Choices name="digit" toName="img" choice="single">{}</Choices></View>"""
DIGITS = IMAGES.format("".join(f'<Choice value="{name}"/>' for name in CLASSES))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    try:
        with label_studio(tmp_path_factory.mktemp("label-studio")) as studio:
            yield studio
    except subprocess.CalledProcessError:
        LABEL_STUDIO.refuse()


@pytest.fixture(scope="module")
def backend(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that may read the files of the Label Studio."""
    data = tmp_path_factory.mktemp("backend") / "data"
    flags = ("--http-port", "0", "--label-studio-url", studio.url, "--label-studio-token", TOKEN)
    with running(data, *flags) as server:
        server.wait_until_serving()
        yield server


@pytest.fixture(scope="module")
def api(backend: ServerProcess) -> Iterator[Api]:
    with Api.connect(backend.target) as api:
        yield api


@pytest.fixture(scope="module")
def model(api: Api) -> str:
    return api.published(digits((0, 1, 7), 12), model="digits").spec.model


def url(backend: ServerProcess, path: str) -> str:
    return f"http://{backend.event('http_listening')}/label-studio/{path}"


def test_predictions_are_pre_annotations_with_scores(
    studio: LabelStudio, backend: ServerProcess, api: Api, model: str
):
    project = studio.project(DIGITS)
    contents = [digit(label, 40) for label in (0, 1, 7)]
    studio.upload(project, {f"{place}.png": content for place, content in enumerate(contents)})

    connected = studio.connect(project, url(backend, model))
    assert connected["readable_state"] == "Connected"
    assert connected["model_version"] == f"{model}@1"
    studio.predict(project)

    expected = api.predict(model, *contents, top_k=1).results[0].predictions
    for shown, ours in zip(studio.predictions(project), expected, strict=True):
        (result,) = shown["result"]
        assert (result["from_name"], result["to_name"], result["type"]) == ("digit", "img", "choices")
        assert result["value"] == {"choices": [ours.label.class_name]}
        assert shown["score"] == pytest.approx(ours.classes[0].probability, abs=1e-6)
        assert shown["model_version"] == f"{model}@1"


def test_a_task_whose_file_cannot_be_read_gets_no_pre_annotation(
    studio: LabelStudio, backend: ServerProcess, model: str
):
    project = studio.project(DIGITS)
    studio.upload(project, {"good.png": digit(1, 41), "bad.png": b"no image"})
    studio.import_tasks(project, [{"image": f"{studio.url}/data/upload/9/missing.png"}])
    studio.import_tasks(project, [{"image": "http://127.0.0.1:1/elsewhere.png"}])

    studio.connect(project, url(backend, f"{model}@1"))
    studio.predict(project)

    assert [len(each["result"]) for each in studio.predictions(project)] == [1, 0, 0, 0]


def test_texts_with_any_number_of_classes(studio: LabelStudio, backend: ServerProcess, api: Api):
    words = {"red": "a red car", "big": "a big house", "both": "a big red bus", "none": "a small blue boat"}
    names = {"red": ["red"], "big": ["big"], "both": ["red", "big"], "none": []}
    examples = [
        input_pb2.Example(
            input=input_pb2.Input(text=f"{text} {place}"), label={"classes": {"class_names": names[kind]}}
        )
        for kind, text in words.items()
        for place in range(6)
    ]
    api.published(examples, model="words", task=input_pb2.TASK_MULTI_LABEL)
    project = studio.project(
        '<View><Text name="text" value="$text"/><Choices name="kind" toName="text" choice="multiple">'
        '<Choice value="red"/><Choice value="big"/></Choices></View>'
    )
    studio.import_tasks(project, [{"text": "a big red bus 9"}, {"text": "a small blue boat 9"}])

    studio.connect(project, url(backend, "words"))
    studio.predict(project)

    both, neither = studio.predictions(project)
    assert set(both["result"][0]["value"]["choices"]) == {"red", "big"}
    assert 0.5 <= both["score"] <= 1
    assert neither["result"] == []


def test_numbers(studio: LabelStudio, backend: ServerProcess, api: Api):
    examples = [
        input_pb2.Example(input=input_pb2.Input(image=digit(label, place)), label={"number": float(label)})
        for label in (0, 1, 7)
        for place in range(12)
    ]
    api.published(examples, model="sizes")
    project = studio.project(
        '<View><Image name="img" value="$image"/><Number name="size" toName="img"/></View>'
    )
    studio.upload(project, {"7.png": digit(7, 40)})

    studio.connect(project, url(backend, "sizes"))
    studio.predict(project)

    (shown,) = studio.predictions(project)
    ours = api.predict("sizes", digit(7, 40)).results[0].predictions[0]
    assert shown["result"][0]["type"] == "number"
    assert shown["result"][0]["value"]["number"] == pytest.approx(ours.label.number, abs=1e-6)


@pytest.mark.parametrize(
    ("path", "config", "said"),
    [("missing", DIGITS, "404 Client Error"), ("digits", DIGITS.replace("single", "multiple"), "400 Client")],
)
def test_a_backend_that_does_not_fit_the_project_is_not_connected(
    studio: LabelStudio, backend: ServerProcess, model: str, path: str, config: str, said: str
):
    with pytest.raises(AssertionError, match=said):
        studio.connect(studio.project(config), url(backend, path))


def chosen(name: str, **fields: Any) -> list[dict[str, Any]]:
    """The results of an annotation with one choice."""
    value = {"choices": [name]}
    return [{"from_name": "digit", "to_name": "img", "type": "choices", "value": value, **fields}]


def feedback(api: Api, model: str) -> list[feedback_pb2.Feedback]:
    """The feedback of a model, the oldest first."""
    request = feedback_pb2.ListFeedbackRequest(model=model)
    return list(reversed(api.review.ListFeedback(request, timeout=TIMEOUT).feedback))


def test_annotations_are_feedback(studio: LabelStudio, backend: ServerProcess, api: Api):
    api.published(digits((0, 1, 7), 12), model="taught")
    project = studio.project(DIGITS)
    studio.upload(project, {f"{label}.png": digit(label, 42) for label in (0, 1, 7)})
    studio.connect(project, url(backend, "taught"))
    first, second, third = studio.tasks(project)

    annotation = studio.annotate(first["id"], chosen("7"))
    studio.annotate(second["id"], chosen("1"), was_cancelled=True)
    studio.annotate(third["id"], [])

    (sent,) = feedback(api, "taught")
    assert sent.label.class_name == "7"
    assert sent.state == feedback_pb2.FEEDBACK_STATE_PENDING
    assert not sent.prediction_id

    studio.ask(f"/api/annotations/{annotation['id']}", {"result": chosen("0")}, verb="PATCH")
    before, after = feedback(api, "taught")
    assert before.state == feedback_pb2.FEEDBACK_STATE_SUPERSEDED
    assert (after.label.class_name, after.state) == ("0", feedback_pb2.FEEDBACK_STATE_PENDING)


def test_an_accepted_pre_annotation_is_feedback_on_its_prediction(
    studio: LabelStudio, backend: ServerProcess, api: Api
):
    api.published(digits((0, 1, 7), 12), model="captured")
    policy = capture_policy_pb2.CapturePolicy(random_fraction=1.0, max_margin=1.0)
    api.models.UpdateModel(
        model_service_pb2.UpdateModelRequest(
            model="captured", capture=policy, update_mask={"paths": ["capture"]}
        ),
        timeout=TIMEOUT,
    )
    project = studio.project(DIGITS)
    studio.upload(project, {"7.png": digit(7, 42)})
    studio.connect(project, url(backend, "captured"))
    studio.predict(project)
    (task,), (shown,) = studio.tasks(project), studio.predictions(project)

    # What the labeling interface sends for an accepted prediction: its results, with their IDs.
    studio.annotate(task["id"], shown["result"], parent_prediction=shown["id"])

    (sent,) = feedback(api, "captured")
    assert sent.prediction_id == shown["result"][0]["id"]
    assert sent.label.class_name == shown["result"][0]["value"]["choices"][0]
    assert sent.predicted == sent.label
    # Someone chose the task, so it does not count for the accuracy of the model's traffic.
    assert not sent.random_sample
