"""Fine-tunes on backbones that are still being prepared: they are accepted, and wait."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import PATIENCE, FakeBackbone, JobDriver
from headstart_server.errors import BackboneUnavailable, InvalidField
from headstart_server.jobs.job import JobState
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
