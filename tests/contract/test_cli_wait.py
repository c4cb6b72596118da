"""`headstart wait`."""

import json
import time
from types import SimpleNamespace

import pytest
from grpc_health.v1 import health_pb2
from typer.testing import CliRunner

from contract.fake_server import FakeServer
from headstart.cli.app import app
from headstart.cli.nouns import server as about


def test_it_waits_until_the_server_is_there(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.port
    server.stop()
    pauses: list[float] = []

    def start_at_the_second_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            server.restart()
        time.sleep(seconds)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=start_at_the_second_pause)
    monkeypatch.setattr(about, "time", clock)

    result = CliRunner().invoke(app, ["wait", "--server", f"127.0.0.1:{port}", "--json"])

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ready"]
    assert document["seconds"] > sum(pauses)
    assert len(pauses) >= 2


def test_it_gives_up_after_the_timeout():
    begin = time.monotonic()
    result = CliRunner().invoke(app, ["wait", "--server", "127.0.0.1:1", "--timeout", "0.5"])

    assert result.exit_code == 3
    first, reason = result.stderr.splitlines()
    assert first == "error: 127.0.0.1:1 is not ready after 0.5 s."
    assert reason.startswith("No server answers at 127.0.0.1:1: ")
    assert 0.4 < time.monotonic() - begin < 20


def test_a_server_that_loads_differs_from_a_missing_one(server: FakeServer):
    server.standing["Check"] = health_pb2.HealthCheckResponse(
        status=health_pb2.HealthCheckResponse.NOT_SERVING
    )

    result = CliRunner().invoke(app, ["wait", "--server", server.target, "--timeout", "0.3"])

    assert result.exit_code == 3
    assert "It answers, but does not serve yet." in result.stderr
