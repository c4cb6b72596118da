"""Three servers on one PostgreSQL act as one service."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from chaos.clients import deadly_examples
from chaos.replica import Replica
from headstart import CapturePolicy, Client, FeedbackOutcome, Prediction
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import TERMINAL, TIMEOUT, Api, Refusal, duration, example, refused, serves
from postgres import PostgresServer
from s3 import Fault, Proxy
from server_process import SECOND, eventually

LEASE_SECONDS = 3.0
#: Seconds by which the clocks of the three are ahead: whatever these tests prove, they prove of such.
CLOCKS = (0.0, 3600.0, -3600.0)
QUEUED, RUNNING = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING
SUCCEEDED, CANCELLED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_CANCELLED

pytestmark = pytest.mark.timeout(240)


@dataclass(kw_only=True)
class Service:
    """The servers, a connection to each, their database, and the folder of all their files."""

    replicas: list[Replica]
    apis: list[Api]
    postgres: PostgresServer
    folder: Path
    address: str

    def wait_until_all_serve(self) -> None:
        for replica, api in zip(self.replicas, self.apis, strict=True):
            replica.start()
            eventually(lambda api=api: serves(api), 60, "a server that serves")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("replicas")
    # A separate one, because it is stopped.
    postgres = PostgresServer()
    address = postgres.database()
    replicas = [
        Replica(
            folder / f"replica-{place}",
            database=address,
            artifacts=str(folder / "artifacts"),
            lease_duration=f"{LEASE_SECONDS}s",
            # The third one runs no more than it must.
            job_workers=1,
            max_queued_jobs=6,
            grace_period="10s",
            clock_ahead_seconds=ahead,
            disk=str(folder),
        )
        for place, ahead in enumerate(CLOCKS)
    ]
    apis = [Api.connect(replica.target) for replica in replicas]
    service = Service(replicas=replicas, apis=apis, postgres=postgres, folder=folder, address=address)
    try:
        service.wait_until_all_serve()
        yield service
    finally:
        for replica in replicas:
            replica.kill()
        for api in apis:
            api.channel.close()
        postgres.close()


def quick(count: int = 12) -> list[input_pb2.Example]:
    return [example(f"quick{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def slow(count: int, name: str) -> list[input_pb2.Example]:
    """Fifty a second."""
    return [example(f"{name}{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except grpc.RpcError:
        return False
    return True


def within(seconds: float, call: Callable[[], object]) -> float:
    """The seconds until a call succeeds, which must be soon."""
    began = time.monotonic()
    eventually(lambda: answers(call), seconds, "an answer")
    return time.monotonic() - began


def ended(api: Api, job_id: str) -> job_pb2.Job:
    return api.ended(job_id, 90)


def test_a_version_is_found_everywhere_within_a_second_of_its_publication(service: Service):
    first, second, third = service.apis
    job = first.fine_tune(quick(), model="shared", alias="stable")
    events = list(second.watch(job.job_id))
    seconds = within(SECOND, lambda: third.predict("shared", b"quick1:x"))

    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state == SUCCEEDED
    assert seconds < SECOND
    assert {api.status(job.job_id).version for api in service.apis} == {1}
    assert len({str(api.predict("shared", b"quick1:x").results[0]) for api in service.apis}) == 1


def test_feedback_right_after_a_prediction_is_accepted_by_any_replica(service: Service):
    with Client(service.replicas[0].target) as here, Client(service.replicas[1].target) as there:
        here.fine_tune(
            [(f"quick{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(12)], model="watched"
        ).result()
        here.update_model("watched", capture=CapturePolicy(random_fraction=1.0))
        # The policy has reached both.
        eventually(lambda: here.predict(b"quick1:a", model="watched").prediction_id, 60, "an ID")
        eventually(lambda: there.predict(b"quick1:b", model="watched").prediction_id, 60, "an ID")
        for place in range(5):
            predicted = here.predict(f"quick1:new{place}".encode(), model="watched")
            sent = there.send_feedback("watched", predicted.prediction_id, label="c2")
            assert sent.outcome is FeedbackOutcome.ACCEPTED


def test_an_alias_that_moves_is_followed_everywhere_within_a_second(service: Service):
    first, second, third = service.apis
    for _ in range(2):
        assert ended(first, first.fine_tune(quick(), model="aliased").job_id).state == SUCCEEDED
    for number in (1, 2, 1):
        second.models.SetAlias(keeping.SetAliasRequest(model="aliased", alias="live", version=number))

        def follows(number: int = number) -> bool:
            try:
                return third.predict("aliased", b"quick1:x", alias="live").results[0].version == number
            except grpc.RpcError:
                return False

        eventually(follows, SECOND, f"the alias at version {number}")


def test_a_version_lives_for_its_time_at_replicas_whose_clocks_are_an_hour_apart(service: Service):
    first, *_ = service.apis
    for model, seconds in (("lasting", 1800), ("passing", 4)):
        spec = {"ttl": duration(seconds)}
        assert ended(first, first.fine_tune(quick(), model=model, **spec).job_id).state == SUCCEEDED
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict("lasting", b"quick1:x"))
    for api in service.apis:
        eventually(
            lambda api=api: not answers(lambda: api.predict("passing", b"quick1:x")), TIMEOUT, "its end"
        )
        api.predict("lasting", b"quick1:x")


def test_a_version_that_is_deleted_is_gone_everywhere_within_a_second(service: Service):
    first, second, third = service.apis
    assert ended(first, first.fine_tune(quick(), model="gone").job_id).state == SUCCEEDED
    within(SECOND, lambda: third.predict("gone", b"quick1:x"))
    second.models.DeleteModel(keeping.DeleteModelRequest(model="gone", force=True))

    eventually(lambda: not answers(lambda: third.predict("gone", b"quick1:x")), SECOND, "no model")


def test_a_cancel_at_any_replica_ends_a_job_in_a_long_step_within_a_second_or_so(service: Service):
    first, second, third = service.apis
    job = first.fine_tune(slow(2000, "long"), model="long")
    eventually(lambda: second.status(job.job_id).progress.done > 5, TIMEOUT, "a job at work")
    began = time.monotonic()
    third.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    last = list(second.watch(job.job_id))[-1]

    assert last.state == CANCELLED
    assert time.monotonic() - began < 1.5 + SECOND


def test_jobs_run_at_all_replicas_and_a_full_queue_says_when_to_come_again(service: Service):
    api = service.apis[0]
    # Of what has run nothing is known before.
    assert ended(api, api.fine_tune(quick(), model="known").job_id).state == SUCCEEDED
    jobs = [api.fine_tune(slow(3000, f"many{place}"), model=f"many-{place}") for place in range(3)]
    # Each replica runs one job, whichever of them took it in.
    eventually(
        lambda: [service.apis[1].status(job.job_id).state for job in jobs] == [RUNNING] * 3,
        TIMEOUT,
        "a job at each replica",
    )
    jobs += [api.fine_tune(quick(), model=f"many-{place}") for place in range(6)]
    refusal = refused(lambda: service.apis[2].fine_tune(quick(), model="one-too-many"))
    waiting = api.status(jobs[-1].job_id)
    for job in jobs[:3]:
        api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    states = [ended(service.apis[1], job.job_id).state for job in jobs]

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "JOB_QUEUE_FULL")
    assert refusal.metadata["queue_position"] == "6"
    assert refusal.retry_after is not None
    assert 1 <= refusal.retry_after <= 60
    assert waiting.estimated_end_time.seconds >= waiting.estimated_start_time.seconds > time.time() - 60
    assert states == [CANCELLED] * 3 + [SUCCEEDED] * 6


def test_a_job_of_a_killed_replica_is_taken_over_within_its_lease(service: Service):
    first, second, _ = service.apis
    job = first.fine_tune(slow(150, "killed"), model="killed")
    eventually(lambda: second.status(job.job_id).progress.done > 5, TIMEOUT, "a job at work")
    # Whichever replica runs it: all die, and two come back.
    for replica in service.replicas:
        replica.kill()
    for replica in service.replicas[1:]:
        replica.start()
    eventually(lambda: serves(second), 60, "a server that serves")
    # Three seconds of work, a lease of three, and three for a new process to find the dead ones.
    last = list(second.watch(job.job_id))[-1]
    service.wait_until_all_serve()

    assert last.state == SUCCEEDED


def test_a_job_that_kills_its_server_fails_and_the_others_are_unharmed(service: Service):
    over = threading.Event()

    def keep_alive() -> None:
        while not over.wait(0.1):
            for replica in service.replicas:
                replica.start()

    def submit(examples: list[input_pb2.Example], model: str) -> str:
        def sent() -> str | None:
            for api in service.apis:
                if answers(
                    lambda api=api: jobs.append(api.fine_tune(examples, model=model, request_id=model))
                ):
                    return jobs[-1].job_id
            return None

        jobs: list[job_pb2.Job] = []
        return eventually(sent, 60, "a server that takes the job")

    def status(job_id: str) -> job_pb2.Job | None:
        for api in service.apis:
            with suppress(grpc.RpcError):
                found = api.status(job_id)
                return found if found.state in TERMINAL else None
        return None

    keeper = threading.Thread(target=keep_alive)
    keeper.start()
    try:
        deadly = submit(deadly_examples(), "deadly")
        fine = [submit(quick(), f"fine-{place}") for place in range(4)]
        failed = eventually(lambda: status(deadly), 90, "the end of the deadly job")
        others = [eventually(lambda job_id=job_id: status(job_id), 60, "its end") for job_id in fine]
    finally:
        over.set()
        keeper.join()
    service.wait_until_all_serve()

    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert "ended 3 times while it ran this job alone" in failed.error.message
    assert [job.state for job in others] == [SUCCEEDED] * 4


@pytest.mark.parametrize("hangs", [False, True])
def test_predictions_of_resident_versions_go_on_through_an_outage_and_jobs_after_it(
    service: Service, hangs: bool
):
    """It is stopped, or it hangs: its connections stand, and no request is answered."""
    first, second, third = service.apis
    resident = f"resident-{hangs}"
    assert ended(first, first.fine_tune(quick(), model=resident).job_id).state == SUCCEEDED
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict(resident, b"quick1:x"))
    job = first.fine_tune(slow(250, f"outage{hangs}"), model=f"outage-{hangs}")
    eventually(lambda: second.status(job.job_id).progress.done > 5, TIMEOUT, "a job at work")
    refusals: list[Refusal] = []
    asking = threading.Thread(target=lambda: refusals.append(refused(lambda: second.status(job.job_id))))
    (service.postgres.pause if hangs else service.postgres.stop)()
    began = time.monotonic()
    codes: Counter[str] = Counter()
    try:
        asking.start()
        slowest = 0.0
        while time.monotonic() - began < 1.5 * LEASE_SECONDS:
            for api in service.apis:
                started = time.monotonic()
                api.predict(resident, b"quick1:x", timeout=5)
                slowest = max(slowest, time.monotonic() - started)
                codes["answered"] += 1
            time.sleep(0.05)
        healthy = [serves(api) for api in service.apis]
    finally:
        asking.join()
        (service.postgres.resume if hangs else service.postgres.start)()
    last = list(eventually(lambda: watched(third, job.job_id), 60, "the database"))[-1]

    [refusal] = refusals
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert refusal.retry_after == 2.0
    assert healthy == [True] * 3
    assert codes["answered"] > 5
    assert slowest < SECOND
    assert last.state == SUCCEEDED
    assert first.status(job.job_id).version == 1


def test_a_full_disk_is_reported_leaves_nothing_behind_and_everything_goes_on(service: Service):
    first, second, third = service.apis
    assert ended(first, first.fine_tune(quick(), model="roomy").job_id).state == SUCCEEDED
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict("roomy", b"quick1:x"))
    job = first.fine_tune(slow(200, "full"), model="too-much")
    eventually(lambda: second.status(job.job_id).progress.done > 5, TIMEOUT, "a job at work")
    artifacts, full = service.folder / "artifacts", service.folder / "full"
    # A server that was killed amid an upload leaves it to a later cleaning.
    before = set(artifacts.rglob("*.part"))
    full.touch()
    try:
        refusal = refused(lambda: second.fine_tune(quick(), model="no-room", request_id="no-room"))
        failed = ended(third, job.job_id)
        for api in service.apis:
            api.predict("roomy", b"quick1:x")
        healthy = [serves(api) for api in service.apis]
        left = {path for path in artifacts.rglob("*") if job.job_id in path.name or path.suffix == ".part"}
    finally:
        full.unlink()
    again = ended(third, second.fine_tune(quick(), model="no-room", request_id="no-room").job_id)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
    assert failed.state == job_pb2.JOB_STATE_FAILED
    assert failed.error.message == "The server's disk is full. Delete versions, or free disk space."
    assert healthy == [True] * 3
    assert left <= before
    assert (again.state, again.version) == (SUCCEEDED, 1)


def watched(api: Api, job_id: str) -> list[job_pb2.JobEvent] | None:
    try:
        return list(api.watch(job_id))
    except grpc.RpcError:
        return None


def test_no_call_is_failed_by_replicas_that_are_replaced_one_after_another(service: Service):
    """As in a rolling upgrade; callers try again what is UNAVAILABLE, and nothing else.

    The client of Headstart tries again by itself. Its calls come whether earlier ones were answered or not,
    and it hears late that a connection is to go: gRPC ends what it sends until then without a reason.
    """
    first = service.apis[0]
    assert ended(first, first.fine_tune(quick(), model="rolling").job_id).state == SUCCEEDED
    for api in service.apis:
        within(2 * SECOND, lambda api=api: api.predict("rolling", b"quick1:x"))
    job = first.fine_tune(slow(300, "rolling"), model="rolled")
    over = threading.Event()
    codes: Counter[grpc.StatusCode] = Counter()

    def call(place: int) -> None:
        apis = [Api.connect(replica.target) for replica in service.replicas]
        number = place
        while not over.is_set():
            try:
                apis[number % 3].predict("rolling", b"quick1:x", timeout=20)
                codes[grpc.StatusCode.OK] += 1
            except grpc.RpcError as error:
                codes[error.code()] += 1
                number += 1
        for api in apis:
            api.channel.close()

    by_client: list[Future[Prediction]] = []

    def use_the_client() -> None:
        with ExitStack() as stack:
            proxies = [stack.enter_context(closing(Proxy(replica.port))) for replica in service.replicas]
            for proxy in proxies:
                stack.enter_context(proxy.failing(Fault.SLOW))
            addresses = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
            client = stack.enter_context(Client(f"ipv4:{addresses}"))
            pool = stack.enter_context(ThreadPoolExecutor(200))
            while not over.wait(0.02):
                by_client.append(pool.submit(client.predict, b"quick1:x", model="rolling", timeout=60))

    callers = [threading.Thread(target=call, args=(place,)) for place in range(8)]
    for caller in (*callers, client := threading.Thread(target=use_the_client)):
        caller.start()
    codes_of_stops = []
    for replica, api in zip(service.replicas, service.apis, strict=True):
        codes_of_stops.append(stop(replica))
        replica.start()
        eventually(lambda api=api: serves(api), 60, "a server that serves")
    over.set()
    for caller in (*callers, client):
        caller.join()
    status = ended(first, job.job_id)

    assert codes_of_stops == [0, 0, 0]
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert codes[grpc.StatusCode.OK] > 50
    assert {repr(each.exception()) for each in by_client} == {"None"}
    assert len(by_client) > 50
    assert status.state == SUCCEEDED


def stop(replica: Replica) -> int:
    replica.send(signal.SIGTERM)
    return replica.wait(30)


def test_a_second_server_on_one_file_or_with_another_database_on_one_folder_is_refused(tmp_path: Path):
    settings = {"artifacts": str(tmp_path / "artifacts")}
    file = f"sqlite:///{tmp_path / 'shared' / 'jobs.sqlite3'}"
    one = Replica(tmp_path / "one", database=file, **settings)
    other = Replica(tmp_path / "other", database=file, **settings)
    third = Replica(tmp_path / "third", database=f"sqlite:///{tmp_path / 'third.sqlite3'}", **settings)
    one.start()
    try:
        with Api.connect(one.target) as api:
            eventually(lambda: serves(api), 60, "a server that serves")
        other.start()
        assert other.wait(TIMEOUT) != 0
        assert "Another headstart-server uses the database folder" in other.log
        third.start()
        assert third.wait(TIMEOUT) != 0
        assert "Expected artifacts of the database" in third.log
    finally:
        for replica in (one, other, third):
            replica.kill()


def test_a_replica_with_other_artifacts_or_none_does_not_start_and_no_job_fails(service: Service):
    job = service.apis[0].fine_tune(quick(), model="unharmed")
    others = [
        Replica(
            service.folder / "elsewhere", database=service.address, artifacts=str(service.folder / "other")
        ),
        Replica(service.folder / "nowhere", database=service.address),
    ]
    try:
        for replica in others:
            replica.start()
        for replica in others:
            assert replica.wait(TIMEOUT) != 0
            last = replica.log.strip().splitlines()[-1]
            assert "Give every replica the same --artifacts" in last
    finally:
        for replica in others:
            replica.kill()

    assert ended(service.apis[0], job.job_id).state == SUCCEEDED
