import itertools
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from integration.server.calls import SERVICES, Api, Start, digits
from integration.server.receiver import Receiver, receiving, secret_file
from server_process import START_SECONDS, ServerProcess, running

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Whom the server may tell of the ends of jobs."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose datasets the server may read."""
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="session")
def started(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, sets: Path
) -> Iterator[tuple[ServerProcess, Start]]:
    data = tmp_path_factory.mktemp("server") / "data"
    flags = (
        "--reflection",
        "--max-input-size",
        "8MiB",
        "--max-pending-inputs",
        "64",
        "--job-workers",
        "2",
    )
    flags += ("--http-port", "0", "--allow-webhook", receiver.url, "--allow-private-addresses")
    flags += ("--webhook-secret-file", str(secret_file(data.parent)))
    flags += ("--allow-dataset-uri", str(sets))
    with running(data, *flags) as server:
        server.event("listening")
        with Api.connect(server.target) as api:
            seen = _seen(api)
        yield server, seen


def _seen(api: Api) -> Start:
    request = health_pb2.HealthCheckRequest
    streams = {name: api.health.Watch(request(service=name), timeout=START_SECONDS) for name in SERVICES}
    watches = {name: list(_until_serving(stream)) for name, stream in streams.items()}
    return Start(watches=watches)


def _until_serving(stream: grpc.Call) -> Iterator[int]:
    for response in stream:
        yield response.status
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            break
    stream.cancel()


@pytest.fixture(scope="session")
def start(started: tuple[ServerProcess, Start]) -> Start:
    return started[1]


@pytest.fixture(scope="session")
def server(started: tuple[ServerProcess, Start]) -> ServerProcess:
    """The one server of these tests, warm."""
    return started[0]


@pytest.fixture(scope="session")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api.connect(server.target) as api:
        yield api


@pytest.fixture(scope="session")
def digits_model(api: Api) -> str:
    """A model with one version that distinguishes three digits."""
    return api.published(digits((0, 1, 7), 8), model="digits").spec.model


@pytest.fixture
def model() -> str:
    """A name for a model that no other test uses."""
    return f"model-{next(_numbers)}"
