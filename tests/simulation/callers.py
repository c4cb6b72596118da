"""What callers of a simulation do; everything is written into the history."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fakes import SUMMARY
from headstart_server.api.grpc.job_watcher import EventCursor
from headstart_server.errors import HeadstartError, JobNotFinished, JobNotFound, ServiceUnavailable
from headstart_server.jobs.cleaning import check_deletable
from headstart_server.jobs.job import JobState
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.submitting import Submission
from headstart_server.models.version import Selector
from histories.history import Operation, Outcome
from simulation.plan import Step
from simulation.replica import ORIGIN, Replica
from simulation.scheduler import LostError, Signal

if TYPE_CHECKING:
    from simulation.world import World

MODEL, ALIAS = "m", "live"
#: Seconds after which a watch reads again though it was not woken.
WATCH_SECONDS = 15.0


class Callers:
    """All callers.

    Args:
        world: where they call.

    Attributes:
        accepted: the id of each job that was accepted, by its number.
        deleted: the last state of each job that was deleted, by its id.
        moving: the calls of jobs that move the alias, by their ids.
        waiting: callers that have not had their last answer.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.accepted: dict[int, str] = {}
        self.deleted: dict[str, JobState] = {}
        self.moving: dict[str, Operation] = {}
        self.waiting = len(world.plan.steps)
        self._tries = 0
        self._etag = ""

    @property
    def are_done(self) -> bool:
        """Whether all have had their answers."""
        return not self.waiting

    def step_of(self, job_id: str) -> Step:
        """The step that submitted a job."""
        number = int(job_id[1:].partition("-")[0])
        return next(s for s in self._world.plan.steps if s.kind == "submit" and s.number == number)

    def carry_out(self, step: Step) -> None:
        """Do what a step says."""
        self._world.scheduler.note(f"CALL {step}")
        work = {
            "submit": self._submit,
            "submit_again": self._submit_again,
            "status": self._status,
            "watch": self._watch,
            "cancel": self._cancel,
            "set_alias": self._set_alias,
            "read": lambda _: self.read_everywhere(),
            "predict": self._predict,
            "delete": self._delete,
            "delete_job": self._delete_job,
        }[step.kind]
        work(step)

    def attempt(self, place: int, work: Callable[[Replica], Any], name: str) -> Any:
        """Call a replica; None if it does not answer."""
        with suppress(LostError, HeadstartError):
            return self.call(place, work, name)

    def look_at_everything(self) -> None:
        """Read every job and alias at the end, when every replica must know all."""
        for number, job_id in sorted(self.accepted.items()):
            if job_id not in self.deleted:
                self._status_of(number, 0)
        self.read_everywhere()

    def read_everywhere(self) -> None:
        """Read the alias at each replica that answers."""
        for replica in list(self._world.replicas):
            self._once(self.call_of("ReadAlias", replica.place, MODEL, alias=ALIAS), replica.place, _read)

    def _submit(self, step: Step) -> None:
        call = self.call_of("FineTune", step.replica, MODEL, request_id=f"request {step.number}")
        job_id = self._insist(step, lambda replica: replica.submit(self._submission(step)), "submit")
        self.add(call, Outcome.OK, job_id)
        self.accepted[step.number] = job_id
        if "alias" in step.flags:
            self.moving.setdefault(job_id, call)

    def _submit_again(self, step: Step) -> None:
        if (first := self._first(step)) is not None:
            self._submit(first)

    def _submission(self, step: Step) -> Submission:
        self._tries += 1
        return Submission(
            job_id=f"j{step.number}-{self._tries}",
            spec=FineTuneSpec(
                model=MODEL,
                backbone="b",
                alias=ALIAS if "alias" in step.flags else None,
                webhook=f"{ORIGIN}/{step.number}" if "webhook" in step.flags else None,
                discard_examples="discard" in step.flags,
            ),
            summary=SUMMARY,
            request_id=f"request {step.number}",
            request_hash="h",
            nbytes=10,
        )

    def _first(self, step: Step) -> Step | None:
        """The step that submits the same job; None if the plan has none."""
        steps = self._world.plan.steps
        return next((s for s in steps if s.kind == "submit" and s.number == step.number), None)

    def _job_of(self, step: Step) -> str | None:
        if self._first(step) is None:
            return None
        while step.number not in self.accepted:
            self._world.scheduler.sleep(0.2)
        return self.accepted[step.number]

    def _status(self, step: Step) -> None:
        if self._job_of(step) is not None:
            self._status_of(step.number, step.replica)

    def _status_of(self, number: int, place: int) -> None:
        job_id = self.accepted[number]

        def get(replica: Replica) -> tuple[str, int]:
            job = replica.job_store.reader.get(job_id)
            return job.state.value, job.version

        self._once(self.call_of("Status", place, job_id), place, get)

    def _cancel(self, step: Step) -> None:
        job_id = self._job_of(step)
        if job_id is not None:
            call = self.call_of("Cancel", step.replica, job_id)
            self._once(call, step.replica, lambda replica: replica.cancel(job_id).state.value)

    def _watch(self, step: Step) -> None:
        job_id = self._job_of(step)
        if job_id is not None:
            call = self.call_of("Watch", step.replica, job_id)
            seen: list[tuple[int, str]] = []
            self._insist(step, lambda replica: self._follow(replica, job_id, seen), "watch")
            self.add(call, Outcome.OK, seen)

    def _follow(self, replica: Replica, job_id: str, seen: list[tuple[int, str]]) -> None:
        """Follow a job as the server does for a watch, after the events that came before."""
        cursor = EventCursor(replica.job_store.reader, job_id, seen[-1][0] if seen else 0)
        wake = Signal(self._world.scheduler)
        with replica.notifier.subscribe(job_id, wake.set):
            while not cursor.is_over:
                wake.clear()
                seen.extend((event.number, event.state.value) for event in cursor.step())
                if not cursor.is_over and not cursor.has_more:
                    wake.wait(WATCH_SECONDS)

    def _set_alias(self, step: Step) -> None:
        etag = self._etag if "etag" in step.flags else ""

        def move(replica: Replica) -> None:
            moved = replica.registry.set_alias(MODEL, ALIAS, step.number, etag=etag)
            self._etag = "" if moved is None else moved.etag

        call = self.call_of("SetAlias", step.replica, MODEL, alias=ALIAS, versions=[step.number])
        self._once(call, step.replica, move)

    def _predict(self, step: Step) -> None:
        selector = Selector(model=MODEL, number=step.number)
        call = self.call_of("Predict", step.replica, MODEL)
        self._once(call, step.replica, lambda replica: replica.registry.index.find(selector))

    def _delete(self, step: Step) -> None:
        call = self.call_of("DeleteVersion", step.replica, MODEL, version=step.number)
        self._once(
            call,
            step.replica,
            lambda replica: replica.registry.delete_version(MODEL, step.number, force=True),
        )

    def _delete_job(self, step: Step) -> None:
        """Delete a job as soon as a replica says that it has ended."""
        job_id = self._job_of(step)
        if job_id is None:
            return

        def delete(replica: Replica) -> None:
            job = replica.job_store.reader.get(job_id)
            check_deletable(job)
            self.deleted[job_id] = job.state
            replica.job_store.queue.delete(job_id)

        while True:
            try:
                self._insist(step, delete, "delete job")
                break
            except JobNotFound:
                # The answer to the first try was lost.
                break
            except JobNotFinished:
                self._world.scheduler.sleep(0.1)
        self._world.coverage["deleted jobs"] += 1

    def call_of(self, kind: str, place: int, key: str, **sent: Any) -> Operation:
        # A process that is started again knows nothing of what was changed through the one before.
        server = self._world.replicas[place].host.name
        return Operation(kind=kind, key=key, server=server, sent=sent, called=self._world.clock())

    def add(self, call: Operation, outcome: Outcome, result: Any = None) -> None:
        done = replace(call, outcome=outcome, result=result, returned=self._world.clock())
        self._world.history.add(done)
        if self._world.scheduler.is_traced:
            self._world.scheduler.note(
                f"ANSWER {done.kind} {done.key} {dict(done.sent)} at {done.server} called {done.called:.4f}: "
                f"{done.outcome} {done.result}"
            )

    def _once(self, call: Operation, place: int, work: Callable[[Replica], Any]) -> None:
        """Call once; without a reply the outcome is unknown."""
        try:
            result = self.call(place, work, call.kind)
        except (LostError, ServiceUnavailable):
            self.add(call, Outcome.UNKNOWN)
        except HeadstartError as error:
            self.add(call, Outcome.FAILED, type(error).__name__)
        else:
            self.add(call, Outcome.OK, result)

    def _insist(self, step: Step, work: Callable[[Replica], Any], name: str) -> Any:
        """Call one replica after another until one answers."""
        place = step.replica
        while True:
            try:
                return self.call(place, work, name)
            except (LostError, ServiceUnavailable):
                self._world.scheduler.sleep(self._world.chance.uniform(0.2, 0.6))
                place = (place + 1) % self._world.plan.replicas

    def call(self, place: int, work: Callable[[Replica], Any], name: str) -> Any:
        replica = self._world.replicas[place]
        if not replica.is_serving:
            raise LostError
        return self._world.scheduler.call(replica.host, lambda: work(replica), name, 0.002)


def _read(replica: Replica) -> int | None:
    try:
        return replica.registry.index.find(Selector(model=MODEL, alias=ALIAS))
    except ServiceUnavailable:
        raise
    except HeadstartError:
        return None
