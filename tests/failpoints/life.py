"""A server's life that passes every failpoint, as a script that can be run again wherever it was killed."""

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import update

from failpoints.capturing import capture
from failpoints.storing import store
from fakes import JobDriver, ManualClock, Publisher
from feedback_bench import EAGER, FeedbackBench
from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.database.tables import jobs, tenant_usage
from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasureRequest
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ModelNotFound, VersionNotFound
from headstart_server.jobs.job import Findings, Job, JobError, JobState
from headstart_server.models.feedback_rows import FeedbackState
from headstart_server.models.traffic import Traffic
from headstart_server.outbound.target import Target
from headstart_server.storage.atomic_files import staged_file, staged_folder
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.copies import LocalCopies
from headstart_server.storage.ownership import BucketMarker, FileMarker, FolderIdentity, claim
from headstart_server.storage.storage_roots import BucketFolder
from headstart_server.webhooks.policy import WebhookPolicy
from headstart_server.webhooks.sender import WebhookPostError, WebhookSender
from workbench import Workbench, pets

BEGIN = 1_700_000_000.0
#: How each request ends, by its model.
ENDS = {
    "pets": JobState.SUCCEEDED,
    "erased": JobState.SUCCEEDED,
    "returned": JobState.SUCCEEDED,
    "failing": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
    "gone": JobState.SUCCEEDED,
    "short": JobState.SUCCEEDED,
    "fed": JobState.SUCCEEDED,
    "measured": JobState.SUCCEEDED,
}
HOOK = "https://hooks.example.com/in"


