"""A job waits for a bucket that is away: it is no fault of the job, and nothing is done twice for it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import JobDriver
from headstart_server.errors import StorageUnavailable
from headstart_server.jobs.running import JobCancelledError
from workbench import Workbench, pets


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver)
    yield bench
    bench.close()


def away_at_first(call: Callable[..., Any], times: int) -> Callable[..., Any]:
    """The call, which finds the bucket away at first."""
    left = [times]

    def called(*arguments: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StorageUnavailable("The bucket does not answer.")
        return call(*arguments, **named)

    return called


@pytest.mark.parametrize("what", ["open", "write"])
def test_a_job_goes_on_when_the_bucket_is_back(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pauses: list[float] = []
    bench.steps = replace(bench.steps, reporting=replace(bench.steps.reporting, sleep=pauses.append))
    place = bench.datasets if what == "open" else bench.driver.publisher.store
    monkeypatch.setattr(place, what, away_at_first(getattr(place, what), 3))
    version = bench.published(pets(4))
    assert version.number == 1
    assert len(pauses) == 3
    assert max(bench.backbone.decoded.values()) == 1


def test_a_job_that_waits_for_the_bucket_can_be_cancelled(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    bench.steps = replace(bench.steps, reporting=replace(bench.steps.reporting, sleep=pauses.append))
    monkeypatch.setattr(bench.datasets, "open", away_at_first(bench.datasets.open, 1000))
    job = bench.accept(pets(4))

    def checkpoint() -> None:
        if len(pauses) == 5:
            raise JobCancelledError(job.job_id)

    with pytest.raises(JobCancelledError):
        bench.run(checkpoint=checkpoint)
    assert len(pauses) == 5
