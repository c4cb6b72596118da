"""Checks of ports."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart_server.doctor.finding import Finding, Status
from headstart_server.doctor.ports import check_ports
from headstart_server.settings.setting import Off
from headstart_server.settings.settings import Settings


def checked(data: Path, **settings: object) -> dict[str, Finding]:
    given = {"port": 0, "metrics_port": Off.OFF, **settings}
    return {finding.name: finding for finding in check_ports(Settings.of(data_dir=data, **given))}


@pytest.fixture
def used() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_ports(tmp_path: Path):
    found = checked(tmp_path)
    assert found["gRPC port"].status is Status.OK
    assert found["HTTP port"].status is found["metrics port"].status is Status.SKIPPED


def test_a_used_port_names_its_process(tmp_path: Path, used: int):
    found = checked(tmp_path, port=used)["gRPC port"]
    assert found.status is Status.FAILED
    assert found.details["pid"] == os.getpid()
    assert "already in use" in found.summary
    assert "--port" in found.remedy
    assert checked(tmp_path, host="localhost", port=used)["gRPC port"].status is Status.FAILED
    assert checked(tmp_path, host="0.0.0.0", plaintext=True, port=used)["gRPC port"].status is Status.FAILED


def test_a_port_of_the_server_of_the_data_folder_is_as_it_should_be(tmp_path: Path, used: int):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert checked(tmp_path, port=used)["gRPC port"].status is Status.OK


def test_one_port_for_two_purposes_fails(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert checked(tmp_path, port=port, http_port=port)["HTTP port"].status is Status.FAILED
    every = checked(tmp_path, port=port, http_port=port, host="0.0.0.0", plaintext=True)
    assert every["HTTP port"].status is Status.FAILED
    metrics = checked(tmp_path, port=0, http_port=port, metrics_port=port)
    assert metrics["metrics port"].status is Status.FAILED
    assert checked(tmp_path, port=0, http_port=port)["HTTP port"].status is Status.OK


@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_ipv6(tmp_path: Path, host: str):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            port = listener.getsockname()[1]
            assert checked(tmp_path, host=host, port=port)["gRPC port"].status is Status.FAILED
    except OSError:
        pytest.skip("This machine has no IPv6.")
    found = checked(tmp_path, host=host, port=port)["gRPC port"]
    assert found.status is Status.OK
    assert f"[::1]:{port}" in found.summary


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a b"])
def test_a_host_of_another_machine_or_of_none_fails(tmp_path: Path, host: str):
    found = checked(tmp_path, http_port=0, host=host, plaintext=True)["HTTP port"]
    assert found.status is Status.FAILED


def test_metrics_that_are_off_because_of_the_host_say_how_to_get_them(tmp_path: Path) -> None:
    found = checked(tmp_path, host="0.0.0.0", plaintext=True, metrics_port=None)
    assert found["metrics port"].summary == (
        "off because other machines reach 0.0.0.0 (--metrics-port PORT enables it)"
    )
