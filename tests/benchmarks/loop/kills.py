"""Random kills while callers send feedback to a model that retrains itself, on both databases."""

import random
import threading
import time
from contextlib import closing
from pathlib import Path

from chaos import feedback_calls
from chaos.caller import Caller
from chaos.replica import Replica
from chaos.trouble import LEASE_SECONDS
from headstart_server.database.database import Database
from headstart_server.models.store import VersionStore
from histories import feedback
from histories.history import History
from integration.server.calls import Api
from loop.measurement import Options, Result
from postgres import PostgresServer

COUNT, QUICK_COUNT = 2000, 150
MODEL, CALLERS, BATCH = "loop", 4, 25
#: Seconds between two kills, and until all feedback has to be learned.
KILL_SECONDS, SETTLE_SECONDS = (1.0, 4.0), 300.0


def measure(options: Options) -> Result:
    """Measure on SQLite with one server and on PostgreSQL with two."""
    count = QUICK_COUNT if options.quick else COUNT
    postgres = PostgresServer()
    try:
        parts = [
            _run(options.folder / "sqlite", f"sqlite:///{options.folder / 'jobs.sqlite3'}", 1, count),
            _run(options.folder / "postgresql", postgres.database(), 2, count),
        ]
    finally:
        postgres.close()
    names = ("SQLite", "PostgreSQL")
    text = "; ".join(f"{name}: {part}" for name, (part, _) in zip(names, parts, strict=True))
    found = [violation for _, violations in parts for violation in violations]
    for violation in found[:20]:
        print(violation)
    return Result(value=f"{text}; {len(found)} violations", met=not found)


def _run(folder: Path, address: str, replicas: int, count: int) -> tuple[str, list[str]]:
    servers = [
        Replica(
            folder / f"replica-{place}",
            database=address,
            artifacts=str(folder / "artifacts"),
            lease_duration=f"{LEASE_SECONDS}s",
            clean_seconds=3.0,
        )
        for place in range(replicas)
    ]
    history, over = History(time.monotonic), threading.Event()
    kills: list[float] = []
    try:
        for server in servers:
            server.start()
        targets = [server.target for server in servers]
        with closing(Caller(targets, history, random.Random(0))) as caller:
            feedback_calls.begin(caller, MODEL, min_feedback_count=BATCH, max_delay=2.0)
        killer = threading.Thread(target=_kill, args=(servers, over, kills), daemon=True)
        killer.start()
        _send_all(targets, history, count)
        over.set()
        killer.join()
        settled = _settle(servers)
    finally:
        over.set()
        for server in servers:
            server.kill()
    with closing(Database(address)) as database:
        final, retrains = feedback.read(database, VersionStore(folder / "artifacts" / "versions"))
    violations = [*settled, *feedback.violations(history, final, retrains)]
    return f"{len(kills)} kills, {len(final)} feedbacks in {len(retrains)} retrains", violations


def _send_all(targets: list[str], history: History, count: int) -> None:
    def work(place: int) -> None:
        with closing(Caller(targets, history, random.Random(place))) as caller:
            for number in range(place, count, CALLERS):
                feedback_calls.send(caller, MODEL, f"new {'x' * (number % 3)}:{number}")

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _kill(servers: list[Replica], over: threading.Event, kills: list[float]) -> None:
    chance = random.Random(1)
    while not over.wait(chance.uniform(*KILL_SECONDS)):
        server = chance.choice(servers)
        # One that is still starting would otherwise never serve.
        if server.listens():
            server.kill()
            kills.append(time.monotonic())
        server.start()


def _settle(servers: list[Replica]) -> list[str]:
    apis = [Api.connect(server.target) for server in servers]
    deadline = time.monotonic() + SETTLE_SECONDS
    try:
        while time.monotonic() < deadline:
            for server in servers:
                server.start()
            if any(feedback_calls.is_settled(api, MODEL) for api in apis):
                return []
            time.sleep(0.2)
        return [f"feedback is not learned after {SETTLE_SECONDS:g} s"]
    finally:
        for api in apis:
            api.channel.close()
