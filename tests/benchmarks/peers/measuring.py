"""One contender with so many variants: started, awaited until all of them answer, checked, loaded, ended."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import light_load
from light_load import LoadError
from peers.contenders import HEADSTART, Contender, Job, asking_of
from peers.process_group import ProcessGroup, ServerEnded, listens, started, wait_until
from peers.transports import ANSWER_SECONDS, FAILURES, connected
from peers.variants import CLASSES, expected_path

#: Largest difference of a probability from the one that Keras gives in float32.
TOLERANCE = 0.15


class WrongAnswer(Exception):
    """A server does not answer what its network gives."""


@dataclass(kw_only=True, slots=True)
class Measured:
    """What one contender did with so many variants.

    Attributes:
        title: of the contender.
        variants: how many.
        ready_seconds: from its start until every variant was loaded everywhere and had answered.
        memory: bytes held after the loads.
        loads: by the number of callers, what `peers.load` printed.
        light_loads: by the number of callers, what h2load measured with one image of the first variant.
        fault: why something is missing.
        ended_early: whether it ended by itself before it was ready.
        attempts: how often it was started.
        notes: what it said about itself.
    """

    title: str
    variants: int
    ready_seconds: float | None = None
    memory: int | None = None
    loads: dict[int, dict[str, Any]] = field(default_factory=dict)
    light_loads: dict[int, dict[str, Any]] = field(default_factory=dict)
    fault: str | None = None
    ended_early: bool = False
    attempts: int = 1
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to measure.

    Attributes:
        callers: numbers of callers at once, one after the other.
        seconds: of each load.
        bound: seconds a server gets until it is ready.
        images: folder of the image files.
        light: whether h2load is used, too.
    """

    callers: Sequence[int]
    seconds: float
    bound: float
    images: Path
    light: bool


def measure(contender: Contender, job: Job, plan: Plan) -> Measured:
    """Start, check, load and end one contender; what goes wrong is part of what was measured."""
    measured = Measured(title=contender.title, variants=len(job.variants))
    measured.fault = contender.missing()
    if measured.fault:
        return measured
    job.loaded.mkdir(parents=True)
    began = time.monotonic()
    with started(contender.command(job), contender.environment(job), folder=job.folder) as group:
        try:
            first = plan.images.joinpath("000.jpg").read_bytes()
            _wait_until_ready(contender, job, group, first, began + plan.bound)
            measured.ready_seconds = time.monotonic() - began
            for callers in plan.callers:
                before = group.cpu_seconds()
                load = measured.loads[callers] = _load(contender, job, plan, callers)
                load["server_cpu_ms"] = 1e3 * (group.cpu_seconds() - before) / max(1, load["answered"])
                group.check()
            for callers in plan.callers if plan.light else ():
                measured.light_loads[callers] = _light_load(contender, job, first, callers, plan.seconds)
                group.check()
            measured.memory = group.memory()
            _check_first(contender, job, group, first)
        except (ServerEnded, TimeoutError, WrongAnswer, LoadError) as error:
            measured.fault = str(error)
            measured.ended_early = isinstance(error, ServerEnded) and measured.ready_seconds is None
            measured.memory = measured.memory or group.memory()
        said = {line for line in group.log.splitlines() if line.startswith("OpenVINO computes")}
        measured.notes = sorted(said)
    return measured


def _wait_until_ready(
    contender: Contender, job: Job, group: ProcessGroup, file: bytes, deadline: float
) -> None:
    loads = contender.loads(job)
    wait_until(lambda: len(list(job.loaded.iterdir())) >= loads, group, deadline, "loaded")
    wait_until(lambda: listens(job.ports[0]), group, deadline, "listening")
    for variant in job.variants:
        _check_answer(contender, job, group, file, variant, deadline)


def _check_first(contender: Contender, job: Job, group: ProcessGroup, file: bytes) -> None:
    """Check that the first variant still answers as it should: fast wrong answers are not counted."""
    deadline = time.monotonic() + ANSWER_SECONDS
    _check_answer(contender, job, group, file, job.variants[0], deadline)


def _check_answer(
    contender: Contender, job: Job, group: ProcessGroup, file: bytes, variant: str, deadline: float
) -> None:
    answer = asyncio.run(_first_answer(contender, job, group, file, variant, deadline))
    _check(contender, variant, answer, json.loads(expected_path(job.networks).read_text()))


async def _first_answer(
    contender: Contender, job: Job, group: ProcessGroup, file: bytes, variant: str, deadline: float
) -> Sequence[float]:
    """Return the answer of one variant, retried until it comes: a port may be open before all is ready."""
    asking = asking_of(contender.protocol, [variant], [file])
    while True:
        try:
            async with connected(f"127.0.0.1:{job.ports[0]}", asking.method) as call:
                return asking.probabilities(await call(asking.request(variant, 0)))
        except FAILURES as error:
            group.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{variant} did not answer in time: {error}"[:300]) from None
            await asyncio.sleep(0.1)


def _check(
    contender: Contender, variant: str, answer: Sequence[float], expected: dict[str, Sequence[float]]
) -> None:
    if len(answer) != CLASSES or abs(sum(answer) - 1) > 0.01:
        raise WrongAnswer(f"{variant} answered {answer}, no probabilities of {CLASSES} classes")
    if contender.name == HEADSTART:
        return  # its heads were fitted, not given
    errors = {name: float(np.abs(np.subtract(answer, values)).max()) for name, values in expected.items()}
    if min(errors, key=errors.__getitem__) != variant or errors[variant] > TOLERANCE:
        raise WrongAnswer(f"{variant} answered {answer} for {expected[variant]}")


def _light_load(contender: Contender, job: Job, file: bytes, callers: int, seconds: float) -> dict[str, Any]:
    target, variant = f"127.0.0.1:{job.ports[0]}", job.variants[0]
    asking = asking_of(contender.protocol, [variant], [file])
    message = asking.request(variant, 0)
    if asking.method is None:
        request = light_load.http_request(target, message)
    else:
        request = light_load.grpc_request(target, asking.method, message)
    return light_load.measure(request, callers=callers, seconds=seconds)


def _load(contender: Contender, job: Job, plan: Plan, callers: int) -> dict[str, Any]:
    task = {
        "protocol": contender.protocol,
        "target": f"127.0.0.1:{job.ports[0]}",
        "variants": list(job.variants),
        "callers": callers,
        "seconds": plan.seconds,
        "images": str(plan.images),
    }
    done = subprocess.run(
        [sys.executable, "-m", "peers.load"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
