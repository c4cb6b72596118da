"""`headstart wait`."""

import json
import threading
import time

from typer.testing import CliRunner

from contract.fake_server import FakeServer
from headstart.cli.app import app


def test_it_waits_until_the_server_is_there(server: FakeServer):
    port = server.port
    server.stop()
    threading.Timer(0.5, server.restart).start()

    result = CliRunner().invoke(app, ["wait", "--server", f"127.0.0.1:{port}", "--json"])

    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["ready"]
    assert document["seconds"] > 0.3


def test_it_gives_up_after_the_timeout():
    begin = time.monotonic()
    result = CliRunner().invoke(app, ["wait", "--server", "127.0.0.1:1", "--timeout", "0.5"])

    assert result.exit_code == 3
    assert result.stderr == "error: 127.0.0.1:1 is not ready after 0.5 s.\n"
    assert 0.4 < time.monotonic() - begin < 20
