"""One simulated server: the real job_store, heartbeat, workers, poller, registry and webhooks."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.datasets.erasure_log import ErasedMembers
from headstart_server.datasets.example_archive import archive_name
from headstart_server.errors import DatabaseUnavailable, ServiceUnavailable, StorageUnavailable
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.claiming import ReplicaSettings
from headstart_server.jobs.cleaning import run_steps
from headstart_server.jobs.heartbeat import Heartbeat, Lease
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_runner import JobRunner
from headstart_server.jobs.job_store import open_job_store
from headstart_server.jobs.poller import Poller
from headstart_server.jobs.submitting import Submission
from headstart_server.jobs.webhook_rows import ClaimedPost
from headstart_server.jobs.workers import WorkerPool
from headstart_server.learning.examples.dataset import DatasetLimits
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.outbound.target import Target
from headstart_server.training.progress import ProgressTools
from headstart_server.webhooks.policy import WebhookPolicy
from headstart_server.webhooks.sender import WebhookSender
from simulation.attempt import SimulatedRun
from simulation.data_replica import ERASURE_SECONDS, RETRAIN_SECONDS, DataLoop, DataRun
from simulation.database import SimulatedDatabase
from simulation.scheduler import Host, Signal, TurnLock
from simulation.storage import SimulatedBucket, SimulatedFolder

if TYPE_CHECKING:
    from simulation.world import World

MODEL = "m"
#: Short ones: what matters is how they compare with pauses and outages.
LEASE = Lease(seconds=2.0, interval=0.75)
#: Seconds between two looks, in the mean.
POLL_SECONDS = 0.5
CLAIM_SECONDS = 0.75
WEBHOOK_SECONDS = 1.0
#: Seconds after which files that belong to nothing are removed.
LEFTOVER_SECONDS = 40.0
ORIGIN = "https://hooks.example.com"
#: Archive of a job whose examples are never read.
_ARCHIVE = b"0123456789"
_LIMITS = DatasetLimits()


class LossyNotifier(JobNotifier):
    """Forgets to wake followers now and then: what they miss, the poller must find."""

    def __init__(self, notifier: JobNotifier, is_lost: Callable[[], bool]) -> None:
        super().__init__()
        self._notifier = notifier
        self._is_lost = is_lost

    def publish(self, job_id: str) -> None:
        if not self._is_lost():
            self._notifier.publish(job_id)


class Replica:
    """One process; it is started by `run` in a task of its host, and gone when that dies.

    Args:
        world: what it shares with others.
        place: its place among the replicas.
        number: how often a replica was started, so that each process has its own name.
    """

    def __init__(self, world: "World", place: int, number: int) -> None:
        self.world = world
        self.place = place
        self.host = Host(f"r{place}.{number}")
        chance = world.chance
        # A clock that only goes up, from anywhere, and a little too fast or too slow.
        self._ahead, self._rate = chance.uniform(0, 1e4), chance.uniform(0.98, 1.02)
        self.is_serving = False
        self.notifier = JobNotifier()
        self.database = SimulatedDatabase(world.tables, world.around(self))
        self.folder = self.folder_of(world.bucket)
        self.versions = VersionStore(self.folder)
        self.files = self.folder_of(world.archives)
        self.datasets = DatasetStore(self.files, _LIMITS, ErasedMembers(self.database).among)
        self.archives = ArchiveRetention(self.database, self.datasets, max_bytes=1 << 20)

    def folder_of(self, bucket: SimulatedBucket) -> SimulatedFolder:
        """Return a folder of the bucket as this replica sees it."""
        world = self.world
        scratch = world.scratch / self.host.name
        return SimulatedFolder(bucket, lambda what: world.touch_storage(self, what), world.clock, scratch)

    def clock(self) -> float:
        """Seconds that only go up."""
        return self._ahead + self._rate * self.world.scheduler.now

    def run(self) -> None:
        """Start, as the server does; then serve in tasks."""
        world = self.world
        while True:
            try:
                self._build()
                break
            except DatabaseUnavailable:
                world.scheduler.sleep(0.5)
        self.is_serving = True
        spawn = world.scheduler.spawn
        spawn(self._beat, "heartbeat", self.host)
        spawn(self._poll, "poller", self.host)
        spawn(self._work, "worker", self.host)
        spawn(self._send, "webhooks", self.host)
        if world.has_data:
            self.data = DataLoop(self)
            spawn(self._retrain, "retrainer", self.host)
            spawn(self._resume_erasures, "erasures", self.host)

    def _build(self) -> None:
        world = self.world
        self.registry = Registry(
            self.database,
            self.versions,
            ResidentVersions(1 << 20),
            on_deleted=self.sweep,
            clock=self.clock,
            refreshing=TurnLock(world.scheduler),
        )
        notifier = LossyNotifier(self.notifier, self._loses_notification)
        self.job_store = open_job_store(
            self.database,
            self.registry,
            notifier,
            ReplicaSettings(owner=self.host.name, lease_seconds=LEASE.seconds),
        )
        store = self.job_store
        self.heartbeat = Heartbeat(
            store.queue, store.runs, LEASE, clock=self.clock, wait=world.scheduler.sleep
        )
        self.workers = WorkerPool(
            store.queue,
            self.heartbeat,
            JobRunner(
                store.queue,
                store.runs,
                self._run_of,
                self,
                sleep=world.scheduler.sleep,
            ),
            lambda _: self.sweep(),
            size=0,
            clock=self.clock,
        )
        self.poller = Poller(self.job_store.reader, self.notifier, self.registry.index.sync)
        policy = WebhookPolicy([ORIGIN], resolve=lambda host, port: ["93.184.216.34"])
        self.sender = WebhookSender(
            self.database,
            policy,
            world.secrets,
            self._tried,
            body=webhook_body,
            post=self._post,
            chance=world.chance,
        )
        self.woken = Signal(world.scheduler)

    def _loses_notification(self) -> bool:
        is_lost = self.world.happens(self.world.plan.loss_share)
        self.world.coverage["lost notifications"] += is_lost
        return is_lost

    # What the threads of the server do

    def _beat(self) -> None:
        world = self.world

        def is_needed() -> bool:
            return world.has_running() or world.has_unfinished_erasure()

        while True:
            world.scheduler.doze(lambda: LEASE.interval, is_needed)
            self.heartbeat.renew()

    def _poll(self) -> None:
        world, seen = self.world, None

        def seconds() -> float:
            return POLL_SECONDS * world.chance.uniform(0.8, 1.2)

        while True:
            # Without a change it would find what it found the last time.
            world.scheduler.doze(seconds, lambda known=seen: self._visible() != known)
            visible = self._visible()
            try:
                self.poller.poll()
                seen = visible
            except DatabaseUnavailable:
                world.note_trouble(self, until=world.scheduler.now + 0.8)

    def _visible(self) -> object:
        """Return a value that changes with everything that a poll may find."""
        if not (followed := self.notifier.subscribed_ids()):
            return self.world.registry_changes
        return self.world.changes, frozenset(followed)

    def _work(self) -> None:
        world = self.world

        def seconds() -> float:
            return CLAIM_SECONDS * world.chance.uniform(0.67, 1.33)

        while True:
            self.woken.clear()
            if not self.workers.step():
                self.woken.doze(seconds, lambda: world.has_claimable() or world.happens(0.1))

    def _send(self) -> None:
        world = self.world

        def seconds() -> float:
            return WEBHOOK_SECONDS * world.chance.uniform(0.8, 1.2)

        while True:
            world.scheduler.doze(seconds, world.has_due_webhooks)
            with suppress(DatabaseUnavailable):
                while (claimed := self.sender.claim()) is not None:
                    world.scheduler.spawn(lambda each=claimed: self._send_one(each), "webhook", self.host)

    def _run_of(self, job: Job, checkpoint: Callable[[], None]) -> "SimulatedRun | DataRun":
        if job.spec.model == MODEL:
            return SimulatedRun(self, job, checkpoint)
        return DataRun(self, job, checkpoint)

    def progress_tools(self) -> ProgressTools:
        """Return what the reporters of jobs work with."""
        return ProgressTools(
            runs=self.job_store.runs, observer=self, clock=self.clock, sleep=self.world.scheduler.sleep
        )

    def _retrain(self) -> None:
        self._repeat(RETRAIN_SECONDS, self.world.has_pending_feedback, self.data.retraining.run)

    def _resume_erasures(self) -> None:
        self._repeat(ERASURE_SECONDS, self.world.has_unfinished_erasure, self._resume_in_turn)

    def _resume_in_turn(self) -> None:
        if self.job_store.cleaner.take_cleaning_turn("erasures", ERASURE_SECONDS):
            self.data.erasures.resume()

    def _repeat(self, mean: float, is_needed: Callable[[], bool], work: Callable[[], object]) -> None:
        """Work again and again, as soon as there is something to do."""
        world = self.world

        def seconds() -> float:
            return mean * world.chance.uniform(0.8, 1.2)

        while True:
            world.scheduler.doze(seconds, is_needed)
            with suppress(ServiceUnavailable):
                work()

    def _send_one(self, claimed: ClaimedPost) -> None:
        with suppress(DatabaseUnavailable):
            self.sender.send(claimed)

    def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> None:
        self.world.receiver.take(body)

    def _tried(self, outcome: str) -> None:
        self.world.scheduler.note(f"webhook {outcome}")

    def job_ended(self, outcome: str) -> None:
        self.world.scheduler.note(f"run ended as {outcome}")

    def step_finished(self, step: str, seconds: float) -> None:
        del step, seconds

    # What calls do

    def submit(self, submission: Submission) -> str:
        """Take in a fine-tune, as the intake does: examples first, then the row."""
        self.files.put(archive_name(submission.job_id), _ARCHIVE)
        job = self.job_store.queue.submit(submission)
        if job.job_id != submission.job_id:
            with suppress(StorageUnavailable):
                self.datasets.remove(submission.job_id)
        self.woken.set()
        return job.job_id

    def cancel(self, job_id: str) -> Job:
        job = self.job_store.queue.cancel(job_id)
        if job.state is JobState.RUNNING:
            self.heartbeat.cancel(job_id)
        else:
            self.sweep()
        return job

    def sweep(self) -> None:
        with suppress(ServiceUnavailable):
            self.archives.sweep()

    def clean(self) -> None:
        """Clean up as a server does every half minute."""
        if self.job_store.cleaner.take_cleaning_turn("rows", 1.0):
            run_steps(
                {
                    "expired_versions": self.registry.delete_expired,
                    **(self.data.clean_rows() if self.world.has_data else {}),
                    "archives": self.archives.sweep,
                    "old_jobs": lambda: self.job_store.cleaner.forget(1e6),
                }
            )
        if self.job_store.cleaner.take_cleaning_turn("files", 1.0):
            run_steps(
                {
                    "usage": self.job_store.quotas.recount_usage,
                    "leftovers": lambda: self.remove_leftovers(older_than=LEFTOVER_SECONDS),
                }
            )

    def remove_leftovers(self, *, older_than: float = 0.0) -> None:
        self.archives.recover(older_than=older_than)
        self.registry.remove_leftovers(self.job_store.reader.unfinished, older_than=older_than)

    def clean_finally(self) -> None:
        """Clean up a long time after everything else."""
        if self.world.has_data:
            self.data.finish_cleaning()
        self.remove_leftovers()

    def stop(self) -> None:
        """Stop as a server does whose grace is over: jobs go back into the queue."""
        self.workers.stop(0.0)
        with suppress(DatabaseUnavailable):
            self.job_store.queue.leave()
