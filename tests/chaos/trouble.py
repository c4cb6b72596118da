"""What is done to servers and their database."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from chaos.replica import Replica
from histories.history import History
from postgres import PostgresServer

#: Seconds that a database is away at the most: longer than a lease, so that everybody looks dead after it.
OUTAGE_SECONDS = 6.0
#: Seconds of a lease, and between beats: as short as a busy machine allows.
LEASE_SECONDS = 4.0
#: Seconds until a process that was stopped, or whose database was unavailable, learns of changes again. It
#: gives up a hanging statement after five seconds, and then connects.
WAKE_SECONDS = 1.0
RECONNECT_SECONDS = 7.0
#: Seconds that servers get to start: on a busy machine they would otherwise never live to be disturbed.
START_SECONDS = 60.0


class Trouble:
    """Makes trouble, one kind after another, at random and each now and then.

    Args:
        replicas: the servers.
        postgres: their database's server; None for SQLite.
        seed: of its choices.
        history: records when servers could not learn of changes.
        outage_seconds: for how long the database is away at the most.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        postgres: PostgresServer | None,
        seed: int,
        history: History,
        outage_seconds: float = OUTAGE_SECONDS,
    ) -> None:
        self._replicas = replicas
        self._postgres = postgres
        self._history = history
        self._outage_seconds = outage_seconds
        self._chance = random.Random(seed)
        self._deck: list[str] = []
        self.done: Counter[str] = Counter()

    def make(self, seconds: float) -> None:
        """Make trouble for so long, and until each kind has come once; at the end every server runs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or self._deck or not self.done:
            # Now and then a server is disturbed while others start.
            self._await_start(all if self._chance.random() < 0.7 else any)
            time.sleep(self._chance.uniform(0.5, 2.5))
            kind = self._next()
            getattr(self, f"_{kind}")(self._chance.choice(self._replicas))
            self.done[kind] += 1
        for replica in self._replicas:
            replica.send(signal.SIGCONT)
            replica.start()

    def _await_start(self, enough: Callable[[Iterable[bool]], bool]) -> None:
        """Start the servers, and wait until enough of them listen or have had their time."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for replica in self._replicas:
                replica.start()
            if enough(replica.listens() for replica in self._replicas):
                return
            time.sleep(0.1)

    def _next(self) -> str:
        """Return the next kind: each comes once before one comes again."""
        if not self._deck:
            self._deck = ["kill", "kill", "pause", "drain", "short_pause"]
            self._deck += ["restart_database", "pause_database"] if self._postgres else []
            self._chance.shuffle(self._deck)
        return self._deck.pop()

    def _kill(self, replica: Replica) -> None:
        replica.kill()

    def _pause(self, replica: Replica) -> None:
        """Longer than a lease: it must wake as one that has lost its jobs."""
        self._hold(replica, LEASE_SECONDS * self._chance.uniform(1.2, 1.6))

    def _short_pause(self, replica: Replica) -> None:
        self._hold(replica, LEASE_SECONDS * self._chance.uniform(0.2, 0.6))

    def _hold(self, replica: Replica, seconds: float) -> None:
        with self._history.disturbance(replica.target, WAKE_SECONDS):
            replica.send(signal.SIGSTOP)
            time.sleep(seconds)
            replica.send(signal.SIGCONT)

    def _drain(self, replica: Replica) -> None:
        if replica.is_running:
            replica.send(signal.SIGTERM)
            replica.wait(60)

    def _restart_database(self, _: Replica) -> None:
        assert self._postgres is not None
        with self._history.disturbance(recovery_seconds=RECONNECT_SECONDS):
            self._postgres.stop(self._chance.choice((signal.SIGINT, signal.SIGQUIT)))
            time.sleep(self._chance.uniform(0.2, self._outage_seconds))
            self._postgres.start()

    def _pause_database(self, _: Replica) -> None:
        """It accepts connections and never replies, as when its machine hangs."""
        assert self._postgres is not None
        with self._history.disturbance(recovery_seconds=RECONNECT_SECONDS):
            self._postgres.pause()
            time.sleep(self._chance.uniform(LEASE_SECONDS, self._outage_seconds))
            self._postgres.resume()
