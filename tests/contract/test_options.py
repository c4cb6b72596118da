"""How a client is set up: environment, tokens, options, channels, interceptors, the log, addresses."""

import asyncio
import logging
import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from math import inf
from typing import Any

import grpc
import numpy as np
import pytest

from contract.conftest import QUICK
from contract.fake_server import FakeServer, Fault
from headstart import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    ErrorDetails,
    HeadstartError,
    NotFound,
    RetryPolicy,
    Unauthenticated,
    Unavailable,
)
from headstart.inputs import tensors
from headstart.transport.settings import connection_settings
from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import prediction_service_pb2 as predicting

EXPIRED = Fault(code=grpc.StatusCode.UNAUTHENTICATED, reason="UNAUTHENTICATED")
NOT_THERE = Fault(code=grpc.StatusCode.UNAVAILABLE, reason="DRAINING")
PAIRS = [(b"1", "a"), (b"2", "b")]


class Issuer:
    """Issues tokens that count up."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.count += 1
            return f"token-{self.count}"

    async def asynchronous(self) -> str:
        await asyncio.sleep(0)
        return self()


def tokens_of(server: FakeServer, method: str) -> list[str | None]:
    return [each.get("authorization") for each in server.metadata[method]]


def test_the_environment_says_where_the_server_is_and_who_calls(server: FakeServer, monkeypatch):
    monkeypatch.setenv("HEADSTART_SERVER", server.target)
    monkeypatch.setenv("HEADSTART_TOKEN", "secret\n")
    monkeypatch.setenv("HEADSTART_TIMEOUT", "7")

    with Client() as client:
        client.models()

    assert tokens_of(server, "ListModels") == ["Bearer secret"]
    assert 5 < (server.remaining["ListModels"][0] or 0) <= 7.1


def test_arguments_win_over_the_environment(server: FakeServer, monkeypatch):
    monkeypatch.setenv("HEADSTART_SERVER", "127.0.0.1:1")
    monkeypatch.setenv("HEADSTART_TOKEN", "secret")
    monkeypatch.setenv("HEADSTART_CA", "/no/such/file")

    with Client(server.target, token="", tls=False) as client:
        client.models()

    assert tokens_of(server, "ListModels") == [None]


def test_files_of_the_environment_mean_tls(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ca\.pem"):
        connection_settings(environment={"HEADSTART_CA": str(tmp_path / "ca.pem")})
    with pytest.raises(ValueError, match="both cert and key"):
        connection_settings(environment={"HEADSTART_CERT": str(tmp_path / "cert.pem")})


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        (
            {"HEADSTART_TIMEOUT": "soon"},
            {},
            "HEADSTART_TIMEOUT must be a number of seconds. Received: 'soon'",
        ),
        ({"HEADSTART_TIMEOUT": "0"}, {}, "HEADSTART_TIMEOUT must be above 0 seconds"),
        ({}, {"timeout": -1}, "timeout must be above 0 seconds"),
        ({}, {"timeout": float("nan")}, "timeout must be above 0 seconds"),
        ({}, {"retries": -1}, "retries must be 0 or more. Received: -1"),
        ({}, {"token": "a b"}, "token must consist of visible ASCII characters"),
        ({"HEADSTART_TOKEN": "a\x00b"}, {}, "token must consist of visible ASCII characters"),
        ({"HEADSTART_SERVER": "far:1", "HEADSTART_TOKEN": "t"}, {}, "A token requires TLS"),
    ],
)
def test_a_bad_setting_is_named_without_its_secret(environment, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        connection_settings(environment=environment, **arguments)
    assert "a b" not in str(caught.value)


@pytest.mark.parametrize("timeout", [inf, 1e10, timedelta.max])
def test_an_infinite_timeout_of_a_client_is_no_limit(server: FakeServer, timeout: float | timedelta):
    with Client(server.target, timeout=timeout) as client:
        client.models()
        client.with_options(timeout=timeout).models()
    assert [(each or inf) > 1e6 for each in server.remaining["ListModels"]] == [True, True]


@pytest.mark.parametrize("timeout", [inf, 1e10, timedelta.max])
def test_an_infinite_timeout_of_a_method_is_no_limit(
    client: Client, server: FakeServer, timeout: float | timedelta, tmp_path
):
    exported = keeping.ExportHeader(files=[{"name": "a", "sha256": sha256().hexdigest()}])
    server.standing["ExportVersion"] = [keeping.ExportVersionResponse(header=exported)]
    server.standing["Embed"] = predicting.EmbedResponse(
        features=predicting.Features(views={"last": tensors.encode(np.zeros((1, 2), np.float32))})
    )
    assert client.predict(b"x", model="pets", timeout=timeout).label
    assert [*client.predict_stream([b"x"], model="pets", timeout=timeout)]
    assert client.predict_many([b"x"], ["pets"], timeout=timeout).results
    assert client.embed(b"x", timeout=timeout)
    assert client.export("pets", format="onnx", path=tmp_path / "made", timeout=timeout).files
    assert client.job("j").result(timeout=timeout, on_event=print).version == 3
    assert client.job("j").status(wait=timeout).state == "SUCCEEDED"
    assert server.requests["Status"][-1].wait_duration.seconds == 3600
    for method in ("Predict", "Embed", "ExportVersion", "Watch"):
        assert all((each or inf) > 1e6 for each in server.remaining[method]), method


@pytest.mark.parametrize("timeout", [inf, 1e10])
def test_an_infinite_wait_for_a_server_ends_when_it_is_ready(client: Client, timeout: float):
    assert client.ready(timeout)


@pytest.mark.parametrize(
    ("server", "hint"),
    [
        ("localhost", "Add the port: 'localhost:8765'"),
        ("http://localhost:8765", "Remove 'http://'"),
        ("https://h", "Remove 'https://' and use TLS"),
        ("h:99999", "Expected host:port"),
        ("h:1/path", "Expected host:port"),
    ],
)
def test_an_address_that_cannot_be_gets_a_remedy(server, hint):
    with pytest.raises(ValueError, match=hint):
        Client(server)


def test_the_port_of_http_is_recognized():
    web = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        with (
            Client(f"127.0.0.1:{web.server_port}", retries=0) as client,
            pytest.raises(Unavailable, match=r"does not speak gRPC\. Is it the HTTP port\?"),
        ):
            client.models()
    finally:
        web.shutdown()
        web.server_close()


def test_a_port_without_tls_is_recognized(server: FakeServer):
    with (
        Client(server.target, tls=True, retries=0) as client,
        pytest.raises(Unavailable, match="the port has no TLS"),
    ):
        client.models()


def test_a_short_timeout_does_not_hide_why_a_server_does_not_answer():
    with (
        Client("127.0.0.1:1", timeout=4, retries=RetryPolicy(initial_seconds=3)) as client,
        pytest.raises(Unavailable, match="refused"),
    ):
        client.models()


def test_a_function_supplies_the_token_until_it_is_rejected(server: FakeServer):
    issuer = Issuer()
    with Client(server.target, token=issuer) as client:
        client.models()
        client.models()
        server.script("ListModels", EXPIRED)
        client.models()

    assert tokens_of(server, "ListModels") == [f"Bearer token-{number}" for number in (1, 1, 1, 2)]


def test_a_new_token_that_is_rejected_is_an_error(server: FakeServer):
    server.script("ListModels", EXPIRED, EXPIRED)
    with Client(server.target, token=Issuer()) as client, pytest.raises(Unauthenticated):
        client.models()
    assert len(server.requests["ListModels"]) == 2


def test_a_token_that_is_no_function_is_rejected_once(server: FakeServer):
    server.script("ListModels", EXPIRED)
    with Client(server.target, token="fixed") as client, pytest.raises(Unauthenticated):
        client.models()
    assert len(server.requests["ListModels"]) == 1


def test_uploads_and_streams_renew_the_token_too(server: FakeServer):
    server.script("FineTune", EXPIRED)
    server.script("Watch", [EXPIRED])
    issuer = Issuer()

    with Client(server.target, token=issuer, retries=QUICK) as client:
        job = client.fine_tune(PAIRS, model="m")
        assert [each.number for each in job.watch()] == [1, 2, 3]

    assert tokens_of(server, "FineTune") == ["Bearer token-1", "Bearer token-2"]
    assert tokens_of(server, "Watch") == ["Bearer token-2", "Bearer token-3"]
    assert len({stream[0].spec.request_id for stream in server.requests["FineTune"]}) == 1


def test_many_threads_share_one_token(server: FakeServer):
    issuer = Issuer()
    with Client(server.target, token=issuer) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: client.models(), range(32)))
    assert issuer.count == 1


@pytest.mark.parametrize("name", ["__call__", "asynchronous"])
async def test_a_token_may_be_awaited(server: FakeServer, name):
    server.script("ListModels", EXPIRED)
    server.script("FineTune", EXPIRED)
    server.script("Watch", [EXPIRED])
    issuer = Issuer()

    async with AsyncClient(server.target, token=getattr(issuer, name)) as client:
        await asyncio.gather(*(client.models() for _ in range(8)))
        job = await client.fine_tune(PAIRS, model="m")
        assert [each.number async for each in job.watch()] == [1, 2, 3]

    assert issuer.count == 4
    assert tokens_of(server, "FineTune") == ["Bearer token-2", "Bearer token-3"]


@pytest.fixture
def proxy(monkeypatch) -> Iterator[socket.socket]:
    """The proxy of the environment, which never answers."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield listener


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ipv4:127.0.0.1", "dns:///localhost"])
async def test_a_proxy_does_not_see_calls_within_this_machine(
    server: FakeServer, proxy: socket.socket, host: str
):
    target = f"{host}:{server.target.rpartition(':')[2]}"

    with Client(target, token="secret", retries=0, timeout=20) as client:
        client.models()
        client.fine_tune(PAIRS, model="m")
    async with AsyncClient(target, token="secret", retries=0, timeout=20) as other:
        await other.models()
        await other.fine_tune(PAIRS, model="m")

    assert tokens_of(server, "ListModels") == tokens_of(server, "FineTune") == ["Bearer secret"] * 2
    proxy.setblocking(False)
    with pytest.raises(BlockingIOError):
        proxy.accept()


