"""Restarts of a server's processes on a machine that cannot start one."""

import errno
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fakes import settings_of
from headstart_server.observability.metrics import STARTUP
from headstart_server.processes import supervisor
from headstart_server.processes.channel import Channel
from headstart_server.processes.supervisor import Supervisor


class FakeProcess:
    """A process that runs until it is killed."""

    stdin = None

    def __init__(self, command: list[str], **_: object) -> None:
        self.name = command[-1]
        self.signals: list[int] = []
        self._ended = threading.Event()

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end()

    def end(self) -> None:
        self._ended.set()

    def wait(self) -> int:
        self._ended.wait()
        return -signal.SIGKILL


class Machine:
    """A supervisor of an engine and two serving processes that have served."""

    def __init__(self) -> None:
        self.supervisor: Any = Supervisor(settings_of(), 2)
        self.engine, self.serving, self.other = self.supervisor._children
        for child in self.supervisor._children:
            self.supervisor._start(child)
        self.supervisor._has_served = True

    def end(self) -> None:
        """End a serving process."""
        self.serving.process.end()
        self.supervisor._step()
        assert self.serving.process is None

    def restart(self) -> None:
        """Restart it once its pause is over."""
        self.serving.due = 0.0
        self.supervisor._step()

    def received_signals(self) -> list[int]:
        """Return the signals of the processes that did not end."""
        return self.engine.process.signals + self.other.process.signals


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(subprocess, "Popen", FakeProcess)
    machine = Machine()
    yield machine
    machine.supervisor._kill_all()


FAULTS = [
    (subprocess, "Popen", OSError(errno.EAGAIN, "no process")),
    (Channel, "pair", OSError(errno.EMFILE, "no file")),
    (threading.Thread, "start", RuntimeError("can't start new thread")),
]


@pytest.mark.parametrize(("owner", "name", "fault"), FAULTS)
def test_a_process_that_cannot_be_restarted_is_started_later_and_the_others_continue(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    machine.end()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        machine.restart()
    assert not machine.serving.is_running
    assert machine.serving.due is not None
    assert machine.serving.pause >= supervisor._FIRST_PAUSE
    assert machine.received_signals() == []
    machine.restart()
    assert machine.serving.is_running
    assert machine.serving.process.name == "serving-1"
    assert machine.received_signals() == []


def test_the_startup_time_is_zero_while_a_process_is_not_ready(machine: Machine) -> None:
    def startup() -> list[float]:
        found = [family for family in machine.supervisor.collect() if family.name == STARTUP.name]
        return [sample.value for family in found for sample in family.samples]

    assert startup() == [0.0]
    for child in machine.supervisor._children:
        child.is_ready = True
    machine.supervisor._update_health()
    # These processes have no metrics.
    assert startup() == []
    machine.end()
    assert startup() == [0.0]


def test_a_process_without_its_first_start_ends_the_server(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FAULTS[0][2]

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(OSError, match="no process"):
        machine.supervisor._start(machine.serving)


def test_a_started_process_that_cannot_be_supervised_is_killed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[FakeProcess] = []

    def start(*arguments: Any, **fields: Any) -> FakeProcess:
        started.append(FakeProcess(*arguments, **fields))
        return started[-1]

    def fail(_: object) -> None:
        raise RuntimeError("can't start new thread")

    machine.end()
    monkeypatch.setattr(subprocess, "Popen", start)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        machine.restart()
    assert [process.signals for process in started] == [[signal.SIGKILL]]


def test_a_process_that_cannot_be_connected_is_restarted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "no file")

    machine.engine.is_up = True
    process = machine.serving.process
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", fail)
        machine.supervisor._events.put(("message", machine.serving, process, "up", []))
        machine.supervisor._step()
    assert process.signals == [signal.SIGKILL]
    assert machine.received_signals() == []
    # The end of the killed process is not another one.
    machine.supervisor._step()
    machine.restart()
    assert machine.serving.is_running
