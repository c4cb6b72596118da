"""Logs: what a stack trace in them holds, and what it does not."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, structlog
from headstart_server.telemetry import configure_logs
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
