"""Servers under chaos for a while, then the invariants. `make chaos MINUTES=10` prints what came of it."""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from sqlalchemy import func, select

from chaos.clients import Clients
from chaos.invariants import Leftovers
from chaos.replica import Replica
from chaos.trouble import LEASE_SECONDS, OUTAGE_SECONDS, Trouble
from headstart_server.database.database import Database
from headstart_server.database.feedback_tables import feedback
from headstart_server.datasets import example_eraser
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.errors import DatabaseUnavailable
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import JobState
from headstart_server.learning.examples.dataset import DatasetLimits
from histories.history import History
from postgres import PostgresServer
from programs import POSTGRESQL

#: Seconds that all jobs get to end after the last disturbance.
SETTLE_SECONDS = 120.0


_UNLEARNED = select(func.count()).where(feedback.c.state.in_(["pending", "training"]))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        trouble: what was done, by kind.
        states: jobs by the state that they ended in.
        take_overs: jobs taken from dead owners.
        operations: calls by kind and outcome, which were checked.
        violations: what must not have happened.
    """

    trouble: Counter[str]
    states: Counter[str]
    take_overs: int
    operations: Counter[str]
    violations: list[str]

    def __str__(self) -> str:
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.trouble.items()))
        ends = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        calls = ", ".join(f"{count} {kind}" for kind, count in sorted(self.operations.items()))
        return (
            f"{done}; {self.take_overs} take-overs; {sum(self.states.values())} jobs: {ends}; "
            f"checked history: {calls}; {len(self.violations)} violations"
        )


def run(
    folder: Path,
    *,
    replicas: int,
    postgres: PostgresServer | None,
    seconds: float,
    seed: int,
    outage_seconds: float = OUTAGE_SECONDS,
    promised_seconds: float = 1.0,
) -> Outcome:
    """Run servers on one database under chaos.

    Args:
        folder: takes their files.
        replicas: how many.
        postgres: where their database is; None for SQLite.
        seconds: how long.
        seed: of all choices.
        outage_seconds: for how long the database is away at the most.
        promised_seconds: after which every replica knows of a change.
    """
    artifacts = folder / "artifacts"
    address = postgres.database() if postgres else f"sqlite:///{folder / 'jobs.sqlite3'}"
    servers = [
        Replica(
            folder / f"replica-{place}",
            database=address,
            artifacts=str(artifacts),
            lease_duration=f"{LEASE_SECONDS}s",
            job_workers=2,
            grace_period="5s",
            feature_cache_memory="off",
            feature_cache_disk="off",
            max_queued_jobs=40,
            # Nothing may rest on the clock of a replica.
            clock_ahead_seconds=3600.0 * place,
        )
        for place in range(replicas)
    ]
    history = History(time.monotonic, promised_seconds)
    trouble = Trouble(servers, postgres, seed, history, outage_seconds)
    clients = Clients([server.target for server in servers], history, seed)
    try:
        for server in servers:
            server.start()
        clients.start()
        trouble.make(seconds)
        with _kept_running(servers):
            clients.stop()
        # A deadly job still has servers to kill.
        left = _settle(address, servers)
        clients.call_after_all()
        clients.join_watchers(60)
    finally:
        for server in servers:
            server.kill()
    history.save(folder / "history.jsonl")
    database = Database(address)
    _clean_an_hour_later(database, artifacts)
    leftovers = Leftovers(database, artifacts, history, clients.deadly)
    database.close()
    violations = [*clients.violations, *leftovers.violations(), *left]
    return Outcome(
        trouble=trouble.done,
        states=leftovers.states,
        take_overs=leftovers.take_overs,
        operations=Counter(f"{op.kind} {op.outcome}" for op in history.of()),
        violations=violations,
    )


@contextmanager
def _kept_running(servers: list[Replica]) -> Iterator[None]:
    """Start servers that die inside this block: a deadly job may kill one after the last disturbance."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.2):
            for server in servers:
                server.start()

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _clean_an_hour_later(database: Database, artifacts: Path) -> None:
    """Clean up as the servers do after an hour.

    A server that is killed while it writes an archive leaves a file, which may be an upload until then.
    """
    archives = DatasetStore(artifacts / "datasets", DatasetLimits())
    ArchiveRetention(database, archives, max_bytes=1 << 40).recover()
    with mock.patch.object(example_eraser, "AGAIN_SECONDS", 0.0):
        ExampleEraser(database, mock.Mock(), archives, drop=mock.Mock()).carry_out()


def _settle(address: str, servers: list[Replica]) -> list[str]:
    """Wait until every job has ended, starting servers that die; returns what is wrong if they do not end."""
    from headstart_server.jobs import job_queries

    database = Database(address)
    deadline = time.monotonic() + SETTLE_SECONDS
    try:
        while time.monotonic() < deadline:
            for server in servers:
                server.start()
            try:
                with database.read() as connection:
                    counted = job_queries.counted(connection)
                    waiting = connection.execute(_UNLEARNED).scalar_one()
            except DatabaseUnavailable:
                counted, waiting = {JobState.QUEUED: 1, JobState.RUNNING: 0}, 0
            if not counted[JobState.QUEUED] + counted[JobState.RUNNING] + waiting:
                return []
            time.sleep(0.2)
        return [f"jobs have not ended in {SETTLE_SECONDS:g} s: {counted}, {waiting} feedback waits"]
    finally:
        database.close()


def main() -> int:
    """Run on both databases; the exit code is 1 if an invariant was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="on each database")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--outage-seconds", type=float, default=20.0, help="of the database, at the most")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--keep", type=Path, help="keep the servers' files and logs in this folder")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    broken = 0
    for kind, replicas in (("sqlite", 1), ("postgresql", 3)):
        found = POSTGRESQL.find()
        if options.only not in (None, kind) or (kind == "postgresql" and found is None):
            print(f"{kind}: left out")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            postgres = PostgresServer() if kind == "postgresql" and found else None
            try:
                outcome = run(
                    (options.keep or Path(temporary)) / kind,
                    replicas=replicas,
                    postgres=postgres,
                    seconds=options.minutes * 60,
                    seed=options.seed,
                    outage_seconds=options.outage_seconds,
                )
            finally:
                if postgres:
                    postgres.close()
        print(f"{kind}, {replicas} server(s), {options.minutes:g} min: {outcome}")
        for violation in outcome.violations:
            print(f"  {violation}")
        broken += len(outcome.violations)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
