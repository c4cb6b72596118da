"""Replaces servers one by one under load, as a rollout does; prints what callers saw: make rehearsal."""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.invariants import Leftovers
from chaos.replica import Replica
from headstart_server.database.database import Database
from histories.history import History
from postgres import PostgresServer
from rehearsal.balancers import PROGRAMS, Balancer
from rehearsal.callers import Callers, Seen
from server_process import eventually

BALANCERS = tuple(PROGRAMS)
REPLICAS = 3
#: Seconds that a server gets to serve or to end, and that callers get to see the ends of what they began.
PATIENCE = 90.0
#: Seconds under load before the first server is replaced, and after each one.
BREATH = 0.5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a rehearsal.

    Attributes:
        replaced: how often a server was stopped and came back.
        seen: what the callers behind each balancer saw, by its name.
        passed: calls that each balancer passed on, by how they ended, before the client tried any again.
        states: jobs by the state that they ended in.
        handed_over: jobs that more than one server worked at.
        violations: what must not have happened.
    """

    replaced: int
    seen: dict[str, Seen]
    passed: dict[str, Counter[str]]
    states: Counter[str]
    handed_over: int
    violations: list[str]

    @property
    def failures(self) -> list[str]:
        """The calls that failed."""
        return [f"{name}: {what}" for name, seen in self.seen.items() for what in seen.failures]

    def __str__(self) -> str:
        lines = [
            f"{self.replaced} servers replaced; {sum(self.states.values())} jobs: {_listed(self.states)}; "
            f"{self.handed_over} handed over to another server; {len(self.violations)} violations"
        ]
        for name, seen in self.seen.items():
            longest = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in sorted(seen.longest.items()))
            lines += [
                f"{name}: {sum(seen.calls.values())} calls answered ({_listed(seen.calls)}); "
                f"{len(seen.failures)} failed",
                f"  passed on, before the client tried again: {_listed(self.passed[name])}",
                f"  longest: {longest}",
            ]
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def run(folder: Path, *, balancers: Sequence[str], postgres: PostgresServer, seconds: float = 0.0) -> Outcome:
    """Replace each of three servers once, and again until the time is over.

    Args:
        folder: takes their files.
        balancers: those in front of the servers, ``nginx`` or ``haproxy``; each has its own callers.
        postgres: where their database is.
        seconds: how long at least.
    """
    address, artifacts = postgres.database(), folder / "artifacts"
    servers = [
        Replica(
            folder / f"replica-{place}",
            database=address,
            artifacts=str(artifacts),
            job_workers=2,
            grace_period="10s",
            # So that every job has work to do.
            feature_cache_memory="off",
            feature_cache_disk="off",
        )
        for place in range(REPLICAS)
    ]
    seen = {name: Seen() for name in balancers}
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start()
        for server in servers:
            wait_until_serving(server)
        ports = [server.port for server in servers]
        middle = {name: stack.enter_context(Balancer(name, ports)) for name in balancers}
        callers = [Callers(middle[name].target, seen[name]) for name in balancers]
        for each in callers:
            each.prepare()
        for each in callers:
            each.start()
        replaced = _replaced(servers, seconds)
        for each in callers:
            each.stop(PATIENCE)
        passed = {name: balancer.statuses() for name, balancer in middle.items()}
    database = Database(address)
    history = History(time.monotonic)
    for part in seen.values():
        for operation in part.operations:
            history.add(operation)
    leftovers = Leftovers(database, artifacts, history)
    violations = list(leftovers.violations())
    database.close()
    accepted = len(history.of("FineTune"))
    if len(leftovers.jobs) != accepted:
        violations.append(f"{accepted} jobs were submitted, and there are {len(leftovers.jobs)}")
    return Outcome(
        replaced=replaced,
        seen=seen,
        passed=passed,
        states=leftovers.states,
        handed_over=sum(row.attempt > 1 for row in leftovers.jobs.values()),
        violations=violations,
    )


def _replaced(servers: Sequence[Replica], seconds: float) -> int:
    """Replace each server, and again until the time is over; returns how often."""
    done, end = 0, time.monotonic() + seconds
    time.sleep(BREATH)
    while done == 0 or time.monotonic() < end:
        for server in servers:
            replace(server)
            done += 1
            time.sleep(BREATH)
    return done


def replace(server: Replica) -> None:
    """Stop a server and start it again, as a rollout does with its pods."""
    server.send(signal.SIGTERM)
    code = server.wait(PATIENCE)
    assert code == 0, f"The server ended with {code}:\n{server.log}"
    server.start()
    wait_until_serving(server)


def wait_until_serving(server: Replica) -> None:
    """Wait for what a readiness probe waits for."""

    def serves() -> bool:
        assert server.is_running, f"The server ended:\n{server.log}"
        with grpc.insecure_channel(server.target) as channel:
            request = health_pb2.HealthCheckRequest(service="headstart.v1.PredictionService")
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    eventually(serves, PATIENCE, f"a server on {server.target} that serves")


def main() -> int:
    """Rehearse; the exit code is 1 if a call failed or an invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="at least")
    parser.add_argument("--only", choices=BALANCERS, help="behind this balancer alone")
    options = parser.parse_args()
    balancers = [options.only] if options.only else BALANCERS
    try:
        for name in balancers:
            PROGRAMS[name].need()
        postgres = PostgresServer()
    except (pytest.skip.Exception, pytest.fail.Exception) as reason:
        print(reason)
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(Path(folder), balancers=balancers, postgres=postgres, seconds=options.minutes * 60)
    finally:
        postgres.close()
    print(outcome)
    wrong = [*outcome.failures, *outcome.violations]
    for what in wrong:
        print(f"  {what}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
