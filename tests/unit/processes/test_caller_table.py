"""Limits that serving processes count together."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart_server.api.grpc.rate_limits import SharedRateLimiter
from headstart_server.processes.caller_table import CALLS, PROBES, SLOTS, CallerTable

SERVER = Path(__file__).parents[3] / "server"


@pytest.fixture
def descriptor() -> Iterator[int]:
    descriptor = CallerTable.create(2)
    yield descriptor
    os.close(descriptor)


def test_two_processes_take_from_one_bucket(descriptor: int):
    tables = [CallerTable(descriptor, count=2, number=number) for number in (1, 2)]
    limiters = [SharedRateLimiter(table, CALLS, 0.001, burst=10) for table in tables]
    taken = [limiters[place % 2].acquire("ann") == 0.0 for place in range(14)]
    assert taken == [True] * 10 + [False] * 4
    assert limiters[1].acquire("ben") == 0.0


def test_concurrent_calls_of_two_processes_count_together(descriptor: int):
    one, other = (CallerTable(descriptor, count=2, number=number) for number in (1, 2))
    now = time.monotonic()
    assert one.start_call("ann", now, 2)
    assert other.start_call("ann", now, 2)
    assert not one.start_call("ann", now, 2)
    other.end_call("ann", now)
    assert one.start_call("ann", now, 2)


def test_the_successor_of_a_process_clears_its_calls(descriptor: int):
    one, other = (CallerTable(descriptor, count=2, number=number) for number in (1, 2))
    now = time.monotonic()
    assert one.start_call("ann", now, 2)
    assert other.start_call("ann", now, 2)
    CallerTable(descriptor, count=2, number=2)
    assert one.start_call("ann", now, 2)
    assert not one.start_call("ann", now, 2)


def test_a_killed_process_leaves_the_table_usable(descriptor: int):
    table = CallerTable(descriptor, count=2, number=1)
    program = (
        "import fcntl, os, signal, sys\n"
        "fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(descriptor)], pass_fds=[descriptor], check=False
    )
    assert ended.returncode == -9
    assert table.start_call("ann", time.monotonic(), 1)


def test_more_callers_than_slots_forget_those_that_owe_nothing(descriptor: int):
    table = CallerTable(descriptor, count=2, number=1)
    now = time.monotonic()
    assert table.start_call("busy", now, 1)
    table.exchange("owing", CALLS, now, lambda _: now + 1000.0)
    for number in range(2 * SLOTS):
        table.exchange(f"caller-{number}", CALLS, now, lambda _: now)
    assert not table.start_call("busy", now, 1)
    seen = []
    table.exchange("owing", CALLS, now, lambda full: seen.append(full) or full)
    assert seen == [now + 1000.0]
    assert PROBES < SLOTS
