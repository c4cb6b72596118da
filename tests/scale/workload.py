"""Calls everything of the server that executes SQL, as callers, jobs, replicas and cleaning do."""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from unittest import mock

from sqlalchemy import delete, select, update

from fakes import FakeArchives, JobDriver, Publisher
from headstart_server.auth.permissions import Scope
from headstart_server.database.dataset_tables import archive_sizes, archive_uses
from headstart_server.database.tables import jobs, versions
from headstart_server.database.tables import traffic as traffic_rows
from headstart_server.datasets.erasure_claims import ErasureClaims
from headstart_server.datasets.erasure_log import ErasedMembers, ErasureLog, ErasureRequest, RebuiltVersion
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.datasets.example_finder import FoundExample
from headstart_server.errors import ArtifactDamaged, HeadstartError
from headstart_server.jobs import claiming, cleaning, webhook_rows
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import Findings, Job, JobError, JobState
from headstart_server.jobs.job_counts import JobCounts
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.jobs.stored import QueueLimits, TenantLimits
from headstart_server.learning.metrics.promotion import Decision, Promotion
from headstart_server.models import usage
from headstart_server.models.registry import AliasMovedError
from headstart_server.models.replacement import Successor
from headstart_server.models.traffic import Traffic
from headstart_server.models.updates import Expiration
from headstart_server.models.version import Selector, TrafficSplit
from scale.captured import Captured
from scale.dataset import QUEUED, RUNNING, Sizes
from scale.rooms import Rooms

Operation = Callable[[], object]

#: Seconds after which an operation is not repeated.
MOST_SECONDS = 10.0
_LIMITS = TenantLimits(versions=1 << 30, stored_bytes=1 << 60)
_ERROR = JobError(reason="INTERNAL", message="no")


class NoFiles:
    """Stands in for the archives of a database of which only the rows are there."""

    def rewrite(self, archive: str, members: Collection[int]) -> int:
        return 0

    def remove(self, job_id: str) -> None:
        pass

    def listed(self, job_id: str) -> Any:
        raise ArtifactDamaged(f"There is no archive {job_id}.")


