"""Logs: the contents of a stack trace; metrics: the number of series."""

import subprocess
import sys

import pytest
from prometheus_client import generate_latest

from headstart_server.observability.telemetry import Telemetry

PROGRAM = """
import sys, structlog
from headstart_server.observability.telemetry import configure_logs
configure_logs(level="info", json=sys.argv[1] == "json")
def call():
    token = "hunter" + "2"
    raise RuntimeError("It broke.")
try:
    call()
except RuntimeError:
    structlog.get_logger().exception("call_failed")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_stack_trace_has_no_values_of_variables(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True)
    assert "It broke." in done.stderr
    assert "call_failed" in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 or form == "text"


def test_damaged_forms_of_callers_leave_no_line() -> None:
    program = """
from headstart_server.observability.telemetry import configure_logs
configure_logs(level="info", json=True)
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
try:
    MultipartParser(b"x", {}).write(b"no form")
except MultipartParseError:
    print("damaged")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("damaged\n", "")


def test_a_version_with_canary_traffic_adds_few_series() -> None:
    telemetry = Telemetry("1.0")
    before = generate_latest(telemetry.registry).splitlines()
    for version in range(10):
        telemetry.canary_call_ended([("pets", version)], "OK", 0.1)
    added = generate_latest(telemetry.registry).splitlines()[len(before) :]
    # Bounds of the histogram, its sum and count, and a counter; no creation times.
    assert len(added) <= 10 * 12
    assert not any(b"_created" in line for line in added)
