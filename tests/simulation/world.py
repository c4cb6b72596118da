"""One simulation: replicas on one database and one bucket, callers, and what goes wrong."""

import random
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock
from uuid import UUID

from headstart_server.errors import StorageUnavailable
from headstart_server.jobs.job import Job, JobTrigger
from histories.history import History, Window
from histories.stored_data import MODEL as DATA_MODEL
from simulation.around import Around
from simulation.beginning import BEGIN, publish_first, publish_versions
from simulation.callers import Callers
from simulation.coverage import LOGGED, Coverage
from simulation.data_callers import DataCallers
from simulation.database import NEVER, Tables
from simulation.invariants import violations
from simulation.logs import LogsTo
from simulation.plan import ACTIVE_SECONDS, DATA_KINDS, Plan, Step
from simulation.receiver import Receiver
from simulation.replica import LEASE, POLL_SECONDS, Replica
from simulation.scheduler import Scheduler
from simulation.storage import SimulatedBucket

#: Seconds after which everything must have come to rest once nothing goes wrong any more.
SETTLE_SECONDS = 400.0
#: File of the secrets of webhooks.
SECRETS = "secrets"
#: Seconds after everything else at which a last cleaning finds what had to wait.
LAST_CLEANING_SECONDS = 4000.0


class World:
    """Everything that the replicas of a simulation share.

    Args:
        plan: what happens.
        tables: the database.
        scratch: folder for files that are being written, with the secrets of webhooks.
        trace: is given a line for every step; None for nothing.

    Attributes:
        changes: transactions that changed what pollers look at.
        registry_changes: those that may have changed versions or aliases.
        coverage: how often each kind of trouble occurred.
        has_data: whether there is a model with a data loop.
        published: when each version of it was published, by its number.
        faults: what went wrong in the server that must not, such as unexpected exceptions.
    """

    def __init__(
        self, plan: Plan, tables: Tables, scratch: Path, trace: Callable[[str], None] | None = None
    ) -> None:
        self.plan = plan
        self.tables = tables
        self.scratch = scratch
        self.secrets = scratch / SECRETS
        self.chance = random.Random(f"{plan.seed} schedule")
        self.scheduler = Scheduler(trace)
        self.bucket, self.archives, self.captures = SimulatedBucket(), SimulatedBucket(), SimulatedBucket()
        self.history = History(self.clock)
        self.callers = Callers(self)
        self.data_callers = DataCallers(self)
        self.receiver = Receiver(self.chance, self.scheduler.sleep, lambda: self.is_receiver_away)
        self.replicas: list[Replica] = []
        self.changes = self.registry_changes = 0
        self.coverage = Coverage()
        self.has_data = plan.policy is not None
        self.published: dict[int, float] = {}
        self._failing_retrains = 0 if plan.policy is None else plan.policy.failing_retrains
        self.faults: list[str] = []
        self.is_receiver_away = False
        self._is_healed = False
        self._faults_left = plan.faults
        self._slow_kinds: dict[str, bool] = {}
        self._ahead = 0.0
        self._down_until = 0.0
        self._storage_down_until = 0.0
        self._cut_off_until = [0.0] * plan.replicas
        self._starts = 0
        self._is_over = False

    def run(self) -> list[str]:
        """Let it happen; returns what is wrong."""
        self.tables.empty()
        with LogsTo(self._logged), mock.patch("uuid.uuid4", self._uuid):
            self._publish_first()
            for place in range(self.plan.replicas):
                self.replicas.append(self._started(place))
            for step in self.plan.steps:
                self.scheduler.spawn(lambda each=step: self._carry_out(each), step.kind, delay=step.at)
            self.scheduler.spawn(self._referee, "referee")
            try:
                self.scheduler.run(lambda: self._is_over)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding about this seed
                self.scheduler.note(traceback.format_exc())
                self.faults.append(f"unexpected error: {error!r}")
            finally:
                self.scheduler.close()
        if not self._is_over and not self.faults:
            self.faults.append("the simulation stopped before its end")
        return [*self.faults, *violations(self)]

    # What replicas need

    def clock(self) -> float:
        """The time of the world."""
        return self.scheduler.now

    def database_now(self) -> float:
        """The database's time."""
        return BEGIN + self._ahead + self.scheduler.now

    def happens(self, share: float) -> bool:
        """Whether something of this likelihood happens now."""
        return share > 0 and not self._is_healed and self.chance.random() < share

    def is_slow_kind(self, kind: str) -> bool:
        """Whether all transactions or accesses to a bucket of a kind are slow."""
        if not self.plan.slow_kinds or self._is_healed:
            return False
        if kind not in self._slow_kinds:
            drawn = random.Random(f"{self.plan.seed} {kind}").random()
            self._slow_kinds[kind] = drawn < self.plan.slow_kinds
        return self._slow_kinds[kind]

    def around(self, replica: Replica) -> Around:
        """The world's part in the transactions of a replica."""
        return Around(self, replica)

    def touch_storage(self, replica: Replica, what: str) -> None:
        """A replica is about to use the bucket."""
        longest = 0.6 if self.is_slow_kind(what.partition(" ")[0]) else 0.05
        self.scheduler.sleep(self.chance.uniform(0.001, longest))
        if self.scheduler.now < self._storage_down_until:
            self.coverage["storage outages"] += 1
            raise StorageUnavailable("The bucket does not answer.")
        if self.takes_fault():
            self.scheduler.note(f"storage fails: {what}")
            self.coverage["storage failures"] += 1
            if self.chance.random() < 0.5:
                self.crash(replica)
            raise StorageUnavailable("The bucket does not answer.")
        if self.scheduler.is_traced:
            self.scheduler.note(what)

    def has_claimable(self) -> bool:
        """Whether a look into the queue may find a job."""
        return self.database_now() > self.tables.outlook.claimable

    def has_running(self) -> bool:
        """Whether a job is running, so that the silence of its owner matters."""
        return self.tables.outlook.running > 0

    def has_due_webhooks(self) -> bool:
        """Whether a look at the webhooks may find one."""
        return self.database_now() >= self.tables.outlook.due

    def has_pending_feedback(self) -> bool:
        """Whether a look for models to retrain may find one."""
        return self.database_now() >= self.tables.outlook.retrains

    def has_unfinished_erasure(self) -> bool:
        """Whether an erasure is not complete."""
        return self.tables.outlook.erasing > 0

    def fails_retrain(self, job: Job) -> bool:
        """Whether a run fails because it is a retrain."""
        if job.trigger is not JobTrigger.RETRAIN or not self._failing_retrains:
            return False
        self._failing_retrains -= 1
        self.coverage["failed retrains"] += 1
        return True

    def note_published(self) -> None:
        """Note when versions of the data loop were published."""
        for (number,) in self.tables.rows("SELECT number FROM published WHERE model = ?", DATA_MODEL):
            self.published.setdefault(number, self.clock())

    def _uuid(self) -> UUID:
        return UUID(int=self.chance.getrandbits(128))

    def seconds_of(self, job: Job) -> float:
        """How long a job takes."""
        return self.callers.step_of(job.job_id).seconds

    def is_storage_away(self, job: Job) -> bool:
        """Whether the first attempt at a job finds the bucket away."""
        return job.attempt == 1 and "storage" in self.callers.step_of(job.job_id).flags

    # What goes wrong

    def takes_fault(self) -> bool:
        """Whether one of the faults of the plan happens now."""
        if self._faults_left and self.happens(self.plan.fault_share):
            self._faults_left -= 1
            return True
        return False

    def is_cut_off(self, replica: Replica) -> bool:
        """Whether a replica reaches no database."""
        return self.scheduler.now < max(self._down_until, self._cut_off_until[replica.place])

    def note_trouble(self, replica: Replica, until: float) -> None:
        """A replica may miss what others change, from now on."""
        self.history.add_window(Window(start=self.clock(), end=until, server=replica.host.name))

    def crash(self, replica: Replica, seconds: float | None = None) -> None:
        """Let a replica die, and start another process in its place after some seconds."""
        if not replica.host.is_alive:
            return
        self.coverage["crashes"] += 1
        place = replica.place
        delay = self.chance.uniform(0.2, 2.0) if seconds is None else seconds
        self.scheduler.spawn(lambda: self._restart(place), f"restart {place}", delay=delay)
        self.scheduler.kill(replica.host)

    def _restart(self, place: int) -> None:
        if not self.replicas[place].host.is_alive:
            self.replicas[place] = self._started(place)

    def _started(self, place: int) -> Replica:
        self._starts += 1
        replica = Replica(self, place, self._starts)
        self.scheduler.spawn(replica.run, "start", replica.host, self.chance.uniform(0.0, 0.3))
        return replica

    def _carry_out(self, step: Step) -> None:
        trouble = {
            "pause": self._pause,
            "crash": lambda step: self.crash(self._replica(step), step.seconds),
            "stop": self._stop,
            "outage": self._outage,
            "partition": self._partition,
            "jump": self._jump,
            "clean": self._clean,
            "receiver": self._receiver_away,
            "storage": self._storage_away,
        }.get(step.kind)
        if step.kind in DATA_KINDS:
            self.data_callers.carry_out(step)
        elif trouble is None:
            self.callers.carry_out(step)
        elif not self._is_healed:
            self.scheduler.note(f"TROUBLE {step}")
            trouble(step)
        self.callers.waiting -= 1

    def _replica(self, step: Step) -> Replica:
        return self.replicas[step.replica]

    def _pause(self, step: Step) -> None:
        replica = self._replica(step)
        replica.host.paused_until = self.scheduler.now + step.seconds
        self.coverage["pauses beyond a lease"] += step.seconds > LEASE.seconds
        self.note_trouble(replica, replica.host.paused_until + POLL_SECONDS)

    def _stop(self, step: Step) -> None:
        replica = self._replica(step)
        if replica.is_serving and replica.host.is_alive:
            self.coverage["graceful stops"] += 1
            self.callers.attempt(step.replica, Replica.stop, "stop")
            self.crash(replica, step.seconds)

    def _outage(self, step: Step) -> None:
        self.coverage["outages"] += 1
        self._down_until = self.scheduler.now + step.seconds
        for replica in self.replicas:
            self.note_trouble(replica, self._down_until + 2 * POLL_SECONDS)

    def _partition(self, step: Step) -> None:
        self.coverage["partitions"] += 1
        until = self._cut_off_until[step.replica] = self.scheduler.now + step.seconds
        self.note_trouble(self._replica(step), until + 2 * POLL_SECONDS)

    def _jump(self, step: Step) -> None:
        self.coverage["clock jumps"] += 1
        self._ahead += step.seconds

    def _clean(self, step: Step) -> None:
        self.coverage["cleanings"] += 1
        self.callers.attempt(step.replica, Replica.clean, "clean")

    def _receiver_away(self, step: Step) -> None:
        self.is_receiver_away = True
        self.scheduler.sleep(4 * step.seconds)
        self.is_receiver_away = False

    def _storage_away(self, step: Step) -> None:
        self._storage_down_until = self.scheduler.now + step.seconds

    # The end

    def _referee(self) -> None:
        self.scheduler.sleep(ACTIVE_SECONDS)
        self._heal()
        deadline = self.scheduler.now + SETTLE_SECONDS
        while not self._has_settled():
            if self.scheduler.now > deadline:
                self.faults.append(f"no rest after {SETTLE_SECONDS:.0f} s: {self._unsettled()}")
                self._is_over = True
                return
            self.scheduler.sleep(1.0)
        # Long enough for every replica to know everything.
        self.scheduler.sleep(1.5)
        self.callers.look_at_everything()
        self.data_callers.read_everything()
        if self.has_data:
            self._ahead += LAST_CLEANING_SECONDS
        self.callers.attempt(0, Replica.clean_finally, "final cleaning")
        self._is_over = True

    def _heal(self) -> None:
        self.scheduler.note("everything heals")
        self._is_healed = True
        self.is_receiver_away = False
        self._down_until = self._storage_down_until = 0.0
        self._cut_off_until = [0.0] * self.plan.replicas
        for replica in self.replicas:
            # Its tasks are in the queue for the end of the pause; they come then.
            self.note_trouble(replica, max(self.scheduler.now, replica.host.paused_until) + 2 * POLL_SECONDS)
            self._restart(replica.place)

    def _has_settled(self) -> bool:
        return (
            self.callers.are_done
            and all(replica.is_serving and replica.host.is_alive for replica in self.replicas)
            and not self.tables.outlook.unfinished
            and not self.tables.outlook.pending
            and self.tables.outlook.retrains == NEVER
            and not self.tables.outlook.erasing
        )

    def _unsettled(self) -> str:
        jobs = self.tables.rows("SELECT job_id, state, owner, lease_until FROM jobs WHERE finished IS NULL")
        hooks = self.tables.rows("SELECT job_id, attempts, error FROM webhooks WHERE state = 'pending'")
        return f"jobs {jobs}, webhooks {hooks}, {self.callers.waiting} callers"

    def _publish_first(self) -> None:
        if self.plan.versions:
            publish_versions(self)
        if self.has_data:
            publish_first(self)
            self.note_published()

    def _logged(self, level: str, event: dict[str, object]) -> None:
        if self.scheduler.is_traced:
            self.scheduler.note(f"log {level} {event}")
        if (trouble := LOGGED.get(str(event["event"]))) is not None:
            self.coverage[trouble] += 1
        if level == "error" or "exc_info" in event:
            self.faults.append(f"the server logged an error: {event}")
