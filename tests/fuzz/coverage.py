"""Feeds parsers with what reaches new lines of theirs: Atheris, on libFuzzer. `make fuzz ENGINE=atheris`.

Nothing of the server may be imported here before it is instrumented.
"""

import io
import os
import sys
import time
import warnings
from contextlib import redirect_stderr
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris
import psutil

# Where new lines count. It prints the name of each module.
with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["headstart", "headstart_server"]):
    from fuzz.parsers import Feeding
    from fuzz.targets import targets

#: Seconds between two signs of life.
_BEAT_SECONDS = 5.0
#: Bytes of an input.
_MAX_BYTES = 20_000


def feed(name: str, seconds: float, number: int, results: Connection, last: Path) -> None:
    """As `fuzz.parsers.feed`; the process ends with it."""
    warnings.simplefilter("ignore")
    # What the engine prints of itself is for who writes fuzzers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    target = targets()[name]
    feeding = Feeding(target, last)
    process, began, beat, half = psutil.Process(), time.monotonic(), 0.0, 0
    each = feeding.one if target.seeds else _drawn(target.inputs, feeding.one)

    def one(content: bytes) -> None:
        nonlocal beat, half
        each(content)
        passed = time.monotonic() - began
        if passed >= beat:
            results.send(None)
            beat = passed + _BEAT_SECONDS
        if not half and passed >= seconds / 2:
            half = process.memory_info().rss
        if passed >= seconds:
            results.send(feeding.result(process.memory_info().rss - half))
            # libFuzzer has no other end after which the counts can be sent.
            os._exit(0)

    with TemporaryDirectory() as corpus:
        for place, content in enumerate(target.seeds):
            (Path(corpus) / str(place)).write_bytes(content)
        arguments = [sys.argv[0], f"-seed={number % (1 << 31)}", f"-max_len={_MAX_BYTES}", "-rss_limit_mb=0"]
        # Inputs that take long, which it would write to the current folder.
        arguments.append(f"-artifact_prefix={corpus}/")
        atheris.Setup([*arguments, "-timeout=600", corpus], one)
        atheris.Fuzz()


def _drawn(inputs, take):
    """Feeds what hypothesis makes of bytes, for parsers that take other values than bytes."""
    from hypothesis import HealthCheck, given, settings

    @settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def each(given_input: object) -> None:
        take(given_input)

    return each.hypothesis.fuzz_one_input
