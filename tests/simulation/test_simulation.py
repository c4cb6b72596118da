"""Simulations of replicas and their data loop keep every promise, replay exactly, and find planted bugs.

`make simulate` runs as many as wanted.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import psutil
import pytest

from server_process import eventually
from simulation.bugs import BUGS
from simulation.coverage import TROUBLES
from simulation.data_bugs import DATA_BUGS
from simulation.plan import plan_of
from simulation.runner import Failure, Simulator, simulator

#: Seconds in which clean simulations are run, and how many there are at the least and at the most.
SECONDS = 5.0
AT_LEAST, AT_MOST = 300, 5000
#: Simulations in which a bug must be found; most are within a hundred.
BUDGET = 10_000
#: Seeds that find a bug which few find. The search begins there, and takes all others if plans have changed.
LIKELY = {
    "missing-fence": 673,
    "stale-alias": 580,
    "erased-is-copied": 361,
    "retrain-forgets": 754,
    "erased-in-successor": 9971,
    "successor-overwritten": 1888,
    "erased-capture-returns": 3122,
    "deleted-job-is-lost": 1877,
}

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def simulations() -> Iterator[Simulator]:
    with simulator() as made:
        yield made


def found(simulations: Simulator, first: int = 0, *, of_data: bool = False) -> Failure | None:
    """Return the first failure; with `of_data` only simulations with a data loop are run."""
    seeds: Iterable[int] = chain(range(first, BUDGET), range(first))
    if of_data:
        seeds = (seed for seed in seeds if plan_of(seed).policy is not None)
    return next((failure for failure in simulations.failures(seeds) if failure is not None), None)


def test_no_simulation_breaks_a_promise(simulations: Simulator) -> None:
    deadline = time.monotonic() + SECONDS
    broken = {}
    for count, failure in enumerate(simulations.failures(range(AT_MOST)), start=1):
        if failure is not None:
            broken[failure.plan.seed] = failure.violations
        if time.monotonic() > deadline and count >= AT_LEAST:
            break

    assert broken == {}
    # Each kind of trouble occurred: otherwise a clean run would mean little.
    assert [trouble for trouble in TROUBLES if not simulations.coverage[trouble]] == []


def test_a_seed_replays_step_by_step(simulations: Simulator) -> None:
    for seed in (1, 2, 3):
        traces: list[list[str]] = [[], []]
        for trace in traces:
            simulations.run(plan_of(seed), trace.append)

        assert traces[0] == traces[1]
        assert len(traces[0]) > 20


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    with simulator(bug) as simulations:
        assert found(simulations, LIKELY.get(bug, 0), of_data=bug in DATA_BUGS) is not None


def test_a_failing_simulation_is_made_smaller() -> None:
    with simulator("lost-webhook") as simulations:
        failure = found(simulations)
        assert failure is not None
        smallest = simulations.smallest(failure)

    assert smallest.plan.size < failure.plan.size
    assert len(smallest.plan.steps) <= len(failure.plan.steps) / 2
    assert any("webhook" in violation for violation in smallest.violations)


def test_simulations_end_with_the_process_that_began_them() -> None:
    command = [sys.executable, "-m", "simulation.run", "--seeds", "1000000", "--processes", "2"]
    folder = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as run:
        parent = psutil.Process(run.pid)

        def workers() -> list[psutil.Process]:
            return [each for each in parent.children() if "spawn_main" in " ".join(each.cmdline())]

        eventually(lambda: len(workers()) == 2, 120, "two workers")
        # All have begun a simulation.
        eventually(lambda: all(sum(each.cpu_times()[:2]) > 1.0 for each in workers()), 120, "their work")
        started = workers()
        run.terminate()
        run.wait()
        _, alive = psutil.wait_procs(started, 60)
    assert alive == []


def test_a_bug_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected one of the bugs missing-fence"), simulator("typo"):
        pass
