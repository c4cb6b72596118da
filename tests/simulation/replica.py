"""One simulated server: the real job_store, heartbeat, workers, poller, registry and webhooks."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from fakes import SUMMARY, make_manifest
from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.errors import DatabaseUnavailable, ServiceUnavailable, StorageUnavailable
from headstart_server.feedback.feedback import AnsweredPrediction, NewFeedback
from headstart_server.feedback.feedback_store import FeedbackStore
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.cleaning import run_steps
from headstart_server.jobs.heartbeat import Heartbeat, Lease
from headstart_server.jobs.job import Findings, Job, JobState, JobStep
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_queue import ReplicaSettings
from headstart_server.jobs.job_runner import JobRunner
from headstart_server.jobs.job_store import open_job_store
from headstart_server.jobs.poller import Poller
from headstart_server.jobs.running import JobCancelledError, JobLostError
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.stored import TenantLimits
from headstart_server.jobs.submitting import Submission
from headstart_server.jobs.webhook_rows import ClaimedPost
from headstart_server.jobs.workers import WorkerPool
from headstart_server.learning.examples.target import Target as Label
from headstart_server.models.feedback_rows import Answer, ChosenFeedback, FeedbackChangedError
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.outbound.target import Target
from headstart_server.training.progress import ProgressReporter, ProgressTools
from headstart_server.webhooks.policy import WebhookPolicy
from headstart_server.webhooks.sender import WebhookSender
from simulation.database import SimulatedDatabase
from simulation.scheduler import Host, Signal, TurnLock
from simulation.storage import SimulatedArchives, SimulatedFolder

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
#: What the IDs of retrains begin with.
RETRAIN = "retrain-"
RETRAIN_SECONDS = 1.0


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
        self.folder = SimulatedFolder(world.bucket, lambda what: world.touch_storage(self, what), world.clock)
        self.files = SimulatedArchives(
            world.bucket, lambda what: world.touch_storage(self, what), world.clock
        )
        self.archives = ArchiveRetention(self.database, self.files, max_bytes=1 << 20)

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
        if world.has_feedback:
            spawn(self._retrain, "retrainer", self.host)

    def _build(self) -> None:
        world = self.world
        self.registry = Registry(
            self.database,
            VersionStore(self.folder),
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
                lambda job, checkpoint: SimulatedRun(self, job, checkpoint),
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
        self.feedback = FeedbackStore(self.database, lambda _: TenantLimits())

    def _loses_notification(self) -> bool:
        is_lost = self.world.happens(self.world.plan.loss_share)
        self.world.coverage["lost notifications"] += is_lost
        return is_lost

    # What the threads of the server do

    def _beat(self) -> None:
        while True:
            self.world.scheduler.doze(lambda: LEASE.interval, self.world.has_running)
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

    def _retrain(self) -> None:
        world = self.world

        def seconds() -> float:
            return RETRAIN_SECONDS * world.chance.uniform(0.8, 1.2)

        while True:
            world.scheduler.doze(seconds, world.has_pending_feedback)
            with suppress(ServiceUnavailable, FeedbackChangedError):
                for model, _, _ in self.feedback.ready():
                    self._retrain_model(model)

    def _retrain_model(self, model: str) -> None:
        """Submit a retrain, as `Retraining` does: the state is read before the feedback."""
        policy, state = self.feedback.retrain_state(model)
        found = [each.feedback_id for each in self.feedback.pending(model, 100)]
        if policy is None or not found:
            return
        chosen = ChosenFeedback(feedback_ids=found, last_version=state.last_version)
        job_id = f"{RETRAIN}{uuid4_of(self.world)}"
        self.world.retrains[job_id] = found
        spec = FineTuneSpec(model=model, backbone="b", priority=-10)
        self.submit(
            Submission(
                job_id=job_id,
                spec=spec,
                summary=SUMMARY,
                request_id=None,
                request_hash="h",
                nbytes=10,
                feedback=chosen,
            )
        )

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
        self.files.put(submission.job_id)
        job = self.job_store.queue.submit(submission)
        if job.job_id != submission.job_id:
            with suppress(StorageUnavailable):
                self.files.remove(submission.job_id)
        self.woken.set()
        return job.job_id

    def send_feedback(self, number: int) -> str:
        """Take in feedback, as the server does: the content first, then the row."""
        feedback_id = f"feedback-{uuid4_of(self.world)}"
        self.files.put(feedback_id)
        found, _ = self.feedback.add(
            NewFeedback(
                feedback_id=feedback_id,
                model=MODEL,
                request_id=f"feedback {number}",
                request_hash="h",
                principal="",
                answer=Answer.LABEL,
                target=Label.of_label("cat"),
                prediction=AnsweredPrediction(),
                digest=f"content {number}",
                kind="image",
                nbytes=10,
            )
        )
        return found.feedback_id

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

    def stop(self) -> None:
        """Stop as a server does whose grace is over: jobs go back into the queue."""
        self.workers.stop(0.0)
        with suppress(DatabaseUnavailable):
            self.job_store.queue.leave()


def uuid4_of(world: "World") -> str:
    """Return an ID that the seed determines."""
    return f"{world.chance.getrandbits(64):016x}"


class SimulatedRun:
    """An attempt at a job that takes the time its plan says and publishes a version, as a fine-tune does."""

    def __init__(self, replica: Replica, job: Job, checkpoint: Callable[[], None]) -> None:
        self._replica = replica
        self._job = job
        self._checkpoint = checkpoint
        self._progress = ProgressReporter(
            job,
            ProgressTools(
                runs=replica.job_store.runs,
                observer=replica,
                clock=replica.clock,
                sleep=replica.world.scheduler.sleep,
            ),
            checkpoint,
        )

    @property
    def findings(self) -> Findings:
        return self._progress.findings

    def execute(self) -> int:
        seconds = self._replica.world.seconds_of(self._job)
        for step in (JobStep.FEATURES, JobStep.FIT):
            with self._progress.step(step):
                self._progress.report(step, 0, 2, force=True)
                for _ in range(2):
                    self._replica.world.scheduler.sleep(seconds / 4)
                    self._checkpoint()
        if self._replica.world.is_storage_away(self._job):
            raise StorageUnavailable("The bucket does not answer.")
        artifact = f"{self._job.job_id}.{self._job.attempt}"
        with self._progress.step(JobStep.PUBLISH):
            self._progress.retry_until_available(
                lambda: self._replica.folder.write(artifact, {"head": b"h", "manifest": b"m"})
            )
        try:
            return self._publish(artifact)
        except (JobCancelledError, JobLostError):
            with suppress(StorageUnavailable):
                self._replica.folder.remove(artifact)
            raise

    def _publish(self, artifact: str) -> int:
        job = self._job
        manifest = make_manifest(job.spec.model, job.job_id)
        while True:
            try:
                return self._replica.job_store.runs.succeed(
                    job,
                    self._progress.progress(JobStep.PUBLISH, 1, 1),
                    self.findings,
                    artifact=artifact,
                    size_bytes=2,
                    manifest=manifest,
                )
            except DatabaseUnavailable:
                self._replica.world.scheduler.sleep(0.25)
                with suppress(JobCancelledError, JobLostError):
                    self._checkpoint()
