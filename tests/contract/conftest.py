from collections.abc import Iterator

import pytest

from contract.fake_server import FakeServer
from headstart import Client, RetryPolicy

QUICK = RetryPolicy(attempts=4, initial_seconds=0.001, maximum_seconds=0.01, outage_seconds=30)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    with Client(server.target, retries=QUICK, timeout=20) as client:
        yield client
