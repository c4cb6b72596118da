"""One stream for all jobs, over gRPC and HTTP, continued from its token; and jobs that are deleted."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import job_pb2
from integration.server.calls import TERMINAL, TIMEOUT, Api, digits, refused
from server_process import ServerProcess


@contextmanager
def watching(api: Api, model: str, token: str = "") -> Iterator[Iterator[tuning.WatchJobsResponse]]:
    request = tuning.WatchJobsRequest(model=model, resume_token=token)
    stream = api.fine_tuning.WatchJobs(request, timeout=TIMEOUT)
    try:
        yield stream
    finally:
        stream.cancel()


def until_all_ended(stream: Iterator[tuning.WatchJobsResponse], count: int) -> dict[str, list[int]]:
    """The numbers of the events of each job, until so many jobs have ended."""
    seen: dict[str, list[int]] = {}
    for response in stream:
        if response.HasField("event"):
            seen.setdefault(response.event.job_id, []).append(response.event.number)
            count -= response.event.state in TERMINAL
        if not count:
            return seen
    raise AssertionError("The stream ended.")


def test_one_stream_has_every_event_of_all_jobs_of_a_model(api: Api, model: str):
    with watching(api, model) as stream:
        # The first response comes at once, so that nothing after it can be missed.
        first = next(stream)
        assert first.resume_token
        jobs = [api.fine_tune(digits((0, 1), 2), model=model).job_id for _ in range(3)]
        seen = until_all_ended(stream, 3)

    assert set(seen) == set(jobs)
    for job_id in jobs:
        assert seen[job_id] == [event.number for event in api.watch(job_id)]
    with watching(api, model, first.resume_token) as stream:
        assert until_all_ended(stream, 3) == seen


def test_over_http_the_stream_continues_after_the_last_event_id(api: Api, server: ServerProcess, model: str):
    url = f"http://{server.event('http_listening')}/v1/jobs:watch?model={model}"
    with watching(api, model) as stream:
        token = next(stream).resume_token
    job_id = api.fine_tune(digits((0, 1), 2), model=model).job_id
    api.ended(job_id)
    request = urllib.request.Request(url, headers={"last-event-id": token})
    numbers, last = [], ""
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer:
            name, _, value = line.decode().strip().partition(": ")
            if name == "id":
                last = value
            elif name == "data":
                event = json.loads(value)
                assert (event["jobId"], event["model"]) == (job_id, model)
                numbers.append(int(event["number"]))
                if event["state"] == "JOB_STATE_SUCCEEDED":
                    break
    assert numbers == list(range(1, len(numbers) + 1))
    assert last


def test_a_malformed_token_is_rejected(api: Api, model: str):
    def watch() -> None:
        with watching(api, model, "nonsense") as stream:
            next(stream)

    refusal = refused(watch)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "resume_token" in refusal.message


def test_an_ended_job_is_deleted_over_http_and_is_gone(api: Api, server: ServerProcess, model: str):
    job = api.published(digits((0, 1), 2), model=model)
    url = f"http://{server.event('http_listening')}/v1/jobs/{job.job_id}"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=TIMEOUT) as answer:
        assert json.loads(answer.read()) == {}

    refusal = refused(lambda: api.status(job.job_id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    refusal = refused(lambda: api.fine_tuning.DeleteJob(tuning.DeleteJobRequest(job_id=job.job_id)))
    assert refusal.reason == "JOB_NOT_FOUND"
    assert api.predict(model, digits((0,), 1)[0].input.image).results[0].version == 1


def test_a_job_that_has_not_ended_is_not_deleted(api: Api, model: str, monkeypatch: pytest.MonkeyPatch):
    job_id = api.fine_tune(digits(range(10), 60), model=model, recipe={"mlp": {"max_epochs": 5000}}).job_id
    refusal = refused(lambda: api.fine_tuning.DeleteJob(tuning.DeleteJobRequest(job_id=job_id)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "JOB_NOT_FINISHED")
    api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job_id))
    assert api.ended(job_id).state == job_pb2.JOB_STATE_CANCELLED
    api.fine_tuning.DeleteJob(tuning.DeleteJobRequest(job_id=job_id))
