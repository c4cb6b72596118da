"""What callers do while servers die: they submit, cancel, watch and predict, and note what they were told."""

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc

from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from integration.server.calls import TERMINAL, Api, example, stream

Answer = TypeVar("Answer")

#: What a call to a server that dies, stops, starts or has no database may end with; callers try these again.
EXPECTED = {grpc.StatusCode.UNAVAILABLE}
#: Seconds of one call; a paused server does not answer.
CALL_SECONDS = 20.0
CLASSES = ("cat", "dog", "emu")
#: Different datasets; jobs of the same one must come to the same head.
DATASETS = 6


@dataclass(kw_only=True)
class Told:
    """What callers were told, of which every word must hold.

    Attributes:
        accepted: the dataset of each job that was accepted, by its id.
        deadly: the jobs that kill their server.
        cancelled: the jobs whose cancel was accepted before they had ended.
        watched: the numbers and states of the events of each watched job.
        predicted: predictions answered.
        queue_full: submissions refused because the queue was full.
        violations: what must not happen.
    """

    accepted: dict[str, int] = field(default_factory=dict)
    deadly: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    watched: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    predicted: int = 0
    queue_full: int = 0
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def violation(self, what: str) -> None:
        with self.lock:
            self.violations.append(what)


class Clients:
    """Callers in threads, each with connections to all servers.

    Args:
        targets: addresses of the servers.
        told: takes their notes.
        seed: of their choices.
    """

    def __init__(self, targets: Sequence[str], told: Told, seed: int) -> None:
        self._targets = targets
        self._told = told
        self._seed = seed
        self._over = threading.Event()
        self._watchers: list[threading.Thread] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work, place), name=work.__name__, daemon=True)
            for place, work in enumerate((self._submit, self._submit, self._cancel, self._predict))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new; watches go on to the ends of their jobs."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def join_watchers(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for watcher in self._watchers:
            watcher.join(max(0.0, deadline - time.monotonic()))
            if watcher.is_alive():
                self._told.violation(f"{watcher.name} has not seen its job's end")

    def _run(self, work: Callable[[list[Api], random.Random], None], place: int) -> None:
        chance = random.Random(f"{self._seed} {place}")
        apis = [Api.connect(target) for target in self._targets]
        while not self._over.is_set():
            try:
                work(apis, chance)
            except GivenUpError:
                break
            except grpc.RpcError as error:
                self._told.violation(f"{work.__name__}: {error.code().name}: {error.details()}")
        for api in apis:
            api.channel.close()

    def _submit(self, apis: list[Api], chance: random.Random) -> None:
        dataset, request_id = chance.randrange(DATASETS), uuid.uuid4().hex
        deadly = chance.random() < 0.02 and len(self._told.deadly) < 2
        examples = deadly_examples() if deadly else examples_of(dataset)

        def send(api: Api) -> job_pb2.Job:
            requests = stream(
                examples,
                model=f"m{dataset}",
                seed=7,
                request_id=request_id,
                priority=chance.choice((0, 0, 3)),
            )
            return api.fine_tuning.FineTune(requests, timeout=CALL_SECONDS).job

        state = chance.getstate()

        def send_again(api: Api) -> job_pb2.Job:
            # The same content each time: the priority is part of it.
            chance.setstate(state)
            return send(api)

        job = self._insist(apis, random.Random(request_id), send_again)
        if job is None:
            return
        with self._told.lock:
            self._told.accepted[job.job_id] = dataset
            if deadly:
                self._told.deadly.add(job.job_id)
        if chance.random() < 0.2:
            again = self._insist(apis, random.Random(request_id), send_again)
            if again is not None and again.job_id != job.job_id:
                self._told.violation(f"request {request_id} made jobs {job.job_id} and {again.job_id}")
        if chance.random() < 0.2 and len(self._watchers) < 40:
            watcher = threading.Thread(
                target=self._watch, args=(job.job_id,), name=f"watch {job.job_id}", daemon=True
            )
            self._watchers.append(watcher)
            watcher.start()
        self._over.wait(chance.uniform(0.05, 0.4))

    def _cancel(self, apis: list[Api], chance: random.Random) -> None:
        self._over.wait(chance.uniform(0.3, 1.5))
        with self._told.lock:
            known = list(self._told.accepted)[-15:]
        if not known:
            return
        request = tuning.CancelRequest(job_id=chance.choice(known))
        job = self._insist(
            apis, chance, lambda api: api.fine_tuning.Cancel(request, timeout=CALL_SECONDS).job
        )
        if job is not None and job.state not in (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED):
            with self._told.lock:
                self._told.cancelled.add(job.job_id)

    def _predict(self, apis: list[Api], chance: random.Random) -> None:
        model = f"m{chance.randrange(DATASETS)}"
        try:
            self._insist(apis, chance, lambda api: api.predict(model, b"quick", timeout=CALL_SECONDS))
        except grpc.RpcError as error:
            # The first version of the model is not there yet.
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                raise
        else:
            self._told.predicted += 1
        self._over.wait(0.02)

    def _watch(self, job_id: str) -> None:
        chance = random.Random(job_id)
        apis = [Api.connect(target) for target in self._targets]
        seen: list[tuple[int, int]] = []
        while not seen or seen[-1][1] not in TERMINAL:
            request = tuning.WatchRequest(job_id=job_id, after_event=seen[-1][0] if seen else 0)
            try:
                responses = chance.choice(apis).fine_tuning.Watch(request, timeout=CALL_SECONDS / 2)
                # One by one: what came before a connection was lost has been seen.
                seen.extend(
                    (response.event.number, response.event.state)
                    for response in responses
                    if response.HasField("event")
                )
            except grpc.RpcError as error:
                if error.code() not in (*EXPECTED, grpc.StatusCode.DEADLINE_EXCEEDED):
                    self._told.violation(f"watch: {error.code().name}: {error.details()}")
                    break
                time.sleep(0.2)
        with self._told.lock:
            self._told.watched[job_id] = seen
        for api in apis:
            api.channel.close()

    def _insist(self, apis: list[Api], chance: random.Random, call: Callable[[Api], Answer]) -> Answer | None:
        """Call until a server answers; None if the queue is full."""
        give_up = time.monotonic() + 120
        while True:
            try:
                return call(chance.choice(apis))
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    self._told.queue_full += 1
                    self._over.wait(0.5)
                    return None
                # A paused server answers nobody; its caller's deadline passes.
                if error.code() not in (*EXPECTED, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                if time.monotonic() > give_up:
                    self._told.violation(f"no answer in 120 s: {error.details()}")
                    raise GivenUpError from None
                time.sleep(0.1)


class GivenUpError(Exception):
    """No server has answered for far too long."""


def examples_of(dataset: int) -> list[input_pb2.Example]:
    """The examples of a dataset: 30, that take some tenths of a second."""
    return [example(f"{label}:{dataset}:{place}".encode(), label) for place in range(10) for label in CLASSES]


def deadly_examples() -> list[input_pb2.Example]:
    """Examples of which one kills the server that decodes it."""
    return [example(b"deadly", "cat"), example(b"quick:dog", "dog"), example(b"quick:cat", "cat")]
