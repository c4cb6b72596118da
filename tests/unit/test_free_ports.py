"""Ports for servers of tests: two servers never get the same one, even if neither listens yet."""

import pytest

import server_process
from server_process import free_port


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "_taken", set())
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1")


def test_a_port_is_handed_out_once() -> None:
    assert len({free_port() for _ in range(1000)}) == 1000


def test_each_worker_of_the_tests_has_its_own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for place in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{place}")
        # The workers take turns in the range of ports.
        assert {free_port() % 3 for _ in range(100)} == {(10_000 + place) % 3}