class Life:
    """One process of a server on a folder and a database.

    Args:
        folder: its data.
        address: of the database; None for a file in the folder.
        hour: how late it is: leases of an earlier process have ended an hour later.
    """

    def __init__(self, folder: Path, address: str | None, hour: int) -> None:
        self.folder = folder
        self.clock = ManualClock(BEGIN + 3600 * hour)
        # With its address, so that a process may be killed while it creates the tables.
        address = address or f"sqlite:///{folder / 'headstart.sqlite3'}"
        self.publisher = Publisher(folder, self.clock, address=address)
        self.database = self.publisher.database
        self.driver = JobDriver(self.publisher)
        self.job_store = self.driver.job_store = self.driver.restarted(owner=uuid.uuid4().hex, webhook=HOOK)
        self.bench = Workbench(folder, self.driver)
        secrets = folder / "secrets"
        secrets.write_text("whsec_" + "c2VjcmV0" * 5 + "\n")
        policy = WebhookPolicy([], own=HOOK, resolve=lambda host, port: ["93.184.216.34"])
        #: What each erasure did to versions, by the place of the example.
        self.certificates: dict[int, list[tuple[int, str, str, tuple[str, ...]]]] = {}
        self.sender = WebhookSender(
            self.database, policy, secrets, lambda outcome: None, body=webhook_body, post=self._post
        )

    def close(self) -> None:
        self.bench.close()
        self.publisher.close()

    def run(self) -> None:
        """Do everything once; what an earlier process has done stays as it is."""
        claim(FileMarker(self.folder), self.database)
        mark = FolderIdentity(self.folder).read()
        assert self.database.record_artifacts(mark, str(self.folder)) == (mark, str(self.folder))
        self._use_bucket()
        self._use_caches()
        if not self.database.is_shared:
            self.job_store.queue.expire_leases()
            self.sender.start()
            self.sender.stop()
        self.bench.archives.recover()
        self._fine_tune("pets", alias="stable")
        self._fine_tune("pets", start=3, each=1, parent_version=1, alias="stable")
        self.bench.registry.set_alias("pets", "old", 1)
        self.bench.registry.set_alias("pets", "removed", 1)
        self.bench.registry.delete_alias("pets", "removed")
        self.bench.registry.update_version("pets", 1, {"display_name": "first"}, None)
        self.bench.registry.update_model("pets", {"description": "Pets"})
        capture(self.folder, self.database, self.bench.registry)
        store(self.bench)
        self.bench.eraser.erase("cat0", "pets")
        self._erase_with_rebuild()
        self._fine_tune("failing")
        self._fine_tune("returned")
        self._cancel()
        self._learn()
        self._delete()
        self._shorten_archive()
        self._send_webhooks()
        self._delete_job()
        self._clean()
        self.job_store.queue.leave()

    def _fine_tune(
        self, model: str, *, each: int = 3, start: int = 0, request_id: str = "", **spec: Any
    ) -> Job:
        examples = pets(each, start=start)
        request_id = request_id or f"{model} {start}"
        job = self.bench.accept(examples, request_id=request_id, model=model, **spec)
        while not self.job_store.reader.get(job.job_id).state.is_terminal:
            claimed = self.job_store.queue.claim()
            if claimed is None:
                # After a crash a job may have to wait.
                self.clock.advance(30.0)
            else:
                self._attempt(claimed)
        return self.job_store.reader.get(job.job_id)

    def _attempt(self, job: Job) -> None:
        self.job_store.queue.renew([job])
        model = job.spec.model
        if model in ("failing", "deleted"):
            self.job_store.runs.fail(job, JobError(reason="INTERNAL", message="It fails."), Findings())
        elif model == "cancelled":
            self.job_store.queue.cancel(job.job_id)
            self.job_store.runs.finish_cancelled(job)
        elif model == "returned" and job.attempt == 1:
            self.job_store.runs.release(job)
        else:
            self.bench.run(job)

    def _learn(self) -> None:
        """Retrain a model from feedback."""
        self._fine_tune("fed", alias="stable")
        feedback = FeedbackBench(self.bench)
        feedback.set_policy(EAGER, "fed")
        feedback.label("cat", 90, "dog", model="fed", request_id="feedback")
        while FeedbackState.LEARNED not in feedback.states("fed").values():
            feedback.retraining.run()
            if (claimed := self.job_store.queue.claim()) is not None:
                self._attempt(claimed)
            else:
                self.clock.advance(30.0)
        feedback.store.leave_out("fed", [], superseded=[])
        feedback.store.note_failure("fed", "INTERNAL", "It fails.")

    def _cancel(self) -> None:
        job = self.bench.accept(pets(3), request_id="cancelled 0", model="cancelled")
        if not job.state.is_terminal:
            self.job_store.queue.cancel(job.job_id)

    def _erase_with_rebuild(self) -> None:
        ErasureClaims(self.database).release("interrupted")
        self._fine_tune("erased", alias="stable")
        self._fine_tune("erased", start=3, parent_version=1)
        # Neither contents nor features are left to fit the third one again.
        self._fine_tune("erased", start=7, discard_examples=True)
        self.bench.archives.sweep()
        for place, examples in ((0, pets(3)), (7, pets(3, start=7))):
            if place:
                self.bench.cache.remove({content_digest(example.content) for example in examples})
            request = ErasureRequest(example_id=f"cat{place}", model="erased", request_id=f"erase {place}")
            _, record = self.bench.erasure_service().erase(request, rebuild=True)
            assert record is not None
            self.certificates[place] = [
                (result.number, result.new_head_digest, result.skipped_reason[:20], result.aliases)
                for result in record.versions.values()
                if result is not None
            ]

    def _delete(self) -> None:
        registry = self.bench.registry
        self._fine_tune("pets", start=5)
        with suppress(VersionNotFound):
            registry.delete_version("pets", 3, force=True)
        self._fine_tune("gone")
        with suppress(ModelNotFound):
            registry.delete_model("gone", force=True)
        self._fine_tune("short", ttl=60.0)
        self.clock.advance(120.0)
        registry.delete_expired()

    def _shorten_archive(self) -> None:
        """Leave an archive of another size to measure, also after the kill of a process that measured."""
        self._fine_tune("measured", start=20, request_id=uuid.uuid4().hex)
        self.bench.eraser.erase("cat20", "measured")

    def _delete_job(self) -> None:
        """Delete a job, and forget one that ended long ago."""
        deleted, old = self._fine_tune("deleted"), self._fine_tune("deleted", start=3)
        self._send_webhooks()
        self.job_store.queue.delete(deleted.job_id)
        with self.database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.job_id == old.job_id).values(finished=BEGIN - 1e7))
        self.job_store.cleaner.forget(1e6)

    def _post(self, target: Target, headers: Mapping[str, str], body: bytes) -> None:
        job = json.loads(body)["data"]
        state = job["state"].removeprefix("JOB_STATE_")
        with (self.folder / "received").open("a") as file:
            file.write(f"{job['jobId']} {state}\n")
        if state == "FAILED" and not (self.folder / "refused").exists():
            (self.folder / "refused").touch()
            raise WebhookPostError("Expected an answer of 200 to 299. Received: 500.")

    def _send_webhooks(self) -> None:
        for _ in range(4):
            while (claimed := self.sender.claim()) is not None:
                self.sender.send(claimed)
            # Until the next try, or until the lease of a process that was killed has ended.
            self.clock.advance(100.0)

    def _clean(self) -> None:
        self.job_store.cleaner.take_cleaning_turn("rows", 1.0)
        self.bench.archives.sweep()
        self.bench.archives.recover()
        self.bench.registry.remove_leftovers(self.job_store.reader.unfinished)
        self.bench.eraser.carry_out()
        traffic = Traffic(self.database, "replica")
        traffic.answered("pets", 1, inputs=1, unknowns=0, seconds=0.01)
        traffic.write()
        traffic.clean()
        with self.database.write() as connection:
            connection.execute(update(tenant_usage).values(version_count=tenant_usage.c.version_count + 1))
        self.job_store.quotas.recount_usage()

    def _use_bucket(self) -> None:
        root = self.folder / "bucket"
        root.mkdir(exist_ok=True)
        bucket = Bucket(_LocalBucket(auto_mkdir=True), "local")
        claim(BucketMarker(bucket, str(root)), self.database)
        copies = LocalCopies(self.folder / "copies", 1 << 20)
        folder = BucketFolder(bucket, f"{root}/versions", self.folder / "scratch", copies)
        folder.write("one", {"head": b"head", "manifest": b"manifest"})
        folder.staging_path("archive").write_bytes(b"examples")
        folder.commit("archive")
        with folder.open("archive") as file:
            assert file.read() == b"examples"
        assert folder.read("one", "head") == b"head"
        folder.write("gone", {"head": b"head"})
        folder.remove("gone")

    def _use_caches(self) -> None:
        network, facts = self.folder / "cache" / "network", self.folder / "cache" / "facts"
        if not network.is_dir():
            with staged_folder(network) as aside:
                (aside / "weights").write_bytes(b"weights")
        with staged_file(facts) as aside:
            aside.write_bytes(b"facts")
        assert (network / "weights").read_bytes() == b"weights"
        assert facts.read_bytes() == b"facts"


class _LocalBucket(LocalFileSystem):
    """A bucket on a disk: it takes the timeouts that those over a network take."""

    def rm_file(self, path: str, **_: Any) -> None:
        super().rm_file(path)

    def find(self, path: str, **options: Any) -> Any:
        options.pop("timeout", None)
        return super().find(path, **options)


@contextmanager
def life(folder: Path, address: str | None, hour: int) -> Iterator[Life]:
    """A process that is closed at the end."""
    made = Life(folder, address, hour)
    try:
        yield made
    finally:
        made.close()
