"""Clients that submit, cancel, watch, predict, move aliases and delete versions while servers die.

They record every call in a history.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence

import grpc

from chaos import data_calls, feedback_calls
from chaos.caller import CALL_SECONDS, CLASSES, REPEATED, Caller, GivenUpError, state_name
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, model_pb2, model_service_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from histories.history import History, Operation
from integration.server.calls import TERMINAL, Api, example, prediction_request, refusal_of, stream

#: Different datasets; jobs of the same one must produce the same head.
DATASETS = 6
#: The model that learns from feedback.
FEEDBACK_MODEL = "fed"
ALIASES = ("stable", "next")
#: How much of the last feedback may be erased: few versions have learned it.
RECENT_FEEDBACK = 30
#: Share of the calls of a traffic split that its second version answers.
SPLIT = 0.4
#: Rounds of calls after all jobs.
LAST_CALLS = 10
#: The server of a call that moves from server to server.
SEVERAL = "several"
#: Stands for the version of an alias whose version is missing.
MISSING = -1


class Clients:
    """Callers in threads, each with connections to all servers.

    Args:
        targets: addresses of the servers.
        history: records their calls.
        seed: of their choices.
    """

    def __init__(self, targets: Sequence[str], history: History, seed: int) -> None:
        self._targets = targets
        self._history = history
        self._seed = seed
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._accepted: list[str] = []
        self._watchers: list[threading.Thread] = []
        self._sent = 0
        self._feedback: list[str] = []
        self.deadly: set[str] = set()
        self.violations: list[str] = []
        works = [self._submit, self._submit, self._cancel, self._predict, self._read_status]
        works += [
            self._move_aliases,
            self._move_aliases,
            self._read_aliases,
            self._read_aliases,
            self._delete,
            self._send_feedback,
            self._erase_feedback,
        ]
        data = data_calls.DataClients(self._over)
        works += [data.upload, data.upload, data.edit, data.erase]
        self._threads = [
            threading.Thread(target=self._run, args=(work, place), name=work.__name__, daemon=True)
            for place, work in enumerate(works)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new; watches go on to the ends of their jobs."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def call_after_all(self) -> None:
        """Use the versions once more after all jobs have ended: a busy machine may have none before."""
        caller = Caller(self._targets, self._history, random.Random(f"{self._seed} after all"))
        for _ in range(LAST_CALLS):
            for work in (self._predict, self._move_aliases, self._read_aliases):
                self._do(work, caller)
        caller.close()

    def join_watchers(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for watcher in self._watchers:
            watcher.join(max(0.0, deadline - time.monotonic()))
            if watcher.is_alive():
                self._violation(f"{watcher.name} has not received its job's end")

    def _violation(self, what: str) -> None:
        with self._lock:
            self.violations.append(what)

    def _run(self, work: Callable[["Caller"], None], place: int) -> None:
        caller = Caller(self._targets, self._history, random.Random(f"{self._seed} {place}"))
        while not self._over.is_set() and self._do(work, caller):
            pass
        caller.close()

    def _do(self, work: Callable[["Caller"], None], caller: "Caller") -> bool:
        """Do some work; False if no server has answered for far too long."""
        try:
            work(caller)
        except GivenUpError as error:
            self._violation(f"{work.__name__}: {error}")
            return False
        except grpc.RpcError as error:
            self._violation(f"{work.__name__}: {error.code().name}: {error.details()}")
        return True

    # Feedback

    def _send_feedback(self, caller: "Caller") -> None:
        if not self._sent:
            feedback_calls.begin(caller, FEEDBACK_MODEL, min_feedback_count=20, max_delay=2.0)
        self._sent += 1
        found = feedback_calls.send(caller, FEEDBACK_MODEL, f"new {self._sent}")
        if found is not None:
            with self._lock:
                self._feedback.append(found)
        self._over.wait(caller.chance.uniform(0.05, 0.4))

    def _erase_feedback(self, caller: "Caller") -> None:
        """Erase an example of recent feedback: it waits, is trained on, or was learned."""
        self._over.wait(caller.chance.uniform(1.0, 4.0))
        with self._lock:
            recent = self._feedback[-RECENT_FEEDBACK:]
            if not recent or self._over.is_set():
                return
            chosen = caller.chance.choice(recent)
            self._feedback.remove(chosen)
        feedback_calls.erase(caller, FEEDBACK_MODEL, chosen, rebuild=caller.chance.random() < 0.3)

    # Jobs

    def _submit(self, caller: "Caller") -> None:
        chance = caller.chance
        dataset, request_id, priority = chance.randrange(DATASETS), uuid.uuid4().hex, chance.choice((0, 0, 3))
        with self._lock:
            is_deadly = chance.random() < 0.02 and len(self.deadly) < 2
        examples = deadly_examples() if is_deadly else examples_of(dataset)

        def send(api: Api) -> str:
            requests = stream(examples, model=f"m{dataset}", seed=7, request_id=request_id, priority=priority)
            return str(api.fine_tuning.FineTune(requests, timeout=CALL_SECONDS).job.job_id)

        sent = {"request_id": request_id, "dataset": dataset}
        for _ in range(1 + (chance.random() < 0.2)):
            job_id = caller.insist("FineTune", f"m{dataset}", sent, send)
        if job_id is not None:
            with self._lock:
                self._accepted.append(job_id)
                if is_deadly:
                    self.deadly.add(job_id)
            if chance.random() < 0.2 and len(self._watchers) < 40:
                self._start_watcher(job_id)
        # A full queue needs time.
        self._over.wait(0.5 if job_id is None else chance.uniform(0.05, 0.4))

    def _recent_job(self, chance: random.Random) -> str | None:
        with self._lock:
            known = self._accepted[-15:]
        return chance.choice(known) if known else None

    def _cancel(self, caller: "Caller") -> None:
        self._over.wait(caller.chance.uniform(0.3, 1.5))
        if (job_id := self._recent_job(caller.chance)) is not None:
            request = tuning.CancelRequest(job_id=job_id)
            caller.insist(
                "Cancel",
                job_id,
                {},
                lambda api: state_name(api.fine_tuning.Cancel(request, timeout=CALL_SECONDS).job.state),
            )

    def _read_status(self, caller: "Caller") -> None:
        self._over.wait(caller.chance.uniform(0.02, 0.2))
        if (job_id := self._recent_job(caller.chance)) is not None:
            request = tuning.StatusRequest(job_id=job_id)

            def send(api: Api) -> tuple[str, int]:
                job = api.fine_tuning.Status(request, timeout=CALL_SECONDS).job
                return state_name(job.state), int(job.version)

            caller.insist("Status", job_id, {}, send)

    def _start_watcher(self, job_id: str) -> None:
        watcher = threading.Thread(target=self._watch, args=(job_id,), name=f"watch {job_id}", daemon=True)
        self._watchers.append(watcher)
        watcher.start()

    def _watch(self, job_id: str) -> None:
        """Receive all events of a job, on new connections after lost ones."""
        chance = random.Random(job_id)
        apis = [Api.connect(target) for target in self._targets]
        called, seen = self._history.now(), list[tuple[int, int]]()
        while not seen or seen[-1][1] not in TERMINAL:
            request = tuning.WatchRequest(job_id=job_id, after_event=seen[-1][0] if seen else 0)
            try:
                responses = chance.choice(apis).fine_tuning.Watch(request, timeout=CALL_SECONDS / 2)
                # One by one: events before a lost connection have been received.
                seen.extend(
                    (response.event.number, response.event.state)
                    for response in responses
                    if response.HasField("event")
                )
            except grpc.RpcError as error:
                if error.code() not in REPEATED:
                    self._violation(f"watch: {error.code().name}: {error.details()}")
                    break
                time.sleep(0.2)
        else:
            self._history.add(
                Operation(
                    kind="Watch",
                    key=job_id,
                    server=SEVERAL,
                    result=[(number, state_name(state)) for number, state in seen],
                    called=called,
                    returned=self._history.now(),
                )
            )
        for api in apis:
            api.channel.close()

    # Versions

    def _predict(self, caller: "Caller") -> None:
        model = f"m{caller.chance.randrange(DATASETS)}"
        caller.insist("Predict", model, {}, lambda api: predicted(api, model))
        self._over.wait(0.02)

    def _numbers(self, caller: "Caller", model: str) -> list[int]:
        """Return the numbers of a model's newest versions."""
        request = model_service_pb2.ListVersionsRequest(model=model, page_size=6)

        def send(api: Api) -> list[int]:
            found = api.models.ListVersions(request, timeout=CALL_SECONDS).versions
            return [version.version for version in found]

        return caller.insist("ListVersions", model, {}, send) or []

    def _move_aliases(self, caller: "Caller") -> None:
        chance = caller.chance
        self._over.wait(chance.uniform(0.1, 0.8))
        # Few models, so that moves meet.
        model, alias = f"m{chance.randrange(2)}", chance.choice(ALIASES)
        numbers = self._numbers(caller, model)
        if not numbers:
            return
        version = chance.choice(numbers)
        shares = [other for other in numbers[:1] if other != version and chance.random() < 0.4]
        setting = model_service_pb2.SetAliasRequest(
            model=model,
            alias=alias,
            version=version,
            traffic=[model_pb2.TrafficSplit(version=other, fraction=SPLIT) for other in shares],
        )
        is_deletion = chance.random() < 0.1
        deletion = model_service_pb2.DeleteAliasRequest(model=model, alias=alias)

        def send(api: Api) -> None:
            if is_deletion:
                api.models.DeleteAlias(deletion, timeout=CALL_SECONDS)
            else:
                api.models.SetAlias(setting, timeout=CALL_SECONDS)

        # A deletion is recorded as a change to no version.
        versions = [] if is_deletion else [version, *shares]
        caller.insist("SetAlias", model, {"alias": alias, "versions": versions}, send)

    def _read_aliases(self, caller: "Caller") -> None:
        chance = caller.chance
        self._over.wait(chance.uniform(0.02, 0.15))
        model, alias = f"m{chance.randrange(2)}", chance.choice(ALIASES)
        caller.insist("ReadAlias", model, {"alias": alias}, lambda api: predicted(api, model, alias))

    def _delete(self, caller: "Caller") -> None:
        chance = caller.chance
        self._over.wait(chance.uniform(0.3, 1.2))
        model = f"m{chance.randrange(3)}"
        # The newest stay, so that aliases have versions to name.
        for number in self._numbers(caller, model)[3:4]:
            request = model_service_pb2.DeleteVersionRequest(model=model, version=number)

            def send(api: Api, request: model_service_pb2.DeleteVersionRequest = request) -> None:
                api.models.DeleteVersion(request, timeout=CALL_SECONDS)

            caller.insist("DeleteVersion", model, {"version": number}, send)


def predicted(api: Api, model: str, alias: str | None = None) -> int | None:
    """Return the number of the version that answers; None if there is no such alias.

    Raises:
        grpc.RpcError: the call failed for another reason; an alias never names a version that is missing.
    """
    request: predicting.PredictRequest = prediction_request(model, b"quick", alias=alias)
    try:
        response = api.prediction.Predict(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        if alias is None or error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        if refusal_of(error).reason in ("ALIAS_NOT_FOUND", "MODEL_NOT_FOUND"):
            return None
        return MISSING
    return int(response.results[0].version)


def examples_of(dataset: int) -> list[input_pb2.Example]:
    """Return the examples of a dataset: 30, which take some tenths of a second."""
    return [example(f"{label}:{dataset}:{place}".encode(), label) for place in range(10) for label in CLASSES]


def deadly_examples() -> list[input_pb2.Example]:
    """Return examples of which one kills the server that decodes it."""
    return [example(b"deadly", "cat"), example(b"quick:dog", "dog"), example(b"quick:cat", "cat")]
