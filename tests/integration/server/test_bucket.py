"""Two servers that share a PostgreSQL and a bucket, and nothing else, on good days and on bad ones."""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from sqlalchemy import update

from chaos.replica import Replica
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from headstart.v1 import model_service_pb2 as keeping
from headstart_server.database.database import Database
from headstart_server.database.tables import jobs, versions
from integration.server.calls import TIMEOUT, Api, duration, example, refused, serves
from postgres import PostgresServer
from s3 import SECRET, Fault, S3Server
from server_process import SECOND, eventually, free_port

LEASE_SECONDS = 3.0
#: Less than users have, so that the tests need not wait for theirs.
BUCKET_SECONDS = 3.0
PASSWORD = "a-password-that-must-stay-secret"
SUCCEEDED, CANCELLED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_CANCELLED
RUNNING = job_pb2.JOB_STATE_RUNNING

pytestmark = pytest.mark.timeout(180)


@dataclass(kw_only=True)
class Service:
    """The servers, a connection to each, their bucket, and the address of their database."""

    replicas: list[Replica]
    apis: list[Api]
    s3: S3Server
    bucket: str
    database: str

    def key(self, ending: str, *, version: int = 1, model: str) -> str:
        """The object of a version whose name ends so."""
        job_id = self.apis[0].version(model, version).lineage.job_id
        found = [key for key in self.s3.keys(self.bucket) if job_id in key and key.endswith(ending)]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, s3: S3Server
) -> Iterator[Service]:
    folder, bucket = tmp_path_factory.mktemp("bucket"), s3.bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        # The database takes any.
        address = postgres.database().replace("@", f":{PASSWORD}@", 1)
        replicas = [
            Replica(
                folder / f"replica-{place}",
                database=address,
                artifacts=f"s3://{bucket}/artifacts",
                lease_duration=f"{LEASE_SECONDS}s",
                job_workers=1,
                bucket_seconds=BUCKET_SECONDS,
                clean_seconds=1.0,
                log_level="debug",
                disk=str(folder / f"replica-{place}"),
                metrics_port=free_port() if place else "off",
                # The second one keeps the version that was used last, and no other.
                version_cache_memory="off" if place else "256MiB",
            )
            for place in range(2)
        ]
        apis = [Api.connect(replica.target) for replica in replicas]
        try:
            for replica in replicas:
                replica.start()
            for api in apis:
                eventually(lambda api=api: serves(api), 60, "a server that serves")
            yield Service(replicas=replicas, apis=apis, s3=s3, bucket=bucket, database=address)
        finally:
            for replica in replicas:
                replica.kill()
            for api in apis:
                api.channel.close()


