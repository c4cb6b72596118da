"""What callers do while servers are replaced: the shipped client, as its users call it, without a catch."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import headstart
from headstart import Client
from histories.history import Operation

CLASSES = ("cat", "dog", "emu")
#: Models that are predicted with, each of which has a version before the rehearsal begins.
MODELS = 3
#: Examples of a job, each of which takes 20 ms, so that jobs are at work when their server stops.
EXAMPLES = 10


@dataclass(kw_only=True)
class Seen:
    """What callers saw.

    Attributes:
        calls: calls that were answered, by kind.
        failures: calls that failed, with what they said.
        accepted: the IDs of the jobs.
        operations: the calls about jobs that checkers verify.
        longest: seconds of the longest call, by kind.
    """

    calls: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Callers:
    """Threads that call through one address until they are stopped.

    Args:
        target: the address.
        seen: takes their notes.
        predicting: how many of them predict.
        tuning: how many submit jobs and wait for them.
        asking: how many ask for all else.
    """

    def __init__(
        self, target: str, seen: Seen, *, predicting: int = 4, tuning: int = 1, asking: int = 2
    ) -> None:
        self._seen = seen
        self._over = threading.Event()
        # One that many threads share, and one of each thread's own, as both are usual.
        self._clients = [Client(target) for _ in range(3)]
        works: list[Callable[[Client, int], None]] = [
            *[self._predict] * predicting,
            *[self._tune] * tuning,
            self._watch,
            *[self._ask] * asking,
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(work, place), name=work.__name__, daemon=True)
            for place, work in enumerate(works)
        ]

    def prepare(self) -> None:
        """Make the first version of each model."""
        for place in range(MODELS):
            self._submitted(self._clients[0], place).result()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """Begin nothing new, and let all that has begun end."""
        self._over.set()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._seen.failures.append(f"{thread.name} has not come to an end in {timeout:g} s")
        for client in self._clients:
            client.close()

    def _run(self, work: Callable[[Client, int], None], place: int) -> None:
        client = self._clients[place % len(self._clients)]
        turn = place
        while not self._over.is_set():
            turn += 1
            try:
                work(client, turn)
            except headstart.HeadstartError as error:
                with self._seen.lock:
                    self._seen.failures.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _answered(self, kind: str, since: float) -> None:
        with self._seen.lock:
            self._seen.calls[kind] += 1
            self._seen.longest[kind] = max(self._seen.longest.get(kind, 0.0), time.monotonic() - since)

    def _predict(self, client: Client, turn: int) -> None:
        since = time.monotonic()
        label = CLASSES[turn % len(CLASSES)]
        answer = client.predict(f"{label}:quick".encode(), model=f"m{turn % MODELS}")
        self._answered("Predict", since)
        if answer.label != label:
            with self._seen.lock:
                self._seen.failures.append(f"Predict of a {label} answered {answer.label}")
        self._over.wait(0.002)

    def _submitted(self, client: Client, turn: int) -> headstart.Job:
        dataset, since = turn % MODELS, time.monotonic()
        examples = [
            (f"{label}:{dataset}:{place}".encode(), label) for place in range(EXAMPLES) for label in CLASSES
        ]
        job = client.fine_tune(examples, model=f"m{dataset}", seed=7)
        self._answered("FineTune", since)
        with self._seen.lock:
            self._seen.accepted.append(job.job_id)
        self._record("FineTune", f"m{dataset}", since, job.job_id, request_id=job.job_id)
        return job

    def _record(self, kind: str, key: str, since: float, result: object, **sent: str) -> None:
        operation = Operation(
            kind=kind,
            key=key,
            server="balancer",
            sent=sent,
            result=result,
            called=since,
            returned=time.monotonic(),
        )
        with self._seen.lock:
            self._seen.operations.append(operation)

    def _tune(self, client: Client, turn: int) -> None:
        job, since = self._submitted(client, turn), time.monotonic()
        version = job.result()
        with self._seen.lock:
            self._seen.calls["wait"] += 1
        self._record("Status", job.job_id, since, ("succeeded", version.version))

    def _watch(self, client: Client, turn: int) -> None:
        job, since = self._submitted(client, turn), time.monotonic()
        events = [(event.number, event.state.name.lower()) for event in job.watch()]
        with self._seen.lock:
            self._seen.calls["watch"] += 1
        self._record("Watch", job.job_id, since, events)

    def _ask(self, client: Client, turn: int) -> None:
        with self._seen.lock:
            known = self._seen.accepted.copy()
        for ask, kind in (
            (lambda: client.job(known[turn % len(known)]).status(), "Status"),
            (lambda: list(client.jobs()), "ListJobs"),
            (client.models, "ListModels"),
            (lambda: client.set_alias("m0", "steady", 1), "SetAlias"),
            (lambda: client.evaluation("m0", 1), "GetEvaluation"),
        ):
            since = time.monotonic()
            ask()
            self._answered(kind, since)
        self._over.wait(0.01)
