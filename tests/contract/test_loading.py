"""Calls that a server has no capacity to hold until their backbone is loaded."""

import time

import grpc
import pytest

from contract.fake_server import FakeServer, Fault
from headstart import AsyncClient, Client, Unavailable

LOADING = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="LOADING", retry_after=0.05)
LATER = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="LOADING", retry_after=30.0)
#: More than gRPC repeats by itself.
TIMES = 12


def test_a_call_is_repeated_until_the_backbone_is_loaded(client: Client, server: FakeServer):
    server.script("Predict", *[LOADING] * TIMES)
    assert client.predict(b"cat", model="pets").label == "cat"
    assert len(server.requests["Predict"]) == TIMES + 1


async def test_an_asynchronous_call_too(server: FakeServer):
    server.script("Predict", *[LOADING] * TIMES)
    async with AsyncClient(server.target) as client:
        assert (await client.predict(b"cat", model="pets")).label == "cat"
    assert len(server.requests["Predict"]) == TIMES + 1


def test_an_upload_too(client: Client, server: FakeServer):
    server.script("FineTune", *[LOADING] * TIMES)
    assert client.fine_tune([(b"a", "cat"), (b"b", "dog")], model="pets").job_id
    assert len(server.requests["FineTune"]) > TIMES


def test_a_call_is_not_repeated_beyond_its_timeout(server: FakeServer):
    server.script("Predict", *[LATER] * 10)
    with Client(server.target, timeout=10.0) as client:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            client.predict(b"cat", model="pets")
    assert caught.value.reason == "LOADING"
    assert time.monotonic() - started < 9.0


def test_without_retries_a_call_is_sent_once(server: FakeServer):
    server.script("Predict", LOADING)
    with Client(server.target, retries=0) as client, pytest.raises(Unavailable):
        client.predict(b"cat", model="pets")
    assert len(server.requests["Predict"]) == 1