def test_calls_to_another_machine_use_the_proxy(proxy: socket.socket):
    proxy.settimeout(20)
    with Client("models.example.com:8765", retries=0, timeout=20) as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.models)
        connection, _ = proxy.accept()
        with connection:
            assert connection.recv(1024).startswith(b"CONNECT models.example.com:8765 ")
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        with pytest.raises(Unavailable):
            call.result()


@pytest.mark.parametrize(("value", "kind"), [(3, "int"), (None, "NoneType")])
def test_a_function_that_returns_no_token_is_an_error(server: FakeServer, value: Any, kind):
    with (
        Client(server.target, token=lambda: value) as client,
        pytest.raises(TypeError, match=f"token must be a str, or a function.*Received: {kind}"),
    ):
        client.models()


def test_a_coroutine_function_needs_the_asynchronous_client(server: FakeServer):
    with (
        Client(server.target, token=Issuer().asynchronous) as client,
        pytest.raises(TypeError, match="Use AsyncClient"),
    ):
        client.models()


def test_options_apply_to_one_client_of_several_on_a_connection(server: FakeServer):
    server.script("ListModels", NOT_THERE)
    with Client(server.target, metadata={"a": "1", "b": "1"}, timeout=20, retries=QUICK) as client:
        other = client.with_options(timeout=5, retries=0, metadata={"B": "2"})
        with pytest.raises(Unavailable):
            other.models()
        other.close()
        client.models()

    first, second = server.metadata["ListModels"]
    assert (first["a"], first["b"], second["a"], second["b"]) == ("1", "2", "1", "1")
    shorter, longer = server.remaining["ListModels"]
    assert (shorter or 0) < 5.1 < (longer or 0)


