"""A process of a server with several, and its supervisor's messages."""

import os
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from headstart_server.app.process import SupervisedMembership
from headstart_server.processes.channel import Channel


def no_thread() -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    ("action", "logged"), [(no_thread, ["process_connection_failed"]), (lambda: None, [])]
)
def test_a_process_ends_when_no_message_of_its_supervisor_reaches_it(
    monkeypatch: pytest.MonkeyPatch, action: Callable[[], None], logged: list[str]
):
    codes: list[int] = []
    own, other = Channel.pair()
    membership, supervisor = SupervisedMembership(own), Channel(other)
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(membership, "_drain", action)
    supervisor.send(("drain",))
    supervisor.close()
    with capture_logs() as logs:
        membership._listen()
    assert codes == [1]
    assert [entry["event"] for entry in logs] == logged