class Workload:
    """All operations on a database that `fill` filled.

    Args:
        publisher: the database, and files of new versions.
        sizes: how large it is.
        times: how often each operation is repeated.
    """

    def __init__(self, publisher: Publisher, sizes: Sizes, times: int) -> None:
        self._publisher = publisher
        self._sizes = sizes
        self._times = times
        self._random = random.Random(1)
        limits = QueueLimits(
            queued=10_000,
            queued_per_tenant=9_000,
            running=5_000,
            running_per_tenant=4_000,
            versions_per_model=10**8,
        )
        self._driver = JobDriver(publisher, limits=limits, tenant_limits=lambda _: _LIMITS)
        self.job_store = self._driver.job_store
        self._archives = ArchiveRetention(publisher.database, FakeArchives(), max_bytes=1 << 60)
        self._eraser = ExampleEraser(
            publisher.database,
            publisher.registry,
            NoFiles(),
            lambda *_: None,  # type: ignore[arg-type]
        )
        self._rooms = Rooms(publisher, self._driver, self._eraser, sizes, lambda _: _LIMITS)
        self._captured = Captured(publisher, sizes, lambda _: _LIMITS)
        self._promotes = True
        self._counts = JobCounts(publisher.database)
        #: Errors of operations, by their names.
        self.errors: dict[str, str] = {}
        #: Seconds of each operation's slowest run, by name.
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Do everything, the cheap first."""
        for name, operation in self._operations():
            began = time.perf_counter()
            for _ in range(self._times):
                started = time.perf_counter()
                try:
                    operation()
                except (HeadstartError, AliasMovedError) as error:
                    self.errors[name] = str(error)
                self.seconds[name] = max(self.seconds.get(name, 0.0), time.perf_counter() - started)
                if time.perf_counter() - began > MOST_SECONDS:
                    break

    def _operations(self) -> Iterator[tuple[str, Operation]]:
        yield from self._reads()
        yield from self._writes()
        yield from self._rooms.operations()
        yield from self._captured.operations()
        yield from self._models()
        yield from self._erasing()
        yield from self._cleaning()

    # What callers read

    def _reads(self) -> Iterator[tuple[str, Operation]]:
        job_store = self.job_store
        yield "get a job", lambda: job_store.reader.get(self._any_job())
        yield "get a queued job", lambda: job_store.reader.get(self._job(self._random.randrange(QUEUED)))
        yield "events", lambda: job_store.reader.events(self._any_job(), 0)
        yield "events of no job", lambda: job_store.reader.events("none", 0)
        yield "newest events", lambda: job_store.reader.last_events([self._any_job() for _ in range(50)])
        yield "count", job_store.reader.count
        yield "under way", lambda: job_store.reader.is_under_way(self._any_model())
        yield "unfinished", job_store.reader.unfinished
        yield "check for room", lambda: job_store.quotas.check_room("big")
        yield "room", lambda: job_store.quotas.room_for("big", "big/heavy")
        yield "usage of a tenant", lambda: job_store.quotas.usage_of("big")
        yield "usage of all", job_store.quotas.usage
        yield "refusal", lambda: job_store.quotas.refusal("big", "big/heavy", 5)
        yield (
            "replayed",
            lambda: job_store.queue.replayed(f"r{self._random.randrange(1000) * 10}", tenant="big"),
        )
        yield "forecast", self._forecast
        yield "watch all jobs", lambda: self._watch("")
        yield "watch a model's jobs", lambda: self._watch("big/heavy")
        yield "unfinished events", job_store.reader.unfinished_events
        for name, arguments in self._lists().items():
            yield f"list {name}", lambda arguments=arguments: self._list(**arguments)

    def _lists(self) -> dict[str, dict[str, Any]]:
        ended = [JobState.FAILED]
        middle = (self._sizes.now - self._sizes.jobs / 2, "")
        none = Scope(tenant="absent")
        prefix = Scope(tenant="big", models=("m1*",))
        return {
            "all": {},
            "from the middle": {"before": middle},
            "of a model": {"model": "big/heavy"},
            "of no model": {"model": "none"},
            "in a state": {"states": ended, "before": middle},
            "in states": {"states": [JobState.QUEUED, JobState.CANCELLED]},
            "of a model in a state": {"model": "big/heavy", "states": ended},
            "of a tenant": {"scope": Scope(tenant="big")},
            "of a tenant from the middle": {"scope": Scope(tenant="big"), "before": middle},
            "of a small tenant in a state": {"scope": Scope(tenant="t5"), "states": ended},
            "of an unknown tenant": {"scope": none},
            "of an unknown tenant in a state": {"scope": none, "states": ended},
            "of no tenant": {"scope": Scope()},
            "of a prefix": {"scope": prefix, "states": ended},
            "of an unknown prefix": {"scope": Scope(tenant="big", models=("zebra*",))},
            "of an unknown prefix without a tenant": {"scope": Scope(models=("zebra*",))},
            "of a named model": {"scope": Scope(tenant="big", models=("heavy", "none"))},
            "of nothing": {"scope": Scope(tenant="big", models=())},
            "in a state that no job has": {"states": [JobState.QUEUED], "before": (0.0, "")},
        }

    def _list(self, **arguments: Any) -> Sequence[Job]:
        fields = {"model": "", "states": (), "before": None, "limit": 101, **arguments}
        return self.job_store.reader.list(**fields)

    def _forecast(self) -> None:
        forecast = self._driver.restarted().forecast
        forecast.seconds_to_next_start()
        forecast.of(self.job_store.reader.get(self._job(0)))

    def _watch(self, model: str) -> None:
        job_store = self.job_store
        started = job_store.reader.position()
        # From the start and from a while ago, with jobs that had not ended then.
        ago = replace(started, number=started.number - 500, read={self._any_job(): 1 for _ in range(5)})
        for position in (started, ago):
            for scope in (None, Scope(tenant="big")):
                job_store.reader.watched(position, model=model, scope=scope)

    # What jobs and replicas write

    def _writes(self) -> Iterator[tuple[str, Operation]]:
        driver, job_store = self._driver, self.job_store
        yield "submit", self._submit
        yield "submit with a parent", self._submit_child
        yield (
            "submit again",
            lambda: driver.submit(self._new(), request_id="r0", tenant="big", model="big/m0"),
        )
        yield "claim", job_store.queue.claim
        yield "claim one by one", self._claim_one
        yield "claim as another", driver.restarted(["fake"], trains_networks=False).queue.claim
        yield (
            "beat",
            lambda: job_store.queue.renew([job_store.reader.get(self._job(QUEUED + 1)), *self._running(3)]),
        )
        yield "leave", lambda: (driver.restarted().queue.renew([]), driver.restarted().queue.leave())
        yield "report", lambda: driver.report(self._running(1)[0])
        yield "publish", self._publish
        yield "publish a new model", self._publish_new
        yield "publish under a condition", self._publish_promoted
        yield "publish again", self._publish_again
        yield "fail", lambda: job_store.runs.fail(self._running(1)[0], _ERROR, Findings())
        yield "fail again", self._fail_again
        yield "give back", lambda: job_store.runs.release(self._running(1)[0])
        yield "cancel a queued job", lambda: job_store.queue.cancel(self._submit().job_id)
        yield "cancel a running job", self._cancel_running
        yield "delete a job", self._delete_job
        yield "write without a claim", self._write_lost
        yield "take over the dead", self._take_over

    def _submit(self, **fields: Any) -> Job:
        values = {
            "tenant": "big",
            "model": "big/heavy",
            "nbytes": 1000,
            "priority": 5,
            "webhook": "https://example.com",
        }
        return self._driver.submit(self._new(), **values | fields)

    def _submit_child(self) -> Job:
        parent = self._job(self._sizes.jobs - 1 - self._random.randrange(self._sizes.models))
        return self._submit(archives=[parent], request_id=f"new-{self._random.random()}")

    def _claim_one(self) -> None:
        database, claimant = self._publisher.database, self._claimant()
        job_id = self._submit().job_id
        with database.write() as connection:
            claiming.has_other_replicas(connection, claimant.replica.owner, database.now(connection), 10.0)
            claiming.to_try(connection, claimant, database.now(connection))
            claiming.claim(connection, claimant, database.now(connection), only=job_id)
            claiming.fail(connection, job_id, "no", database.now(connection))

    def _claimant(self) -> claiming.Claimant:
        return claiming.Claimant(
            replica=claiming.ReplicaSettings(
                owner="host/other", lease_seconds=10.0, backbones=["fake"], memory_bytes=1 << 30
            ),
            limits=QueueLimits(),
            held=["none"],
            may_take_over=True,
        )

    def _running(self, count: int, **fields: Any) -> list[Job]:
        """So many jobs that are claimed."""
        found = []
        for _ in range(count):
            self._submit(**{"priority": 10, **fields})
            found.append(self._driver.claim())
        return found

    def _publish(self) -> int:
        return self._driver.succeed(self._running(1, alias="live", discard_examples=self._coin())[0])

    def _publish_new(self) -> int:
        members = [(self._any_job(), place) for place in range(10)]
        with suppress(ExampleErasedError):
            return self._driver.succeed(self._running(1, model=f"big/{self._new()}")[0], members=members)
        return 0

    def _publish_promoted(self) -> int:
        number = self._publisher.registry.reader.alias_number("big/heavy", "live")
        self._promotes = not self._promotes
        baseline = number if self._coin() else number + 1
        decision = Decision.PROMOTED if self._promotes else Decision.KEPT
        promotion = Promotion(alias="live", decision=decision, baseline=baseline, reasons=())
        return self._driver.succeed(self._running(1, alias="live")[0], promotion)

    def _publish_again(self) -> None:
        job = self._running(1)[0]
        self._driver.succeed(job)
        self._driver.succeed(job)

    def _fail_again(self) -> None:
        job = self._running(1)[0]
        self.job_store.runs.fail(job, _ERROR, Findings())
        self.job_store.runs.fail(job, _ERROR, Findings())

    def _cancel_running(self) -> None:
        job = self._running(1)[0]
        self.job_store.queue.cancel(job.job_id)
        with suppress(Exception):
            self._driver.report(job)
        self.job_store.runs.finish_cancelled(job)

    def _delete_job(self) -> None:
        # In parts, like a job with very many events.
        with suppress(HeadstartError), mock.patch.object(cleaning, "EVENTS_AT_ONCE", 2):
            self.job_store.queue.delete(self._any_job())

    def _write_lost(self) -> None:
        job = self._running(1)[0]
        self.job_store.runs.release(job)
        with suppress(Exception):
            self._driver.report(job)

    def _take_over(self) -> None:
        job = self._running(1)[0]
        self._driver.clock.advance(11.0)
        other = self._driver.restarted()
        for _ in range(3):
            taken = other.queue.claim()
            if taken is not None:
                other.runs.fail(taken, _ERROR, Findings())
        del job

    # Models, versions and aliases

    def _models(self) -> Iterator[tuple[str, Operation]]:
        registry = self._publisher.registry
        yield "start the registry", self._publisher.reopened
        yield "catch up", registry.index.sync
        yield "a model", lambda: registry.reader.model("big/heavy")
        for scope in (None, Scope(tenant="big"), Scope(), Scope(tenant="t5"), Scope(tenant="absent")):
            yield (
                f"models {scope}",
                lambda scope=scope: registry.reader.models(after="", limit=101, scope=scope),
            )
        yield "a version", lambda: registry.reader.version("big/heavy", self._random.randrange(1, 500))
        yield "versions", lambda: registry.reader.versions("big/heavy", limit=101)
        yield "older versions", lambda: registry.reader.versions("big/heavy", after=[50, 50], limit=101)
        yield "find a missing version", lambda: registry.index.find(Selector(model="none"))
        for scope in (None, Scope(tenant="t5"), Scope(tenant="absent")):
            yield f"all versions {scope}", lambda scope=scope: self._some_versions("", scope)
        yield "all versions of a model", lambda: self._some_versions("big/heavy", None)
        yield "alias number", lambda: registry.reader.alias_number("big/heavy", "live")
        yield "set an alias", self._set_alias
        yield "aliases' shares", lambda: registry.reader.model(self._model(7))
        yield "moves of a model's aliases", lambda: registry.reader.alias_events(self._any_model(), limit=101)
        yield (
            "older moves of an alias",
            lambda: registry.reader.alias_events(self._any_model(), "live", before=10**9, limit=101),
        )
        yield "update a version", self._update_version
        yield (
            "update a model",
            lambda: registry.update_model(self._model(5), {"description": "what it sorts"}),
        )
        yield "traffic", self._traffic
        yield "delete a version", lambda: self._delete_version(self._any_model())
        yield "delete a version with a share", lambda: self._delete_version(self._model(self._share()), 2)
        yield "delete a model", self._delete_model
        yield "no such model", lambda: registry.set_alias("none", "live", 1)
        yield "no such version", lambda: registry.set_alias("big/heavy", "live", 10**9)

    def _some_versions(self, model: str, scope: Scope | None) -> None:
        for place, _ in enumerate(self._publisher.registry.reader.all_versions(model, scope)):
            if place > 1000:
                break

    def _set_alias(self) -> None:
        registry, model = self._publisher.registry, self._any_model()
        with suppress(HeadstartError):
            shares = [TrafficSplit(number=2, fraction=0.1)]
            registry.set_alias(model, "new", 3, shares=shares)
            registry.set_alias(model, "new", 2)
            registry.delete_alias(model, "new")

    def _update_version(self) -> None:
        registry, model = self._publisher.registry, self._any_model()
        with suppress(HeadstartError):
            number = registry.reader.model(model).newest
            registry.update_version(model, number, {"description": "the best"}, Expiration(ttl=1e6))

    def _traffic(self) -> None:
        traffic, model = Traffic(self._publisher.database, "host/1"), self._model(5)
        for number in range(1, 4):
            traffic.answered(model, number, inputs=1, unknowns=0, seconds=0.01)
        traffic.write()
        for version in (None, 1):
            self._publisher.registry.reader.traffic_window(model, 3600.0, version)
        with self._publisher.database.write() as connection:
            mine = (traffic_rows.c.model == model, traffic_rows.c.replica == "host/1")
            connection.execute(update(traffic_rows).where(*mine).values(bucket=0))
        traffic.clean()

    def _delete_version(self, model: str, number: int = 0) -> None:
        registry = self._publisher.registry
        with suppress(HeadstartError):
            number = number or registry.reader.model(model).newest
            registry.delete_version(model, number, force=True)

    def _delete_model(self) -> None:
        with suppress(HeadstartError):
            self._publisher.registry.delete_model(self._any_model(), force=False)
        self._publisher.registry.delete_model(self._any_model(), force=True)

    # Examples that are erased

    def _erasing(self) -> Iterator[tuple[str, Operation]]:
        eraser = self._eraser
        yield (
            "erased places",
            lambda: ErasedMembers(self._publisher.database).among([self._any_job() for _ in range(10)]),
        )
        yield "drop what was erased", eraser.follower.drop_here
        yield "carry out", eraser.carry_out
        yield "forget digests", eraser.follower.forget_digests
        yield "erase of a tenant", lambda: eraser.erase("none", scope=Scope(tenant="t5"))
        yield "erase of a model", lambda: eraser.erase("none", "big/m1")
        yield "note what is to be erased", self._note
        yield "erase with rebuild", self._erase_with_rebuild

    def _note(self) -> None:
        job = self._any_job()
        found = FoundExample(places={(job, 1): "digest", (job, 2): "other"})
        self._eraser._note(found, lambda *_: None)
        for _ in range(2):
            # The second time nothing of it is there, and it is done with.
            self._eraser._rewrite(job)

    def _erase_with_rebuild(self) -> None:
        registry, model = self._publisher.registry, self._any_model()
        numbers = [version.number for version in registry.reader.versions(model, limit=2)]
        with self._publisher.database.write() as connection:
            found = connection.execute(select(versions.c.job_id).where(versions.c.model == model)).scalars()
            holders = list(found)
            uses = select(archive_uses.c.archive).where(archive_uses.c.holder.in_(holders))
            held = list(connection.execute(uses).scalars())
        registry.set_alias(model, "live", numbers[0])
        log, request = ErasureLog(self._publisher.database), ErasureRequest(example_id="1", model=model)
        request = replace(request, request_id=self._new())
        with self._publisher.database.write() as connection:
            where: dict[str, Any] = {"contents": 1, "places": {("job", 0): "0" * 64}, "archives": ["job"]}
            erasure_id = log.begin(connection, request, [(model, numbers[0])], **where)
            log.begin(connection, request, [], **where)
            log.note_found(connection, erasure_id, where["places"], where["archives"])
        log.find(request)
        log.find(replace(request, request_id=""))
        log.unfinished()
        log.add_versions(erasure_id, [(model, number) for number in numbers])
        claims = ErasureClaims(self._publisher.database, is_dead=self.job_store.queue.is_silent)
        other = ErasureClaims(self._publisher.database, owner="other")
        for each in (other, claims, claims):
            each.preview(erasure_id, model, numbers[0])
            each.claim(erasure_id, model, numbers[0])
        claims.release(erasure_id)
        old = registry.reader.version(model, numbers[0])
        for artifact in ("new", "again"):
            successor = Successor(
                artifact=f"{self._new()}.{artifact}",
                size_bytes=1,
                manifest=replace(old.manifest, job_id=self._new()),
                archives=held,
                members=(),
                judged=True,
            )
            log.replace(erasure_id, old, successor, None)
        log.skip(erasure_id, model, numbers[1], RebuiltVersion(head_digest="", dataset_digest=""))
        log.forget_found(erasure_id)
        log.finish(erasure_id)

    # Cleaning, webhooks and a stop

    def _cleaning(self) -> Iterator[tuple[str, Operation]]:
        job_store, registry = self.job_store, self._publisher.registry
        yield "webhook", self._webhook
        yield "turn to clean", lambda: [job_store.cleaner.take_cleaning_turn("rows", -1.0) for _ in range(2)]
        yield "a turn of a new name", lambda: job_store.cleaner.take_cleaning_turn(self._new()[:32], 1.0)
        yield "count jobs", JobCounts(self._publisher.database)
        yield "count jobs once more", self._counts
        yield "correct sums", self._correct
        yield "sweep", self._archives.sweep
        yield "measure archives", self._measure
        yield "release beyond the bound", self._release
        yield "recover", self._archives.recover
        yield "leftovers", lambda: registry.remove_leftovers(job_store.reader.unfinished)
        yield "expire leases", job_store.queue.expire_leases
        yield "expired versions", registry.delete_expired
        yield "old jobs", lambda: job_store.cleaner.forget(self._sizes.jobs * 0.7)

    def _correct(self) -> None:
        with self._publisher.database.write() as connection:
            usage.add_examples(connection, {"big": 1})
        self.job_store.quotas.recount_usage()

    def _measure(self) -> None:
        files = FakeArchives()
        newest = self._sizes.jobs - 1
        files.files = {self._job(newest - place): self._random.randrange(1 << 20) for place in range(20)}
        with self._publisher.database.write() as connection:
            # One of which only versions are left, and some whose size is not known.
            some = sorted(files.files)[:5]
            holders = select(archive_uses.c.holder).where(archive_uses.c.archive == some[0])
            connection.execute(delete(jobs).where(jobs.c.job_id.in_(holders)))
            connection.execute(delete(archive_sizes).where(archive_sizes.c.archive.in_(some)))
        ArchiveRetention(self._publisher.database, files, max_bytes=1 << 60).recover()

    def _release(self) -> None:
        # A page of each kind: a whole sweep is thousands of them.
        archives = ArchiveRetention(self._publisher.database, FakeArchives(), max_bytes=1)
        for aliased in (False, True):
            archives._release_some((0.0, ""), aliased=aliased)
        none = ArchiveRetention(self._publisher.database, FakeArchives(), max_bytes=0)
        none._release_some(None, aliased=None)

    def _webhook(self) -> None:
        database = self._publisher.database
        receiver = webhook_rows.receiver_of("", "https://example.com/ended")
        with database.write() as connection:
            webhook_rows.is_any(connection, database.now(connection))
            webhook_rows.note_silence(connection, receiver, lambda _: 0.0)
            webhook_rows.note_answer(connection, receiver)
            webhook_rows.give_up_old(connection, receiver, 0.0, "no", 0.0)
        for end in ("deliver", "postpone", "give_up", "expire"):
            with database.write() as connection:
                now = database.now(connection)
                claimed = webhook_rows.claim(connection, now)
                if claimed is None:
                    continue
                if end == "deliver":
                    webhook_rows.deliver(connection, claimed, now)
                elif end == "postpone":
                    webhook_rows.postpone(connection, claimed, "no", now + 5)
                elif end == "give_up":
                    webhook_rows.give_up(connection, claimed, "no", now)
                else:
                    webhook_rows.expire(connection)

    # Arguments

    def _coin(self) -> bool:
        return self._random.random() < 0.5

    def _new(self) -> str:
        return f"new-{self._random.randrange(1 << 60):x}"

    def _job(self, place: int) -> str:
        return self._sizes.job_id(place)

    def _any_job(self) -> str:
        return self._job(self._random.randrange(QUEUED + RUNNING, self._sizes.jobs))

    def _share(self) -> int:
        return self._random.randrange(self._sizes.models // 100) * 100 + 7

    def _model(self, place: int) -> str:
        return self._sizes.model(place)

    def _any_model(self) -> str:
        return self._model(self._random.randrange(self._sizes.models))
