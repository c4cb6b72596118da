"""Feedback on captured predictions retrains a model, from every client and over every protocol."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from headstart import (
    AsyncClient,
    CapturePolicy,
    Client,
    FailedPrecondition,
    InvalidArgument,
    PromotionGate,
    RetrainPolicy,
)
from headstart.v1 import feedback_pb2 as pb
from headstart.v1 import job_pb2, webhook_pb2
from integration.server.calls import TIMEOUT, Api, digit, digits, example
from integration.server.receiver import Receiver
from server_process import ServerProcess, eventually


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.target) as client:
        yield client


@pytest.fixture
def watched(api: Api, client: Client, model: str) -> str:
    """A model that captures all inputs."""
    api.published(digits((0, 1, 7), 8), model=model, alias="stable")
    client.update_model(model, capture=CapturePolicy(random_fraction=1.0))
    return model


def predicted(api: Api, client: Client, model: str, image: bytes) -> str:
    """Predict, and return the ID of the prediction once it is captured."""
    response = api.predict(model, image)
    prediction_id = str(response.results[0].predictions[0].prediction_id)

    def is_captured() -> bool:
        return prediction_id in {each.captured_input.prediction_id for each in client.review(model)}

    eventually(is_captured, TIMEOUT, "captured input")
    return prediction_id


def test_feedback_on_predictions_retrains_the_model_and_moves_its_alias(
    api: Api, client: Client, watched: str
) -> None:
    first, second, third = (predicted(api, client, watched, digit(label, 30)) for label in (0, 1, 7))
    policy = RetrainPolicy(alias="stable", min_feedback_count=2, min_interval_duration=timedelta(0))
    assert client.update_model(watched, retrain=policy).retrain == RetrainPolicy(
        alias="stable",
        min_feedback_count=2,
        min_interval_duration=timedelta(0),
        promote_if=client.get_model(watched).retrain.promote_if,
        unknown_classes="ALLOW",
        max_failures=5,
    )
    handle = client.model(watched)
    assert handle.send_feedback(third, rejected=True).feedback.state == "RECORDED"
    sent = handle.send_feedback(first, confirmed=True, request_id="a")
    assert (sent.outcome, sent.feedback.state, sent.feedback.prediction_id) == ("ACCEPTED", "PENDING", first)
    assert handle.send_feedback(first, confirmed=True, request_id="a").outcome == "REPEATED"
    assert handle.send_feedback(second, label="1").outcome == "ACCEPTED"

    def learned() -> bool:
        return {each.example_id for each in handle.feedback(states=["learned"])} == {first, second}

    eventually(learned, TIMEOUT, "version that learned the feedback")
    assert {each.captured_input.prediction_id for each in client.review(watched)} == set()
    version = client.get_version(watched, alias="stable")
    assert (version.version, version.lineage.feedback_count) == (2, 2)
    (job,) = [each for each in client.jobs(model=watched) if each.status().trigger == "RETRAIN"]
    assert job.status().spec.priority == -10
    summary = handle.feedback_summary()
    assert (summary.total.answer_count, summary.total.correct_count, summary.total.sample_count) == (3, 2, 3)
    assert summary.total.accuracy == pytest.approx(2 / 3)
    assert [each.version for each in summary.versions] == [1]
    assert summary.retrain is not None
    assert (summary.retrain.state, summary.retrain.last_version) == ("IDLE", 2)
    assert {each.state: each.count for each in summary.counts} == {"LEARNED": 2, "RECORDED": 1}


def test_feedback_comes_over_http_and_by_input(
    api: Api, server: ServerProcess, client: Client, watched: str
) -> None:
    prediction_id = predicted(api, client, watched, digit(0, 31))
    address = f"http://{server.event('http_listening')}/v1/models/{watched}/feedback"
    body = json.dumps({"predictionId": prediction_id, "label": {"className": "0"}}).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        assert json.load(response)["outcome"] == "FEEDBACK_OUTCOME_ACCEPTED"
    with urllib.request.urlopen(f"{address}/summary", timeout=TIMEOUT) as response:
        assert json.load(response)["total"]["sampleCount"] == "1"
    sent = client.send_feedback(watched, input=digit(1, 32), label="1", version=1)
    assert (sent.feedback.version, sent.feedback.example_id) == (1, sent.feedback.feedback_id)
    with urllib.request.urlopen(f"{address}?states=FEEDBACK_STATE_PENDING", timeout=TIMEOUT) as response:
        assert len(json.load(response)["feedback"]) == 2


def test_what_cannot_be_learned_is_rejected_with_a_remedy(client: Client, watched: str) -> None:
    with pytest.raises(FailedPrecondition, match="Send the input"):
        client.send_feedback(watched, "unknown", confirmed=True)
    with pytest.raises(InvalidArgument, match="Send the true label"):
        client.send_feedback(watched, input=digit(1, 32), confirmed=True)
    with pytest.raises(InvalidArgument, match="image"):
        client.send_feedback(watched, input=b"no image", label="1")
    with pytest.raises(InvalidArgument, match="never starts a retrain"):
        client.update_model(watched, retrain=RetrainPolicy(alias="stable"))
    with pytest.raises(InvalidArgument, match="a webhook that the server allows"):
        policy = RetrainPolicy(alias="stable", min_feedback_count=1, webhook="https://example.org/in")
        client.update_model(watched, retrain=policy)
    with pytest.raises(ValueError, match="one of label, confirmed and rejected"):
        client.send_feedback(watched, "unknown")


async def test_the_asynchronous_client_sends_feedback(server: ServerProcess, watched: str) -> None:
    async with AsyncClient(server.target) as client:
        sent = await client.model(watched).send_feedback(input=digit(1, 33), label="1")
        assert [each async for each in client.feedback(watched)] == [sent.feedback]
        assert (await client.feedback_summary(watched)).total.answer_count == 0


def test_an_erased_example_has_no_feedback(api: Api, client: Client, watched: str) -> None:
    prediction_id = predicted(api, client, watched, digit(0, 35))
    client.send_feedback(watched, prediction_id, confirmed=True)
    client.erase_example(watched, prediction_id)
    request = pb.ListFeedbackRequest(model=watched)
    assert not api.review.ListFeedback(request, timeout=TIMEOUT).feedback


@pytest.mark.parametrize(("label", "kind"), [("0", "retrain.promoted"), ("1", "retrain.kept")])
def test_the_end_of_a_retrain_is_reported_by_the_webhook_of_its_policy(
    api: Api, client: Client, model: str, receiver: Receiver, label: str, kind: str
) -> None:
    held_out = [
        example(digit(name, place), str(name), held_out=True) for name in (0, 1, 7) for place in range(20, 32)
    ]
    api.published([*digits((0, 1, 7), 8), *held_out], model=model, alias="stable")
    # Twelve zeros that are called ones lower the accuracy.
    loose, strict = (
        PromotionGate(max_drop=1.0, max_class_drop=1.0),
        PromotionGate(max_drop=0.0, significance=1.0),
    )
    policy = RetrainPolicy(
        alias="stable",
        min_feedback_count=12,
        min_interval_duration=timedelta(0),
        promote_if=loose if kind == "retrain.promoted" else strict,
        webhook=f"{receiver.url}/retrained",
    )
    client.update_model(model, retrain=policy)
    for place in range(40, 52):
        client.model(model).send_feedback(input=digit(0, place), label=label)

    def retrains() -> list[Any] | None:
        return [each for each in client.jobs(model=model) if each.status().trigger == "RETRAIN"] or None

    (job,) = eventually(retrains, TIMEOUT, "retrain")
    ((path, body, headers),) = receiver.wait(job.job_id)
    assert (path, body["type"], body["data"]["spec"]["model"]) == ("/retrained", kind, model)
    assert ParseDict(body, webhook_pb2.WebhookEvent()).data.trigger == job_pb2.JOB_TRIGGER_RETRAIN
    assert headers["webhook-id"] == f"job_{job.job_id}"
    assert client.get_version(model, alias="stable").version == (2 if kind == "retrain.promoted" else 1)