async def test_options_apply_to_asynchronous_clients_and_their_uploads(server: FakeServer):
    server.script("FineTune", NOT_THERE)
    async with AsyncClient(server.target, retries=QUICK) as client:
        other = client.with_options(retries=0, metadata={"b": "2"})
        with pytest.raises(Unavailable):
            await other.fine_tune(PAIRS, model="m")
        await other.close()
        await client.models()

    assert server.metadata["FineTune"][0]["b"] == "2"
    assert "b" not in server.metadata["ListModels"][0]


def test_a_client_over_a_channel_of_the_caller_s_leaves_it_open(server: FakeServer):
    with grpc.insecure_channel(server.target) as channel:
        with Client.from_channel(channel, metadata={"a": "1"}, token="t") as client:
            client.models()
            client.fine_tune(PAIRS, model="m")
        with Client.from_channel(channel) as client:
            client.models()

    assert tokens_of(server, "ListModels") == ["Bearer t", None]


async def test_an_asynchronous_client_over_channels_of_the_caller_s(server: FakeServer):
    async with grpc.aio.insecure_channel(server.target) as channel:
        async with AsyncClient.from_channel(channel) as client:
            await client.models()
            with pytest.raises(ValueError, match="Uploads require a synchronous channel"):
                await client.fine_tune(PAIRS, model="m")
        with grpc.insecure_channel(server.target) as uploads:
            async with AsyncClient.from_channel(channel, upload_channel=uploads) as client:
                await client.fine_tune(PAIRS, model="m")
                await client.models()

    assert len(server.requests["FineTune"]) == 1
    assert len(server.requests["ListModels"]) == 2