def quick(count: int = 12) -> list[input_pb2.Example]:
    return [example(f"quick{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def slow(count: int, name: str) -> list[input_pb2.Example]:
    """Fifty a second."""
    return [example(f"{name}{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def within(seconds: float, call: Callable[[], object]) -> float:
    """The seconds until a call succeeds, which must be soon."""
    began = time.monotonic()

    def answers() -> bool:
        with suppress(grpc.RpcError):
            call()
            return True
        return False

    eventually(answers, seconds, "an answer")
    return time.monotonic() - began


def publish(api: Api, model: str, **settings: object) -> job_pb2.Job:
    job = api.ended(api.fine_tune(quick(), model=model, **settings).job_id, 60)
    assert job.state == SUCCEEDED, job.error
    return job


def test_what_one_server_publishes_the_other_returns_within_a_second(service: Service):
    first, second = service.apis
    job = first.fine_tune(quick(), model="shared", alias="stable")
    events = list(second.watch(job.job_id))
    seconds = within(SECOND, lambda: second.predict("shared", b"quick1:x", alias="stable"))

    assert events[-1].state == SUCCEEDED
    assert seconds < SECOND
    assert str(first.predict("shared", b"quick1:x").results[0]) == str(
        second.predict("shared", b"quick1:x").results[0]
    )
    assert not list((Path(service.replicas[1].folder) / "data").glob("versions"))


def test_an_alias_that_moves_at_one_is_followed_by_the_other_within_a_second(service: Service):
    first, second = service.apis
    for _ in range(2):
        publish(first, "aliased")
    for number in (1, 2, 1):
        first.models.SetAlias(keeping.SetAliasRequest(model="aliased", alias="live", version=number))

        def follows(number: int = number) -> bool:
            with suppress(grpc.RpcError):
                return second.predict("aliased", b"quick1:x", alias="live").results[0].version == number
            return False

        eventually(follows, SECOND, "the alias")


def test_a_job_is_cancelled_from_whichever_server(service: Service):
    first, second = service.apis
    job = first.fine_tune(slow(400, "cancel"), model="cancelled")
    eventually(lambda: second.status(job.job_id).state == RUNNING, TIMEOUT, "a job at work")
    for api in (first, second):
        api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    assert second.ended(job.job_id).state == CANCELLED


def test_a_fine_tune_goes_on_from_a_version_whose_examples_another_server_took_in(service: Service):
    first, second = service.apis
    publish(first, "grown")
    within(SECOND, lambda: second.predict("grown", b"quick1:x"))
    job = second.fine_tune([example(b"quick9:9", "c9")], model="grown", parent_version=1)
    assert second.ended(job.job_id, 60).state == SUCCEEDED
    assert list(first.version("grown", 2).class_names) == ["c0", "c1", "c2", "c9"]


def test_resident_versions_answer_and_jobs_wait_while_the_bucket_is_away(service: Service):
    first, second = service.apis
    publish(first, "unread")
    publish(first, "resident")
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict("resident", b"quick1:x"))
    job = first.fine_tune(slow(100, "outage"), model="waits")
    eventually(lambda: second.status(job.job_id).progress.done > 5, TIMEOUT, "a job at work")
    slowest, answered = 0.0, 0
    with service.s3.proxy.failing(Fault.AWAY):
        began = time.monotonic()
        refusals = [
            refused(lambda: second.predict("unread", b"quick1:x")),
            refused(lambda: second.fine_tune(quick(), model="refused", request_id="refused")),
        ]
        while time.monotonic() - began < 1.3 * LEASE_SECONDS or answered < 6:
            for api in service.apis:
                started = time.monotonic()
                api.predict("resident", b"quick1:x", timeout=5)
                slowest, answered = max(slowest, time.monotonic() - started), answered + 1
            time.sleep(0.05)
        healthy = [serves(api) for api in service.apis]
        waiting = first.status(job.job_id)
    ended = second.ended(job.job_id)
    again = publish(second, "refused", request_id="refused")

    for refusal in refusals:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
        assert refusal.retry_after == 2.0
    assert answered > 5
    assert slowest < SECOND
    assert healthy == [True, True]
    assert waiting.state == RUNNING
    assert (ended.state, ended.version) == (SUCCEEDED, 1)
    assert again.version == 1
    assert second.predict("unread", b"quick1:x")


def test_uploads_to_a_bucket_that_hangs_hold_up_neither_status_nor_watch_nor_lists(service: Service):
    first = service.apis[0]
    job = publish(first, "looked-up")
    refusals: list[str] = []

    def upload(place: int) -> None:
        refusals.append(refused(lambda: first.fine_tune(quick(), model=f"stuck-{place}")).reason)

    # More than there are threads for calls that look something up.
    uploads = [threading.Thread(target=upload, args=(place,)) for place in range(40)]
    look_ups = (
        lambda: first.status(job.job_id),
        lambda: list(first.watch(job.job_id)),
        lambda: first.models.ListModels(keeping.ListModelsRequest(), timeout=10),
    )

    def timed(look_up: Callable[[], object]) -> float:
        began = time.monotonic()
        look_up()
        return time.monotonic() - began

    usual = [timed(look_up) for look_up in look_ups * 10]
    times: list[float] = []
    with service.s3.proxy.failing(Fault.HANGING):
        for each in uploads:
            each.start()
        while any(each.is_alive() for each in uploads):
            times += [timed(look_up) for look_up in look_ups]
            time.sleep(0.02)
    within(10.0, lambda: publish(first, "looked-up"))

    assert set(refusals) == {"STORAGE_UNAVAILABLE"}
    assert len(times) > 20
    # This machine may be busy with other work: then the same calls are slow without the fault, too.
    assert statistics.median(times) < max(0.5, 3 * statistics.median(usual))
    assert sum(seconds > BUCKET_SECONDS / 2 for seconds in times) <= len(times) / 10


def test_a_bucket_that_hangs_holds_up_no_resident_version_and_nothing_for_longer_than_its_bound(
    service: Service,
):
    first, second = service.apis
    # Who knows of the second one knows of the first.
    for model in ("held-up", "prompt"):
        publish(first, model)
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict("prompt", b"quick1:x"))
    job = first.fine_tune(slow(200, "hanging"), model="waits-on")
    refusals: list[tuple[str, float]] = []

    def load() -> None:
        began = time.monotonic()
        reason = refused(lambda: second.predict("held-up", b"quick1:x")).reason
        refusals.append((reason, time.monotonic() - began))

    # More than there are threads for calls that wait.
    loads = [threading.Thread(target=load) for _ in range(40)]
    times: list[float] = []
    with service.s3.proxy.failing(Fault.HANGING):
        for each in loads:
            each.start()
        while any(each.is_alive() for each in loads):
            for api in service.apis:
                started = time.monotonic()
                api.predict("prompt", b"quick1:x", timeout=5)
                times.append(time.monotonic() - started)
            time.sleep(0.02)
        healthy = [serves(api) for api in service.apis]
        eventually(lambda: first.status(job.job_id).state == RUNNING, TIMEOUT, "a job that waits")
    ended = second.ended(job.job_id, 60)

    assert {reason for reason, _ in refusals} == {"STORAGE_UNAVAILABLE"}
    # Without the bound each takes 40 s; those that found no thread wait for two turns.
    assert max(seconds for _, seconds in refusals) < 5 * BUCKET_SECONDS
    assert len(times) > 5
    # A busy machine delays some of them; the bucket would delay each.
    assert statistics.median(times) < 0.5
    assert sum(seconds > BUCKET_SECONDS / 2 for seconds in times) <= len(times) / 10
    assert healthy == [True, True]
    assert (ended.state, ended.version) == (SUCCEEDED, 1)


def test_errors_and_slowness_of_the_bucket_fail_no_job(service: Service):
    first, second = service.apis
    jobs = [first.fine_tune(slow(60, f"errors{place}"), model="erring").job_id for place in range(2)]
    over = threading.Event()

    def trouble() -> None:
        while not over.is_set():
            for fault in (Fault.ERRORS, Fault.SLOW, Fault.AWAY):
                with service.s3.proxy.failing(fault):
                    over.wait(0.7)
                over.wait(0.3)

    troubling = threading.Thread(target=trouble)
    troubling.start()
    try:
        states = [second.ended(job_id, 60).state for job_id in jobs]
    finally:
        over.set()
        troubling.join()
    assert states == [SUCCEEDED, SUCCEEDED]


def test_a_full_disk_fails_the_job_whose_examples_do_not_fit_and_nothing_else(service: Service):
    first, second = service.apis
    publish(first, "ancestor")
    within(2 * SECOND, lambda: second.predict("ancestor", b"quick1:x"))
    busy = [first.fine_tune(slow(300, f"busy{place}"), model="roomy") for place in range(2)]
    eventually(
        lambda: all(second.status(job.job_id).state == RUNNING for job in busy), TIMEOUT, "jobs at work"
    )
    # It waits behind them, so that no disk has its parent's examples when it is begun.
    child = first.fine_tune([example(b"quick9:9", "c9")], model="ancestor", parent_version=1)
    copies = [replica.folder / "data" / "copies" for replica in service.replicas]
    for place, replica in enumerate(service.replicas):
        for path in copies[place].iterdir():
            path.unlink()
        (replica.folder / "full").touch()
    try:
        refusal = refused(lambda: first.fine_tune(quick(), model="refused-disk", request_id="disk"))
        failed = second.ended(child.job_id, 60)
        states = [second.ended(job.job_id, 60).state for job in busy]
        within(2 * SECOND, lambda: second.predict("roomy", b"quick1:x"))
        left = [path for folder in copies for path in folder.iterdir()]
    finally:
        for replica in service.replicas:
            (replica.folder / "full").unlink()
    again = first.fine_tune([example(b"quick9:9", "c9")], model="ancestor", parent_version=1)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert (failed.state, failed.error.message) == (
        job_pb2.JOB_STATE_FAILED,
        "The server's disk is full. Delete versions, or free disk space.",
    )
    assert states == [SUCCEEDED] * 2
    assert left == []
    assert not [path for replica in service.replicas for path in replica.folder.glob("data/uploads/*")]
    assert second.ended(again.job_id, 60).state == SUCCEEDED
    publish(first, "refused-disk", request_id="disk")


@pytest.mark.parametrize("damage", ["torn", "missing"])
def test_a_damaged_artifact_is_an_error_of_its_version_alone(service: Service, damage: str):
    first, second = service.apis
    model = f"damaged-{damage}"
    for _ in range(2):
        publish(first, model)
    key = service.key("head.safetensors", model=model)
    content = service.s3.get(service.bucket, key)
    if damage == "torn":
        service.s3.put(service.bucket, key, content[: len(content) // 2])
    else:
        service.s3.delete(service.bucket, key)
    within(SECOND, lambda: second.predict(model, b"quick1:x", version=2))
    refusal = refused(lambda: second.predict(model, b"quick1:x", version=1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED")
    assert second.predict(model, b"quick1:x", version=2).results[0].version == 2
    service.s3.put(service.bucket, key, content)
    assert second.predict(model, b"quick1:x", version=1).results[0].version == 1


def test_an_example_that_is_forgotten_is_nowhere_in_the_bucket_and_in_no_child(service: Service):
    first, second = service.apis
    sent = [
        example(f"quick{place % 3}:secret{place}".encode(), f"c{place % 3}", example_id=f"s{place}")
        for place in range(9)
    ]
    job = first.ended(first.fine_tune(sent, model="forgetting").job_id, 60)
    assert job.state == SUCCEEDED
    within(SECOND, lambda: second.predict("forgetting", b"quick1:x"))
    request = keeping.EraseExampleRequest(example_id="s4", model="forgetting")
    erased = second.models.EraseExample(request, timeout=30)
    [archive] = [key for key in service.s3.keys(service.bucket) if key.endswith(f"{job.job_id}.zip")]
    content = service.s3.get(service.bucket, archive)
    copies = [path.read_bytes() for path in service.replicas[1].folder.glob("data/copies/*")]
    child = second.fine_tune([], model="forgetting", parent_version=1)

    assert [(each.model, each.version) for each in erased.versions] == [("forgetting", 1)]
    assert erased.deleted_contents == 1
    assert b"secret4" not in content
    assert b"secret5" in content
    assert not any(b"secret4" in copy for copy in copies)
    assert second.ended(child.job_id, 60).state == SUCCEEDED
    assert first.version("forgetting", 2).lineage.example_count == 8


def test_an_erasure_fails_until_the_bucket_removes_the_old_versions(service: Service):
    first = service.apis[0]
    sent = [
        example(f"quick{each % 3}:{each}".encode(), f"c{each % 3}", example_id=f"e{each}")
        for each in range(12)
    ]
    job = first.ended(first.fine_tune(sent, model="certified").job_id, 60)
    assert job.state == SUCCEEDED
    request = keeping.EraseExampleRequest(
        example_id="e4", model="certified", rebuild=True, request_id="certified"
    )
    old = [key for key in service.s3.keys(service.bucket) if f"versions/{job.job_id}" in key]
    with service.s3.proxy.failing(Fault.UNREMOVABLE):
        refusal = refused(lambda: first.models.EraseExample(request, timeout=60))
        left = set(service.s3.keys(service.bucket))
    certificate = first.models.EraseExample(request, timeout=60).certificate

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert old
    assert set(old) <= left
    assert [(each.version, each.new_version) for each in certificate.versions] == [(1, 2)]
    assert not set(old) & set(service.s3.keys(service.bucket))


def test_the_metrics_of_each_server_report_its_resident_versions(service: Service):
    first, second = service.apis
    before = service.replicas[1].metrics().value("headstart_resident_versions")
    for model in ("kept", "evicting"):
        publish(first, model)
    assert before <= 1
    within(SECOND, lambda: second.predict("kept", b"quick1:x"))
    within(SECOND, lambda: second.predict("evicting", b"quick1:x"))
    metrics = service.replicas[1].metrics()
    assert metrics.value("headstart_resident_versions") == 1
    held = metrics.value("headstart_memory_bytes", component="version_cache")
    # Of one head of three classes, and not of two.
    assert 0 < held < 1_000


def test_what_is_past_its_time_is_cleaned_out_of_the_bucket_too_and_by_one_server_alone(service: Service):
    first, second = service.apis
    lasting = publish(first, "lasting")
    passing = [publish(first, "passing", ttl=duration(3600)) for _ in range(2)]
    jobs_of = {job.job_id for job in (lasting, *passing)}
    there = [key for key in service.s3.keys(service.bucket) if any(job in key for job in jobs_of)]
    database = Database(service.database)
    with database.write() as connection:
        # Time passes: an hour for the versions, and more than a week for the jobs.
        connection.execute(update(versions).where(versions.c.model == "passing").values(expires=1.0))
        connection.execute(update(jobs).where(jobs.c.job_id.in_(jobs_of)).values(finished=1.0))
    database.close()

    def gone() -> bool:
        left = [key for key in service.s3.keys(service.bucket) if any(job in key for job in jobs_of)]
        return all(lasting.job_id in key for key in left)

    eventually(gone, TIMEOUT, "the files of the versions to be removed")
    eventually(lambda: not knows(second, lasting.job_id), TIMEOUT, "the jobs to be erased")
    left = [key for key in service.s3.keys(service.bucket) if any(job in key for job in jobs_of)]
    assert any(key.endswith(f"{passing[0].job_id}.zip") for key in there)
    # The version is there with its examples though its job is not.
    assert sorted(left) == sorted(key for key in there if lasting.job_id in key)
    assert any(key.endswith(f"{lasting.job_id}.zip") for key in left)
    child = second.fine_tune([example(b"quick9:9", "c9")], model="lasting", parent_version=1)
    assert second.ended(child.job_id, 60).state == SUCCEEDED
    assert refused(lambda: first.predict("passing", b"quick1:x")).reason == "MODEL_NOT_FOUND"
    removed: Counter[str] = Counter()
    for line in (line for replica in service.replicas for line in replica.events("cleanup_finished")):
        removed[line["step"]] += line["removed"]
    assert (removed["expired_versions"], removed["old_jobs"]) == (2, 3)


def knows(api: Api, job_id: str) -> bool:
    with suppress(grpc.RpcError):
        api.status(job_id)
        return True
    return False


def test_a_deleted_model_leaves_nothing_in_the_bucket(service: Service):
    first, second = service.apis
    job = publish(first, "deleted")
    within(2 * SECOND, lambda: second.predict("deleted", b"quick1:x"))
    second.models.DeleteModel(keeping.DeleteModelRequest(model="deleted", force=True))
    assert not [key for key in service.s3.keys(service.bucket) if job.job_id in key]
    eventually(lambda: not answers(first, "deleted"), SECOND, "that the model is gone everywhere")


def answers(api: Api, model: str) -> bool:
    with suppress(grpc.RpcError):
        api.predict(model, b"quick1:x")
        return True
    return False


def test_no_key_and_no_password_is_in_a_log_or_a_metric_after_all_this(service: Service):
    with service.s3.proxy.failing(Fault.ERRORS):
        error = refused(lambda: service.apis[0].fine_tune(quick(), model="secrets"))
    metrics = urlopen(f"http://127.0.0.1:{service.replicas[1].metrics_port}/metrics", timeout=30).read()
    texts = [error.message, metrics.decode(), *(replica.log for replica in service.replicas)]

    assert all(texts)
    for text in texts:
        assert SECRET not in text
        assert PASSWORD not in text
