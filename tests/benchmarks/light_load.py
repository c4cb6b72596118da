"""Load from h2load, a generator in C that leaves the processor to the server on the same machine.

A client in Python takes a third of the time of two cores, so it measures itself. h2load repeats one prepared
request. It reports the status of HTTP only, and a failed gRPC call has the status 200, so the status of each
call is read from its trailers.
"""

import re
import struct
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from programs import H2LOAD

#: Longest warm-up in seconds.
_WARM_UP_SECONDS = 1.0
_REQUESTS = re.compile(r"^requests: .* (\d+) done, (\d+) succeeded, \d+ failed, (\d+) errored", re.M)
#: The status of a call and, if it follows, its message.
_STATUS = re.compile(
    r"^\[stream_id=\d+\] grpc-status: (\d+)\s*$(?:\n\[stream_id=\d+\] grpc-message: (.*)$)?", re.M
)


class LoadError(Exception):
    """h2load is missing or has not measured anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRequest:
    """A request that is sent again and again.

    Attributes:
        url: where it is sent.
        headers: its headers, except those that h2load adds.
        body: its body.
        is_grpc: whether it is a gRPC call over HTTP/2; otherwise a request of HTTP/1.1.
    """

    url: str
    headers: tuple[str, ...]
    body: bytes
    is_grpc: bool


def grpc_request(target: str, method: str, message: bytes) -> PreparedRequest:
    """Return a unary gRPC call.

    Args:
        target: host and port.
        method: full name of the method, beginning with a slash.
        message: serialized message.
    """
    return PreparedRequest(
        url=f"http://{target}{method}",
        headers=("content-type: application/grpc", "te: trailers"),
        body=b"\0" + struct.pack(">I", len(message)) + message,
        is_grpc=True,
    )


def http_request(target: str, content: bytes) -> PreparedRequest:
    """Return a request of HTTP/1.1 from its bytes: request line, headers and body."""
    head, _, body = content.partition(b"\r\n\r\n")
    line, *headers = head.decode("ascii").split("\r\n")
    # h2load adds these.
    kept = [each for each in headers if each.partition(":")[0].lower() not in {"host", "content-length"}]
    return PreparedRequest(
        url=f"http://{target}{line.split()[1]}", headers=tuple(kept), body=body, is_grpc=False
    )


def measure(request: PreparedRequest, *, callers: int, seconds: float) -> dict[str, Any]:
    """Send a request with a connection for each caller, after a short warm-up.

    Returns:
        ``per_second``, ``p50_ms`` and ``p99_ms`` of the calls, ``answered`` as their number, and ``failures``
        as the number of each error, also of the warm-up.

    Raises:
        LoadError: h2load is missing or no call has ended.
    """
    program = H2LOAD.find()
    if program is None:
        raise LoadError(H2LOAD.reason)
    with tempfile.TemporaryDirectory(prefix="h2load-") as name:
        body, calls, printed = (Path(name) / file for file in ("body", "calls", "printed"))
        body.write_bytes(request.body)
        command = [str(program), f"--clients={callers}", "--max-concurrent-streams=1", "--verbose"]
        command += [f"--duration={round(seconds * 1e3)}ms"]
        command += [f"--warm-up-time={round(min(_WARM_UP_SECONDS, seconds / 2) * 1e3)}ms"]
        command += [
            f"--data={body}",
            f"--log-file={calls}",
            *(f"--header={each}" for each in request.headers),
        ]
        command += [request.url] if request.is_grpc else ["--h1", request.url]
        with printed.open("wb") as file:
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
        output = printed.read_text(errors="replace")
        lines = calls.read_text().splitlines() if calls.exists() else []
    return _measured(output, lines, seconds, is_grpc=request.is_grpc)


def _measured(output: str, calls: list[str], seconds: float, *, is_grpc: bool) -> dict[str, Any]:
    """Return the figures of what h2load printed and of its log, which has the microseconds of each call."""
    found = _REQUESTS.search(output)
    if found is None or not calls:
        raise LoadError(f"Expected calls that end within {seconds:g} s. h2load printed: {output[-500:]}")
    done, succeeded, errored = map(int, found.groups())
    failures = _grpc_failures(output, done) if is_grpc else Counter[str]()
    if done - succeeded:
        failures["HTTP status"] = done - succeeded
    if errored:
        failures["connection"] = errored
    p50, p99 = np.percentile([int(line.split()[2]) / 1e3 for line in calls], [50, 99])
    return {
        "per_second": done / seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "answered": done,
        "failures": dict(failures),
    }


def _grpc_failures(output: str, done: int) -> Counter[str]:
    """Count the statuses other than OK in trailers, each with its message, and the calls without a status."""
    statuses: list[tuple[str, str]] = _STATUS.findall(output)
    failures = Counter(
        f"gRPC status {status}: {message.strip()}"[:200] for status, message in statuses if status != "0"
    )
    if len(statuses) < done:
        failures["no gRPC status"] = done - len(statuses)
    return failures
