"""The memory of jobs: what does not fit is refused, and what does not fit next to others waits."""

from pathlib import Path

import pytest

from fakes import JobDriver, ManualClock
from headstart_server.backbones.contract.machine import limit_bytes
from headstart_server.errors import JobMemoryLimit
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Partial, Recipe, Ridge
from headstart_server.training.job_admission import check_memory, memory_budget
from postgres import on_both_databases

GIB = 1 << 30


@pytest.mark.parametrize("recipe", [Auto(), Ridge(), Logistic(), Mlp()])
def test_what_no_machine_like_this_can_hold_is_refused_with_numbers_and_a_remedy(recipe: Recipe) -> None:
    with pytest.raises(JobMemoryLimit) as raised:
        check_memory(recipe, [{"last": 65_536}], examples=50_000, outputs=3, limit=16 * GIB)
    error = raised.value
    # The features alone are 13 GB.
    assert int(error.metadata["estimate"]) > 13e9
    assert error.metadata["limit"] == str(16 * GIB)
    assert "50,000 examples with 65,536 features each" in error.message
    assert "gives 16.0 GiB to jobs (--job-memory). Use fewer examples" in error.message


def test_an_ordinary_fine_tune_fits_a_small_server() -> None:
    views = [{"last": 1280, "taps": 784}]
    for recipe in (Auto(), Ridge(), Mlp()):
        estimate = check_memory(recipe, views, examples=1000, outputs=10, limit=None)
        assert estimate is not None
        assert estimate < GIB / 2
    assert check_memory(Partial(), views, examples=1000, outputs=10, limit=None) > GIB


def test_of_several_backbones_the_largest_counts_and_of_unknown_ones_nothing_is_known() -> None:
    one, other = {"last": 64}, {"last": 2048}
    both = check_memory(Ridge(), [one, other, {}], examples=5000, outputs=2, limit=None)
    assert both == check_memory(Ridge(), [other], examples=5000, outputs=2, limit=None)
    assert check_memory(Ridge(), [{}], examples=5000, outputs=2, limit=1) is None


def test_the_budget_is_what_the_machine_or_container_leaves(tmp_path: Path) -> None:
    assert memory_budget(100 << 20, 0) == 100 << 20
    assert memory_budget(None, GIB, total=16 * GIB) == 14 * GIB
    # However small it is, jobs get some.
    assert memory_budget(None, GIB, total=2 * GIB) == GIB // 2
    machine, container = tmp_path / "meminfo", tmp_path / "memory.max"
    machine.write_text("MemTotal:       16777216 kB\n")
    container.write_text("max\n")
    assert limit_bytes(tmp_path, tmp_path / "own", machine) == 16 * GIB
    container.write_text(f"{4 * GIB}\n")
    assert limit_bytes(tmp_path, tmp_path / "own", machine) == 4 * GIB


@on_both_databases
def test_jobs_run_next_to_each_other_only_within_the_budget(driver: JobDriver, clock: ManualClock) -> None:
    for job_id, nbytes in (("a", 60), ("b", 60), ("c", 30), ("d", 101)):
        driver.submit(job_id, memory_bytes=nbytes)
        clock.advance(1)
    job_store = driver.restarted(memory_bytes=100)
    first = job_store.queue.claim()
    assert first is not None
    assert (first.job_id, first.memory_bytes) == ("a", 60)
    # The next one waits until it fits, and later ones behind it: else small jobs would keep it waiting.
    assert job_store.queue.claim({"a"}, used_bytes=60) is None
    second = job_store.queue.claim({"a"}, used_bytes=40)
    assert second is not None
    assert second.job_id == "b"
    third = job_store.queue.claim({"b"}, used_bytes=60)
    assert third is not None
    assert third.job_id == "c"
    # What does not fit here at all waits for a larger replica, and keeps nothing waiting.
    assert job_store.queue.claim() is None
    larger = driver.restarted(memory_bytes=101).queue.claim()
    assert larger is not None
    assert larger.job_id == "d"


@on_both_databases
def test_a_suspected_job_does_not_run_next_to_other_work(driver: JobDriver) -> None:
    driver.submit("suspected")
    driver.claim()
    driver.crash()
    assert driver.job_store.queue.claim(used_bytes=1) is None
    assert driver.claim().runs_alone
