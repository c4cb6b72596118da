"""`make simulate SEEDS=10000` simulates on all cores; `make simulate SEED=123` replays one with a trace."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context

from headstart_server.processes.process_spec import die_with
from simulation.bugs import BUGS
from simulation.coverage import Coverage, described
from simulation.plan import plan_of
from simulation.runner import Failure, Simulator, simulator

#: Simulations that a process runs before it reports; few where the first failure ends all.
CHUNK, SMALL_CHUNK = 1000, 20
#: How many were run, those that failed, and how often each kind of trouble occurred.
_Result = tuple[int, list[Failure], Coverage]
#: Seconds between two reports of how far it is.
REPORT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of many simulations.

    Attributes:
        count: how many were run.
        seconds: how long that took.
        failures: those in which something was broken, by seed.
        coverage: how often each kind of trouble occurred.
    """

    count: int
    seconds: float
    failures: tuple[Failure, ...]
    coverage: Coverage

    def __str__(self) -> str:
        rate = self.count / max(self.seconds, 1e-9)
        return (
            f"{self.count} simulations in {self.seconds:.1f} s ({rate:.1f} a second), "
            f"{len(self.failures)} with violations. Troubles: {described(self.coverage)}."
        )


def run_many(seeds: range, *, bug: str = "", processes: int = 1, stop_at_failure: bool = False) -> Outcome:
    """Run many simulations in several processes, and print how far they are.

    Args:
        seeds: of the simulations.
        bug: the bug that the server has; empty for none.
        processes: how many run at once.
        stop_at_failure: whether the first failure is enough.
    """
    started = reported = time.monotonic()
    count, failures, coverage = 0, list[Failure](), Coverage()
    for done, found, troubles in _results(seeds, bug, processes, stop_at_failure):
        count += done
        failures += found
        coverage += troubles
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            print(
                Outcome(
                    count=count,
                    seconds=reported - started,
                    failures=tuple(failures),
                    coverage=coverage,
                ),
                flush=True,
            )
        for failure in found:
            print(f"seed {failure.plan.seed}: {'; '.join(failure.violations)[:600]}", flush=True)
        if failures and stop_at_failure:
            break
    failures.sort(key=lambda each: each.plan.seed)
    seconds = time.monotonic() - started
    return Outcome(count=count, seconds=seconds, failures=tuple(failures), coverage=coverage)


def _results(seeds: range, bug: str, processes: int, stop: bool) -> Iterator[_Result]:
    size = SMALL_CHUNK if stop else CHUNK
    chunks = (seeds[start : start + size] for start in range(0, len(seeds), size))
    # New processes, for the simulator patches the one it is in.
    pool = ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=die_with, initargs=(os.getpid(),)
    )
    try:
        pending: set[Future[_Result]] = set()
        for chunk in chunks:
            pending.add(pool.submit(_run_chunk, chunk, bug, stop))
            if len(pending) > processes:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        yield from (each.result() for each in pending)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_chunk(seeds: range, bug: str, stop: bool) -> _Result:
    found: list[Failure] = []
    count = 0
    with simulator(bug) as simulations:
        for failure in simulations.failures(seeds):
            count += 1
            if failure is not None:
                found.append(failure)
                if stop:
                    break
    return count, found, simulations.coverage


def replay(simulations: Simulator, seed: int) -> list[str]:
    """Run one simulation and print its plan and all that happens; then, if it fails, the smallest like it."""
    broken = _reported(simulations, Failure(plan=plan_of(seed), violations=()))
    if broken:
        smallest = simulations.smallest(Failure(plan=plan_of(seed), violations=tuple(broken)))
        print(f"\nThe smallest simulation of seed {seed} that fails alike:\n")
        _reported(simulations, smallest)
    return broken


def _reported(simulations: Simulator, failure: Failure) -> list[str]:
    plan = failure.plan
    print(
        f"Seed {plan.seed}: {plan.replicas} replicas, {plan.versions} versions, {plan.faults} faults of "
        f"transactions ({plan.fault_share:.0%} each), {plan.slow_share:.0%} slow, {plan.loss_share:.0%} of "
        "notifications lost"
    )
    for step in plan.steps:
        print(f"  {step}")
    print()
    broken = simulations.run(plan, print)
    print()
    print("\n".join(f"BROKEN: {each}" for each in broken) or "Nothing is broken.")
    return broken


def main() -> int:
    """Run what the arguments say; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many simulations to run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one with its trace")
    parser.add_argument(
        "--bug", default="", choices=["", *BUGS], help="plant this bug, and stop once it is found"
    )
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)), help="how many run at once"
    )
    arguments = parser.parse_args()
    if arguments.seed is not None:
        with simulator(arguments.bug) as simulations:
            return bool(replay(simulations, arguments.seed))
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    outcome = run_many(
        seeds, bug=arguments.bug, processes=arguments.processes, stop_at_failure=bool(arguments.bug)
    )
    print(outcome)
    if outcome.failures:
        seed, bug = outcome.failures[0].plan.seed, f" BUG={arguments.bug}" if arguments.bug else ""
        print(f"Replay one with: make simulate SEED={seed}{bug}")
    return bool(outcome.failures) != bool(arguments.bug)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is part of what a seed replays.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "simulation.run", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
