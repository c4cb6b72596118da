"""A server with an access file that is flooded by callers without a token, over both ports."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.replica import Replica
from headstart import Client
from headstart_server.api.grpc.call_slots import STREAMS_PER_ADDRESS
from headstart_server.auth.tokens import token_hash
from headstart_server.inbound.connections import ADDRESS_SHARE
from integration.server.calls import TIMEOUT
from server_process import START_SECONDS, eventually, free_port

HOST = "127.0.0.1"
CALLS, CONNECTIONS = 20, 80


class Flooded(Replica):
    """The server, and a caller that it knows."""

    def __init__(self, folder: Path) -> None:
        access = folder / "access.toml"
        access.write_text(
            f'[[principals]]\nname = "friend"\ntoken_sha256 = ["{token_hash("friend")}"]\n'
            'grants = [{ rights = ["predict", "train"], models = ["*"] }]\n'
        )
        self.http_port = free_port()
        super().__init__(
            folder,
            access_file=str(access),
            http_port=self.http_port,
            max_concurrent_requests=CALLS,
        )

    def connect(self, source: str = HOST) -> socket.socket:
        """Open a connection to the HTTP port, from an address of this machine."""
        return socket.create_connection((HOST, self.http_port), timeout=60, source_address=(source, 0))

    def works(self) -> None:
        """Fail unless a probe and a known caller are answered."""
        began = time.monotonic()
        with grpc.insecure_channel(self.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            request = health_pb2.HealthCheckRequest(service="headstart.v1.PredictionService")
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with Client(self.target, token="friend", retries=0) as client:
            assert client.models() is not None
        # Other tests that run at the same time may slow it down, but nothing may have to wait for the flood.
        assert time.monotonic() - began < 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flooded]:
    server = Flooded(tmp_path_factory.mktemp("flooded"))
    server.start()
    try:
        with Client(server.target, token="friend") as client:
            eventually(client.ready, START_SECONDS, "a server that serves")
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("streams", [20, 2000])
async def test_watch_streams_without_a_token_leave_probes_and_known_callers_their_calls(
    server: Flooded, streams: int
) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(server.target, options) as one,
        grpc.aio.insecure_channel(server.target, options) as other,
    ):
        stubs = [health_pb2_grpc.HealthStub(channel) for channel in (one, other)]
        watches = [stubs[place % 2].Watch(health_pb2.HealthCheckRequest()) for place in range(streams)]

        async def outcome(watch: grpc.aio.UnaryStreamCall) -> str:
            try:
                return "watches" if await watch.read() is not grpc.aio.EOF else "ended"
            except grpc.aio.AioRpcError as error:
                return error.code().name

        async with asyncio.timeout(60):
            counts = Counter(await asyncio.gather(*map(outcome, watches)))
        await asyncio.to_thread(server.works)
        assert counts["watches"] == min(streams, STREAMS_PER_ADDRESS)
        # gRPC itself cancels some of a thousand calls that come in one moment.
        assert counts.keys() <= {"watches", "RESOURCE_EXHAUSTED", "CANCELLED"}


async def test_calls_that_send_no_message_hold_nothing_without_a_token(server: Flooded) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        begin = channel.stream_unary("/headstart.v1.PredictionService/Predict")
        calls = [begin() for _ in range(20 * CALLS)]
        async with asyncio.timeout(60):
            codes = set(await asyncio.gather(*(call.code() for call in calls)))
        assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grpc.StatusCode.UNAUTHENTICATED in codes
        await asyncio.to_thread(server.works)


def test_connections_that_say_nothing_leave_the_grpc_port_to_others_after_the_handshake_time(
    server: Flooded,
) -> None:
    with ExitStack() as opened:
        for _ in range(2 * CONNECTIONS):
            opened.enter_context(socket.create_connection((HOST, server.port), timeout=30))
        eventually(lambda: _works(server), 60, "a port that takes connections again")


def _works(server: Flooded) -> bool:
    try:
        server.works()
    except (grpc.RpcError, AssertionError, OSError):
        return False
    return True


def test_an_address_gets_no_more_http_connections_than_its_share(server: Flooded) -> None:
    with ExitStack() as opened:
        held = [opened.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        most = CONNECTIONS // ADDRESS_SHARE

        def is_open() -> list[socket.socket]:
            return [each for each in held if not _is_closed(each)]

        eventually(lambda: len(is_open()) <= most, TIMEOUT, "connections that are closed")
        assert len(is_open()) == most
    eventually(lambda: _http_works(server), TIMEOUT, "a port that takes connections again")


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _http_works(server: Flooded) -> bool:
    try:
        with server.connect() as connection:
            return _answer(connection, b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n") == 200
    except ConnectionError:
        return False


def _answer(connection: socket.socket, request: bytes) -> int:
    connection.sendall(request)
    return int(connection.recv(4096).split()[1])


@contextmanager
def dribbling(connections: list[socket.socket], piece: bytes) -> Iterator[None]:
    """Send a byte now and then, until the block ends."""
    goes_on = True

    def dribble() -> None:
        while goes_on:
            for connection in connections:
                try:
                    connection.send(piece)
                except OSError:
                    continue
            time.sleep(0.5)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(dribble)
        try:
            yield
        finally:
            goes_on = False


@pytest.mark.timeout(180)
def test_requests_that_dribble_end_with_408_and_leave_others_the_port(server: Flooded) -> None:
    begun = [
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-header: ",
        b"POST /v1/models/m:predict HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer friend\r\n"
        b"content-length: 1000000\r\n\r\n",
    ]
    with ExitStack() as opened:
        # More than are served concurrently. From other addresses, because each has its own limit.
        sources = [f"127.0.0.{2 + place % 3}" for place in range(2 * CALLS)]
        slow = [opened.enter_context(server.connect(source)) for source in sources]
        for place, connection in enumerate(slow):
            connection.sendall(begun[place % 2])
        with dribbling(slow, b"a"):
            assert _http_works(server), "health is reported while requests dribble"
            server.works()
            for connection in slow[:2]:
                connection.settimeout(120)
                # Headers and body may come apart.
                answer = b""
                while b"did not arrive" not in answer and b"arrives too slowly" not in answer:
                    piece = connection.recv(65536)
                    assert piece, answer
                    answer += piece
                assert answer.startswith(b"HTTP/1.1 408"), answer
