"""The end of a job is reported by a webhook: by a real server, to a real receiver."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict

from headstart import Client, WebhookState
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2, webhook_pb2
from integration.server.calls import TIMEOUT, Api, refused
from integration.server.receiver import SECRET, Receiver, receiving, secret_file
from server_process import ServerProcess, eventually, running

DELIVERED, PENDING = job_pb2.WEBHOOK_STATE_DELIVERED, job_pb2.WEBHOOK_STATE_PENDING


def examples(count: int = 4) -> list[input_pb2.Example]:
    """Features of two classes: a job of them needs no network."""
    rows = np.eye(2, dtype="<f4")
    return [
        input_pb2.Example(
            input=input_pb2.Input(
                tensor=input_pb2.Tensor(
                    data_type=input_pb2.DATA_TYPE_FLOAT32,
                    shape=[2],
                    data=(rows[place % 2] + place / 100).astype("<f4").tobytes(),
                )
            ),
            label={"class_name": "ab"[place % 2]},
        )
        for place in range(count)
    ]


def submitted(api: Api, model: str, webhook: str = "") -> str:
    spec = job_pb2.FineTuneSpec(model=model, backbone="features:2", webhook=webhook)
    messages = [
        tuning.FineTuneRequest(spec=spec),
        tuning.FineTuneRequest(examples=tuning.ExampleBatch(examples=examples())),
    ]
    return api.fine_tuning.FineTune(iter(messages), timeout=30).job.job_id


def delivery(api: Api, job_id: str) -> job_pb2.WebhookDelivery:
    return api.fine_tuning.Status(tuning.StatusRequest(job_id=job_id), timeout=30).job.webhook


def test_the_end_of_a_job_is_reported_signed_and_shown_in_status(api: Api, model: str, receiver: Receiver):
    job_id = submitted(api, model, f"{receiver.url}/ended?token=t")

    ((path, body, headers),) = receiver.wait(job_id)

    assert path == "/ended?token=t"
    data = body["data"]
    assert (body["type"], data["spec"]["model"], data["version"]) == ("job.succeeded", model, "1")
    assert ParseDict(body, webhook_pb2.WebhookEvent()).data.state == job_pb2.JOB_STATE_SUCCEEDED
    assert headers["webhook-id"] == f"job_{job_id}"
    outcome = eventually(
        lambda: found if (found := delivery(api, job_id)).state == DELIVERED else None, 30, "the outcome"
    )
    assert outcome.attempt_count == 1
    assert outcome.uri == receiver.url


def test_the_client_sets_one_and_reads_what_became_of_it(
    server: ServerProcess, model: str, receiver: Receiver
):
    rows = [(np.array([value], np.float32), label) for value, label in ((0, "a"), (1, "b")) * 2]
    with Client(server.target) as client:
        job = client.fine_tune(rows, model=model, webhook=f"{receiver.url}/client")
        receiver.wait(job.job_id)
        outcome = eventually(
            lambda: found if (found := job.status().webhook) and found.end_time else None,
            30,
            "the outcome",
        )
    assert (outcome.state, outcome.attempt_count, outcome.uri) == (WebhookState.DELIVERED, 1, receiver.url)


def test_a_redirect_is_not_followed(api: Api, model: str, receiver: Receiver):
    job_id = submitted(api, model, f"{receiver.url}/redirect")

    receiver.wait(job_id)
    outcome = eventually(
        lambda: found if (found := delivery(api, job_id)).error else None, 30, "the outcome of a try"
    )

    assert outcome.state == PENDING
    assert "a redirect, which is not followed" in outcome.error
    assert outcome.HasField("next_attempt_time")
    assert "/elsewhere" not in {path for path, _, _ in receiver.posts}


def test_a_url_that_is_not_allowed_is_refused_before_any_example_is_sent(api: Api, model: str):
    refusal = refused(lambda: submitted(api, model, "http://169.254.169.254/latest"))

    assert refusal.reason == "INVALID_FIELD"
    assert "--allow-webhook" in refusal.message


@pytest.mark.timeout(300)  # Two servers start one after the other.
def test_what_was_not_sent_before_a_crash_is_sent_after_it(tmp_path: Path):
    with receiving() as receiver:
        crash_and_tell(tmp_path, receiver)


def crash_and_tell(tmp_path: Path, receiver: Receiver) -> None:
    data, receiver.status = tmp_path / "data", 500
    flags = ("--webhook", f"{receiver.url}/all", "--allow-private-addresses")
    flags += ("--webhook-secret-file", str(secret_file(tmp_path)))
    with running(data, *flags) as server:
        server.wait_until_serving()
        with Api.connect(server.target) as api:
            job_id = submitted(api, "pets")
        receiver.wait(job_id)
        server.kill()

    receiver.status = 204
    with running(data, *flags) as server:
        server.event("listening")
        ids = {headers["webhook-id"] for _, _, headers in receiver.wait(job_id, 2)}
        assert len(ids) == 1
        with Api.connect(server.target) as api:
            eventually(lambda: delivery(api, job_id).state == DELIVERED, TIMEOUT, "the outcome")


def test_the_secret_that_signs_posts_is_never_printed(server: ServerProcess):
    assert server.log
    assert SECRET not in server.log
    assert SECRET not in server.scrape()
