"""Limits of callers and models, which are off by default: so on a separate server, with a stand-in."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

import headstart
from chaos.replica import Replica
from headstart import Client
from headstart_server.api.compat import open_inference_pb2 as oip
from server_process import START_SECONDS, eventually

EXAMPLES = [
    (f"{label}:{place}".encode(), label) for label in ("quick cat", "quick dog") for place in range(5)
]
#: Calls a second, and so many at once.
RATE = 20.0
#: MiB of requests a second, and so many at once.
MIB = 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Replica]:
    """A server for each test, which uses up its limits."""
    settings = {"rate_limit": f"{RATE:g}/s", "max_versions_per_model": 1, "bandwidth_limit": f"{MIB}MiB/s"}
    server = Replica(tmp_path, **settings)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server: Replica) -> Iterator[Client]:
    with Client(server.target) as client:
        eventually(client.ready, START_SECONDS, "a server that serves")
        yield client


def test_a_model_gets_no_version_more_than_it_may_have(client: Client) -> None:
    client.fine_tune(EXAMPLES, model="pets").result()
    with pytest.raises(headstart.ResourceExhausted) as caught:
        client.fine_tune(EXAMPLES, model="pets")
    assert caught.value.reason == "QUOTA_EXCEEDED"
    assert caught.value.retry_after is None
    assert [limit.subject for limit in caught.value.quota_violations] == ["model pets"]
    client.delete_version("pets", 1)
    assert client.fine_tune(EXAMPLES, model="pets").result().version == 2


def test_frequent_callers_get_a_time_to_retry_and_health_is_free(client: Client) -> None:
    refusals: list[headstart.ResourceExhausted] = []

    def call(_: int) -> bool:
        try:
            client.models()
        except headstart.ResourceExhausted as error:
            refusals.append(error)
            return False
        return True

    begun = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        answered = sum(threads.map(call, range(300)))
    # As many at once as in a second, and then so many a second.
    assert 1 <= answered <= RATE * (time.monotonic() - begun + 1) + 1
    assert refusals
    for refusal in refusals:
        assert refusal.reason == "RATE_EXCEEDED"
        assert refusal.retry_after is not None
        assert 0 <= refusal.retry_after.total_seconds() <= 1 / RATE
    assert all(client.ready() for _ in range(int(2 * RATE)))
    # After that time it is served again.
    time.sleep(2 / RATE)
    client.models()


def test_messages_of_a_two_way_stream_go_at_the_rate_of_calls(server: Replica, client: Client) -> None:
    client.fine_tune(EXAMPLES, model="pets").result()
    request = oip.ModelInferRequest(
        model_name="pets",
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name="input", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"quick cat:x"]}
            )
        ],
    )
    count = int(2 * RATE)
    with grpc.insecure_channel(server.target) as channel:
        infer = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            oip.ModelInferRequest.SerializeToString,
            oip.ModelStreamInferResponse.FromString,
        )
        begun = time.monotonic()
        answers = list(infer(iter([request] * count), timeout=60))
    # Slowed down, and none refused.
    assert [answer.error_message for answer in answers] == [""] * count
    assert time.monotonic() - begun >= (count - RATE) / RATE - 0.2


def test_callers_that_send_too_many_bytes_get_a_time_to_retry(client: Client) -> None:
    large = b"quick cat:" + b"x" * (4 * MIB << 20)

    def owing() -> tuple[headstart.ResourceExhausted, float] | None:
        # Larger than what may come in a second: it passes, and is owed.
        began = time.monotonic()
        if refusal_of_bytes(client, large) is not None:
            return None
        refusal = refusal_of_bytes(client, b"quick cat:y")
        # A machine that stood still has let the debt pass.
        return None if refusal is None else (refusal, time.monotonic() - began)

    refusal, seconds = eventually(owing, 60.0, "a refusal after a call that is let in")
    assert refusal.reason == "RATE_EXCEEDED"
    assert [limit.subject for limit in refusal.quota_violations] == ["bytes"]
    assert refusal.retry_after is not None
    # What a second allows is not owed, and the debt of the rest falls from the first call on.
    assert refusal.retry_after.total_seconds() > max(0.0, 4 - 1 - seconds - 0.1)


def refusal_of_bytes(client: Client, content: bytes) -> headstart.ResourceExhausted | None:
    try:
        client.predict(content, model="pets")
    except headstart.ResourceExhausted as error:
        return error
    except headstart.HeadstartError:
        # It was looked at, whatever was found.
        return None
    return None
