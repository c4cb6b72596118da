"""Fine-tunes on backbones that are still being prepared: they are accepted, and wait."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import PATIENCE, FakeBackbone, JobDriver
from headstart_server.errors import BackboneUnavailable, InvalidField
from headstart_server.jobs.job import JobState
from headstart_server.jobs.running import JobCancelledError
from headstart_server.jobs.workers import time_limit_error
from headstart_server.learning.heads.recipe import Ridge
from workbench import Workbench, pets


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("late"), loaded=False)
    bench.source.unprepared |= {"late", "fake"}
    yield bench
    bench.close()


@pytest.fixture
def may_load(bench: Workbench) -> Iterator[threading.Event]:
    may_load = threading.Event()
    bench.source.before_load = lambda _: may_load.wait(PATIENCE)
    yield may_load
    may_load.set()


@pytest.mark.parametrize(
    "spec", [{"backbone": "late"}, {"backbone": "auto", "backbone_candidates": ("late", "fake")}]
)
@pytest.mark.parametrize("stop", [JobCancelledError("job"), time_limit_error("The job", 60.0)])
def test_a_job_stops_while_its_backbone_is_loaded(
    bench: Workbench, spec: dict[str, Any], stop: Exception
) -> None:
    begun, may_load = threading.Event(), threading.Event()
    names: list[str] = []
    ended: list[bool] = []

    def load(name: str) -> None:
        names.append(name)
        begun.set()
        ended.append(may_load.wait(PATIENCE))

    def checkpoint() -> None:
        if begun.is_set():
            raise stop

    bench.source.before_load = load
    bench.accept(pets(), **spec)
    with pytest.raises(type(stop)):
        bench.run(bench.driver.claim(), checkpoint)
    assert ended == []
    may_load.set()
    # Its batcher must be there when the workbench is closed.
    bench.pool.load(names[0])


@pytest.mark.parametrize(("named", "used"), [("late", "late"), ("", "fake")])
def test_a_job_is_accepted_and_waits_for_its_backbone(
    bench: Workbench, may_load: threading.Event, named: str, used: str
) -> None:
    job = bench.accept(pets(), backbone=named)
    assert (job.state, job.spec.backbone) == (JobState.QUEUED, used)

    may_load.set()
    assert bench.registry.reader.version("pets", bench.run()).manifest.backbone == used


def test_a_job_fails_if_its_backbone_turns_out_to_lack_what_its_recipe_needs(
    bench: Workbench, may_load: threading.Event
) -> None:
    bench.accept(pets(), backbone="late", recipe=Ridge(views=("nowhere",)))

    may_load.set()
    with pytest.raises(InvalidField, match=r"Expected a view of backbone 'late': .*Received: 'nowhere'"):
        bench.run()


def test_a_backbone_that_could_not_be_prepared_a_moment_ago_is_rejected_at_once(bench: Workbench) -> None:
    def fail(_: str) -> None:
        raise BackboneUnavailable("Backbone 'late' is unavailable: it is lost.")

    bench.source.before_load = fail
    with pytest.raises(BackboneUnavailable):
        bench.pool.load("late")
    with pytest.raises(BackboneUnavailable):
        bench.accept(pets(), backbone="late")
