"""Servers whose log cannot be written, whose terminal ends, or whose machine has IPv6 only."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server_process import (
    START_SECONDS,
    ServerProcess,
    eventually,
    free_port,
    running,
    samples,
    serve_command,
)

#: A backbone that is loaded in no time.
FAST = ("--default-backbone", "features:8")


@contextmanager
def redirected(data: Path, redirection: str) -> Iterator["tuple[subprocess.Popen[bytes], str]"]:
    """A server with redirected streams, and the address of its metrics."""
    port = free_port()
    command = serve_command(data, *FAST, "--metrics-port", str(port))
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
    with subprocess.Popen(shell, stderr=subprocess.DEVNULL) as server:
        try:
            yield server, f"http://127.0.0.1:{port}/metrics"
        finally:
            server.kill()


def has_started(server: "subprocess.Popen[bytes]", url: str) -> bool:
    assert server.poll() is None
    try:
        return samples(url).value("headstart_startup_seconds") > 0
    except OSError:
        return False


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_server_without_a_log_serves_and_stops(tmp_path: Path, redirection: str) -> None:
    with redirected(tmp_path / "data", redirection) as (server, url):
        eventually(lambda: has_started(server, url), START_SECONDS, "a server that serves")
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_end_of_the_terminal_stops_a_server_gracefully(tmp_path: Path, processes: str) -> None:
    with running(tmp_path / "data", *FAST, "--processes", processes) as server:
        server.wait_until_serving()
        os.kill(server.pid, signal.SIGHUP)
        assert server.wait() == 0
        assert '"stopped"' in server.log
        assert "process_ended" not in server.log


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="The loopback has no IPv6.")
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_server_listens_on_ipv6(tmp_path: Path, host: str, processes: str) -> None:
    flags = ("--host", host, "--http-port", "0", "--processes", processes)
    with running(tmp_path / "data", *FAST, *flags) as server:
        server.wait_until_serving()
        answer(server, "http_listening", "/v1/models")
        answer(server, "metrics_listening", "")
        assert server.event("listening") == f"[::1]:{server.port}"
        socket.create_connection(("::1", server.port), timeout=10).close()
        assert server.terminate() == 0


def answer(server: ServerProcess, event: str, path: str) -> None:
    address = server.event(event)
    assert address.startswith("[::1]:")
    with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as response:
        assert response.status == 200


def test_a_host_without_an_address_is_named_with_its_flag(tmp_path: Path) -> None:
    command = serve_command(tmp_path, *FAST, "--host", "nowhere.invalid", "--plaintext")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_SECONDS)
    assert done.returncode == 1
    assert "nowhere.invalid" in done.stderr
    assert "or --host." in done.stderr