class Counting(
    grpc.UnaryUnaryClientInterceptor, grpc.StreamUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor
):
    def __init__(self) -> None:
        self.methods: list[str] = []

    def intercept_unary_unary(self, continuation, details, request):
        self.methods.append(details.method.rpartition("/")[2])
        return continuation(details, request)

    intercept_stream_unary = intercept_unary_stream = intercept_unary_unary


class AsyncCounting(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self) -> None:
        self.methods: list[str] = []

    async def intercept_unary_unary(self, continuation, details, request):
        self.methods.append(details.method.rpartition(b"/")[2].decode())
        return await continuation(details, request)


def test_interceptors_see_every_attempt(server: FakeServer):
    server.script("ListModels", NOT_THERE)
    counting = Counting()
    with Client(server.target, retries=QUICK, interceptors=[counting]) as client:
        client.models()
        list(client.fine_tune(PAIRS, model="m").watch())
    assert counting.methods == ["ListModels", "ListModels", "FineTune", "Watch"]


async def test_interceptors_of_both_kinds_serve_an_asynchronous_client(server: FakeServer):
    counting, uploads = AsyncCounting(), Counting()
    async with AsyncClient(server.target, interceptors=[counting, uploads]) as client:
        await client.models()
        await client.fine_tune(PAIRS, model="m")
    assert (counting.methods, uploads.methods) == (["ListModels"], ["FineTune"])


def test_calls_and_retries_are_logged_without_their_content(server: FakeServer, caplog):
    server.script("Predict", NOT_THERE)
    with (
        caplog.at_level(logging.DEBUG, "headstart"),
        Client(server.target, token="secret", retries=QUICK) as c,
    ):
        c.predict(b"private", model="pets")

    lines = [
        f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name == "headstart"
    ]
    assert [line.split()[0] for line in lines] == ["DEBUG", "INFO", "DEBUG"]
    assert "/headstart.v1.PredictionService/Predict is sent again in" in lines[1]
    assert lines[2].endswith(": OK")
    assert not any(word in line for line in lines for word in ("secret", "private"))


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(DeadlineExceeded, TimeoutError), (Unavailable, ConnectionError), (NotFound, LookupError)],
)
def test_errors_are_those_of_python_too(kind: type[HeadstartError], builtin):
    error = kind(ErrorDetails(code=grpc.StatusCode.UNKNOWN, message="no", reason="R"))

    assert isinstance(error, builtin)
    assert str(error) == "no (R)"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.details, str(copy)) == (kind, error.details, "no (R)")
