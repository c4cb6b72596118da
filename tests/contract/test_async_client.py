import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc
import numpy as np
import pytest

from contract.conftest import QUICK
from contract.fake_server import (
    UNAVAILABLE,
    FakeServer,
    Fault,
    event,
    job,
    predicted_unless_bad,
    rebuilt_response,
)
from headstart import (
    AsyncClient,
    InvalidArgument,
    JobFailed,
    JobState,
    NotFound,
    Prediction,
    PredictionError,
    Text,
    Unavailable,
)
from headstart.inputs import tensors
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import prediction_service_pb2 as predicting

LOST = Fault(code=grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.target, retries=QUICK, timeout=20) as client:
        yield client


async def test_a_folder_is_fine_tuned_and_waited_for(client: AsyncClient, server: FakeServer, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").write_bytes(label.encode())
    reports, numbers = [], []

    job = await client.fine_tune(tmp_path, model="pets", on_upload=lambda *report: reports.append(report))
    version = await job.result(on_event=lambda each: numbers.append(each.number))

    spec, batch = server.requests["FineTune"][0]
    assert spec.spec.model == "pets"
    assert [each.label.class_name for each in batch.examples.examples] == ["cat", "dog"]
    assert reports[-1] == (2, 2)
    assert numbers == [1, 2, 3]
    assert version.version == 3


async def test_a_uri_is_left_to_the_server_to_read(client: AsyncClient, server: FakeServer):
    await client.fine_tune("gs://bucket/labels.csv", model="pets")

    ((first,),) = server.requests["FineTune"]
    assert first.spec.dataset_uri == "gs://bucket/labels.csv"


async def test_a_broken_upload_is_sent_again_with_the_same_request_id(
    client: AsyncClient, server: FakeServer
):
    server.script("FineTune", Fault(code=grpc.StatusCode.UNAVAILABLE, after_messages=1), UNAVAILABLE)

    await client.fine_tune(((bytes(5000), "ab"[n % 2]) for n in range(1000)), model="m")

    assert len(server.requests["FineTune"]) == 3
    assert len({stream[0].spec.request_id for stream in server.requests["FineTune"]}) == 1
    assert sum(len(each.examples.examples) for each in server.requests["FineTune"][-1]) == 1000


async def test_an_error_before_the_end_of_the_stream_stops_the_upload(
    client: AsyncClient, server: FakeServer
):
    server.script(
        "FineTune", Fault(code=grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", after_messages=1)
    )

    def endless():
        while True:
            yield bytes(100_000), "a"

    with pytest.raises(InvalidArgument):
        await client.fine_tune(endless(), model="m")


async def test_a_fault_of_the_caller_s_own_leaves_no_half_dataset(client: AsyncClient, server: FakeServer):
    def examples():
        yield b"1", "a"
        assert server.started.wait(60)
        yield "nowhere.jpg", "a"

    server.expects_broken = True
    with pytest.raises(FileNotFoundError):
        await client.fine_tune(examples(), model="m")

    assert await asyncio.to_thread(server.broken.wait, 15)
    assert server.received == []


async def test_validation_gives_the_findings(client: AsyncClient, server: FakeServer):
    server.script(
        "FineTune", tuning.FineTuneResponse(validation=tuning.Validation(valid=True, example_count=1))
    )

    found = await client.validate([(b"1", "a")], model="m")

    assert found.valid
    assert server.requests["FineTune"][0][0].spec.validate_only


async def test_monitoring_takes_up_where_the_connection_was_lost(client: AsyncClient, server: FakeServer):
    server.script("Watch", [event(1), LOST], [event(1), event(2)], [event(3, "SUCCEEDED")])
    server.script("Status", tuning.StatusResponse(job=job("RUNNING", last_event=2)))

    assert [each.number async for each in client.job("job-1").watch()] == [1, 2, 3]


async def test_monitoring_all_jobs_continues_from_the_last_token_without_repeating_events(
    client: AsyncClient, server: FakeServer
):
    def watched(number: int, token: str = "") -> tuning.WatchJobsResponse:
        return tuning.WatchJobsResponse(event=event(number), resume_token=token)

    life = tuning.WatchJobsResponse(resume_token="t2")
    server.script(
        "WatchJobs", [watched(1, "t1"), watched(2), LOST], [watched(2), watched(3), life], [watched(4)]
    )
    seen = []
    async with aclosing(client.watch_jobs("pets")) as events:
        async for each in events:
            seen.append(each.number)
            if each.number == 4:
                break

    assert seen == [1, 2, 3, 4]
    assert [request.resume_token for request in server.requests["WatchJobs"]] == ["", "t1", "t2"]
    assert {request.model for request in server.requests["WatchJobs"]} == {"pets"}


async def test_waiting_bears_with_an_outage_and_raises_the_job_s_error(
    client: AsyncClient, server: FakeServer
):
    failed = tuning.StatusResponse(job=job("FAILED", error={"code": 13, "message": "broke"}))
    server.script("Status", *[UNAVAILABLE] * 12, tuning.StatusResponse(job=job("RUNNING")), failed)

    with pytest.raises(JobFailed, match="broke"):
        await client.job("job-1").result()


async def test_waiting_too_long_is_a_timeout(client: AsyncClient, server: FakeServer):
    server.standing["Status"] = tuning.StatusResponse(job=job("RUNNING"))

    with pytest.raises(TimeoutError, match="continues"):
        await client.job("job-1").result(timeout=0.01)


async def test_many_inputs_go_in_several_calls(client: AsyncClient, server: FakeServer):
    predictions = await client.predict([str(n).encode() for n in range(300)], model="pets")

    assert [each.label for each in predictions] == [str(n) for n in range(300)]
    assert len(server.requests["Predict"]) == 2
    assert (await client.predict(b"cat", model="pets")).label == "cat"
    assert (await client.predict_many(b"cat", ["pets", "breeds"])).results[1].model == "breeds"


async def test_features_come_by_view(client: AsyncClient, server: FakeServer):
    server.standing["Embed"] = lambda request: predicting.EmbedResponse(
        features=predicting.Features(
            views={"last": tensors.encode(np.zeros((len(request.inputs), 4), np.float32))}
        )
    )

    assert (await client.embed([b"1", b"2"]))["last"].shape == (2, 4)
    assert (await client.embed(b"1"))["last"].shape == (4,)


async def test_the_rest_of_the_service_is_there(client: AsyncClient, server: FakeServer):
    assert await client.ready()
    assert [each.model for each in await client.models()] == ["pets"]
    assert (await client.usage()).version_count == 3
    assert (await client.server_info()).release == "1.0"
    assert (await client.who_am_i()).principal == "reader"
    assert (await client.get_model("pets", max_versions=2)).versions[-1].version == 2
    assert (await client.set_alias("pets", "stable", 2)).version == 2
    await client.delete_alias("pets", "stable")
    await client.delete_version("pets", 1)
    assert (await client.erase_example("-", "cat-17")).deleted_contents == 2
    assert await client.delete_model("pets") == 3
    assert (await client.backbones())[0].default
    assert [each.job_id async for each in client.jobs(states=["QUEUED"])] == ["job-1"]
    assert (await client.job("job-1").cancel()).state is JobState.CANCELLED
    assert (await client.job("job-1").status()).version == 3


async def test_an_erasure_with_rebuild_has_a_certificate(client: AsyncClient, server: FakeServer):
    server.standing["EraseExample"] = rebuilt_response()

    erased = await client.erase_example("pets", "cat-17", rebuild=True, request_id="r1")

    request = server.requests["EraseExample"][0]
    assert (request.model, request.rebuild, request.request_id) == ("pets", True, "r1")
    assert erased.certificate is not None
    replaced, skipped = erased.certificate.versions
    assert (replaced.version, replaced.new_version, replaced.aliases) == (2, 4, ("stable",))
    assert (replaced.head_digest, replaced.new_head_digest) == ("h2", "h4")
    assert (skipped.new_version, skipped.skipped_reason) == (None, "Its examples are not stored.")
    assert erased.certificate.end_time is not None
    assert erased.certificate.end_time > erased.certificate.start_time


async def test_versions_are_measured_compared_and_reported(client: AsyncClient, server: FakeServer):
    examples = {"cat": [b"1"], "dog": [b"2"]}

    assert (await client.evaluate(examples, model="pets", version=3)).metrics.accuracy == 0.9
    assert (await client.compare("pets@1", "pets@2")).significant
    assert (await client.compare("pets@1", "pets@2", examples)).example_count == 200
    assert (await client.evaluation("pets", alias="stable")).findings.label_issue_count == 1
    assert (await client.report("pets", format="json")).json() == {"model": "pets"}
    assert server.requests["Evaluate"][0][0].spec.target.version == 3
    assert [len(messages) for messages in server.requests["Compare"]] == [1, 2]


async def test_evidence_is_requested(client: AsyncClient, server: FakeServer):
    await client.predict(b"cat", model="pets", abstain=True, neighbors=2, saliency=True, routing_key="ann")

    (request,) = server.requests["Predict"]
    assert request.HasField("abstention")
    assert request.neighbors == 2
    assert request.saliency.overlay
    assert request.routing_key == "ann"


async def test_errors_are_those_of_the_package(client: AsyncClient, server: FakeServer):
    server.script("DeleteModel", Fault(code=grpc.StatusCode.NOT_FOUND, reason="MODEL_NOT_FOUND"))

    with pytest.raises(NotFound, match="MODEL_NOT_FOUND"):
        await client.delete_model("nope")
    async with AsyncClient("127.0.0.1:1", retries=0) as nowhere:
        with pytest.raises(Unavailable, match=r"No server answers at 127\.0\.0\.1:1"):
            await nowhere.models()
        with pytest.raises(Unavailable):
            await nowhere.fine_tune([(b"1", "a")], model="m")
        assert not await nowhere.ready()


async def test_many_calls_run_at_the_same_time(client: AsyncClient):
    predictions = await asyncio.gather(*(client.predict(str(n).encode(), model="m") for n in range(50)))

    assert [each.label for each in predictions] == [str(n) for n in range(50)]


def test_a_client_can_be_made_outside_the_event_loop(server: FakeServer):
    client = AsyncClient(server.target)

    async def use() -> int:
        async with client:
            return len(await client.models())

    assert asyncio.run(use()) == 1


async def test_a_cancelled_upload_makes_no_job(client: AsyncClient, server: FakeServer):
    going_on = threading.Event()

    def endless():
        while True:
            yield bytes(100_000), "a"
            if server.started.is_set():
                going_on.set()

    server.expects_broken = True
    upload = asyncio.create_task(client.fine_tune(endless(), model="m"))
    assert await asyncio.to_thread(going_on.wait, 10)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload

    assert await asyncio.to_thread(server.broken.wait, 15)
    assert server.received == []


async def test_what_is_reported_is_reported_on_the_event_loop(client: AsyncClient):
    threads = set()

    await client.fine_tune(
        [(b"1", "a")], model="m", on_upload=lambda *_: threads.add(threading.current_thread())
    )

    assert threads == {threading.current_thread()}


async def test_what_a_stopping_server_has_not_begun_is_sent_again(client: AsyncClient, server: FakeServer):
    turned_away = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING", metadata={"begun": "false"})
    server.script("DeleteModel", turned_away)
    server.script("DeleteVersion", UNAVAILABLE)

    await client.delete_model("pets")
    with pytest.raises(Unavailable):
        await client.delete_version("pets", 2)

    assert (len(server.requests["DeleteModel"]), len(server.requests["DeleteVersion"])) == (2, 1)


async def test_errors_of_inputs_are_returned_and_streamed(client: AsyncClient, server: FakeServer):
    server.standing["Predict"] = predicted_unless_bad

    found = await client.predict([b"cat", b"bad", Text("dog")], model="pets", errors="return")
    streamed = [each async for each in client.predict_stream([b"cat", b"bad"], model="pets")]

    assert [type(each) for each in found] == [Prediction, PredictionError, Prediction]
    assert [type(each.outcome) for each in streamed] == [Prediction, PredictionError]


async def test_inputs_and_targets_come_apart(client: AsyncClient, server: FakeServer):
    await client.fine_tune(texts=["good", "bad"], y=["yes", "no"], model="reviews")

    _, batch = server.requests["FineTune"][0]
    assert [(each.input.text, each.label.class_name) for each in batch.examples.examples] == [
        ("good", "yes"),
        ("bad", "no"),
    ]


async def test_listed_jobs_can_be_awaited(client: AsyncClient, capsys):
    (listed,) = [each async for each in client.jobs()]

    assert repr(listed) == "AsyncJob('job-1', pets, QUEUED)"
    assert (await listed.result(progress=True)).version == 3
    assert repr(listed) == "AsyncJob('job-1', pets@3, SUCCEEDED)"
    assert capsys.readouterr().err.splitlines()[-1].split() == ["100%", "succeeded"]


async def test_a_closed_client_says_that_it_is_closed(server: FakeServer):
    async with AsyncClient(server.target) as client:
        await client.fine_tune([(b"meow", "cat"), (b"woof", "dog")], model="pets")

    with pytest.raises(ValueError, match="The client is closed"):
        await client.predict(b"cat", model="pets")
    with pytest.raises(ValueError, match="The client is closed"):
        await client.fine_tune([(b"meow", "cat"), (b"woof", "dog")], model="pets")


def test_a_client_is_refused_on_another_event_loop_than_its_first(server: FakeServer):
    async def predict(client: AsyncClient) -> object:
        return await client.predict(Text("a"), model="m")

    async def fine_tune(client: AsyncClient) -> object:
        async with client:
            return await client.fine_tune([(Text("a"), "b")], model="m")

    client = AsyncClient(server.target, retries=QUICK, timeout=20)
    asyncio.run(predict(client))
    for again in (predict, fine_tune):
        with pytest.raises(ValueError, match=r"Create another AsyncClient within each asyncio\.run"):
            asyncio.run(again(client))
    assert "FineTune" not in server.requests
