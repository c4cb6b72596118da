"""Calls that are CANCELLED without a reason and not by their caller, as some that meet a stopping server."""

import threading

import grpc
import pytest

from contract.fake_server import FakeServer, Fault, event, job
from headstart import AsyncClient, Cancelled, Client, Unavailable
from headstart.v1 import fine_tuning_service_pb2 as tuning

CUT_OFF = Fault(code=grpc.StatusCode.CANCELLED, message="")


def test_what_may_be_repeated_is_repeated_by_grpc(client: Client, server: FakeServer):
    server.script("Predict", CUT_OFF, CUT_OFF)

    assert client.predict(b"cat", model="pets").label == "cat"
    assert len(server.requests["Predict"]) == 3


async def test_so_it_is_asynchronously(server: FakeServer):
    server.script("Predict", CUT_OFF)

    async with AsyncClient(server.target) as client:
        assert (await client.predict(b"cat", model="pets")).label == "cat"
    assert len(server.requests["Predict"]) == 2


def test_an_upload_is_sent_again_with_the_same_request_id(client: Client, server: FakeServer):
    server.script("FineTune", Fault(code=grpc.StatusCode.CANCELLED, after_messages=1), CUT_OFF)

    client.fine_tune([(b"1", "a"), (b"2", "b")], model="m")

    streams = server.requests["FineTune"]
    assert len(streams) == 3
    assert len({stream[0].spec.request_id for stream in streams}) == 1


def test_a_watch_goes_on_after_the_last_event(client: Client, server: FakeServer):
    server.script("Watch", [event(1), CUT_OFF], [event(2, "SUCCEEDED")])

    assert [each.number for each in client.job("job-1").watch()] == [1, 2]
    assert [request.after_event for request in server.requests["Watch"]] == [0, 1]


def test_a_call_that_may_not_be_repeated_fails_as_unavailable(client: Client, server: FakeServer):
    server.script("DeleteModel", CUT_OFF)

    with pytest.raises(Unavailable, match="ended the call without an answer, as a stopping server does"):
        client.delete_model("pets")
    assert len(server.requests["DeleteModel"]) == 1


def test_what_the_caller_cancels_by_closing_its_client_is_cancelled_and_not_repeated(server: FakeServer):
    called, answer = threading.Event(), threading.Event()

    def hang(_request):
        called.set()
        answer.wait(10)
        return tuning.StatusResponse(job=job("RUNNING"))

    server.script("Status", hang)
    client = Client(server.target)
    errors = []

    def ask():
        with pytest.raises(Cancelled) as caught:
            client.job("job-1").status()
        errors.append(caught.value)

    asking = threading.Thread(target=ask)
    asking.start()
    assert called.wait(60)
    client.close()
    asking.join(60)
    answer.set()

    assert [error.code for error in errors] == [grpc.StatusCode.CANCELLED]
    assert len(server.requests["Status"]) == 1
