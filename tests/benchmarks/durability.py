"""What durable jobs and several replicas cost and give: `make bench-durability`.

The servers are real, on a backbone that needs no network and takes 20 ms for an example or none, so that what
is measured is the job store. Figures of PostgreSQL need its programs (Debian: postgresql).
"""

import argparse
import asyncio
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from chaos.replica import Replica
from fakes import JobDriver, ManualClock, Publisher
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as pb
from headstart.v1 import prediction_service_pb2_grpc as stubs
from headstart_server.jobs.stored import QueueLimits
from integration.server.calls import Api, example
from postgres import PostgresServer
from programs import POSTGRESQL
from report import machine, print_table, software
from server_process import eventually

#: Of a batch of up to 8 rows on the device of each replica.
BATCH_SECONDS = 0.02
CALLERS = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs in the queue")
    parser.add_argument("--times", type=int, default=5, help="take-overs and cancels")
    parser.add_argument("--seconds", type=float, default=5.0, help="of Predict calls")
    options = parser.parse_args()
    print(f"Machine: {machine()}  \nSoftware: {software()}\n")
    with tempfile.TemporaryDirectory() as folder:
        postgres = PostgresServer() if POSTGRESQL.find() else None
        try:
            _print_all(Path(folder), postgres, options)
        finally:
            if postgres:
                postgres.close()


def _print_all(folder: Path, postgres: PostgresServer | None, options: argparse.Namespace) -> None:
    columns = {"SQLite": _of_database(folder / "sqlite", None, options)}
    if postgres:
        columns["PostgreSQL"] = _of_database(folder / "postgresql", postgres, options)
    names = list(columns["SQLite"])
    rows = [[name, *(column[name] for column in columns.values())] for name in names]
    print_table("Jobs", ["what", *columns], rows)
    if postgres:
        rows = _of_replicas(folder / "replicas", postgres, options)
        print_table("Replicas on one PostgreSQL", ["what", "measured"], rows)


# One server on each database


def _of_database(
    folder: Path, postgres: PostgresServer | None, options: argparse.Namespace
) -> dict[str, str]:
    found = _of_ledger(folder, postgres.database() if postgres else None, options)
    address = postgres.database() if postgres else f"sqlite:///{folder / 'served.sqlite3'}"
    with _serving(folder, address, 1) as (_, (api,)):
        waits = [_seconds_to_start(api) for _ in range(50)]
        rate = _jobs_per_second(api, options.jobs)
    found["submit to start, one server, idle: median / p99"] = _quantiles(waits)
    found["jobs of 12 examples through one server, 2 workers"] = f"{rate:.0f} a second"
    return found


def _of_ledger(folder: Path, address: str | None, options: argparse.Namespace) -> dict[str, str]:
    folder.mkdir(parents=True)
    publisher = Publisher(folder, ManualClock(), address=address)
    driver = JobDriver(publisher, limits=QueueLimits(queued=options.jobs))
    began = time.perf_counter()
    for _ in range(options.jobs):
        driver.submit()
    submitted = time.perf_counter() - began
    job = driver.claim()
    reports = [_seconds(lambda: driver.report(job)) for _ in range(200)]
    beats = [_seconds(lambda: driver.job_store.queue.renew([job])) for _ in range(200)]
    began = time.perf_counter()
    driver.succeed(job)
    while (claimed := driver.job_store.queue.claim()) is not None:
        driver.succeed(claimed)
    drained = time.perf_counter() - began
    publisher.close()
    return {
        "a progress event: median / p99": _quantiles(reports),
        "a heartbeat: median / p99": _quantiles(beats),
        "submissions, one caller": f"{options.jobs / submitted:.0f} a second",
        "claim and publication of a version, one worker": f"{options.jobs / drained:.0f} a second",
    }


def _seconds_to_start(api: Api) -> float:
    """From the answer of FineTune, which is the commit, to the start of the job."""
    job = api.ended(api.fine_tune(_quick(), model="starts").job_id)
    return (job.start_time.ToNanoseconds() - job.create_time.ToNanoseconds()) / 1e9


def _jobs_per_second(api: Api, count: int) -> float:
    """From the first to the last end of jobs that were queued behind a long one for each worker."""
    long = [api.fine_tune(_slow(400, f"long{place}"), model="long") for place in range(2)]
    jobs = [api.fine_tune(_quick(), model=f"many-{place % 10}") for place in range(count)]
    for job in long:
        api.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    ended = [api.ended(job.job_id, 300) for job in jobs]
    ends = sorted(job.end_time.ToNanoseconds() / 1e9 for job in ended)
    return (count - 1) / (ends[-1] - ends[0])


# Several servers on one database


def _of_replicas(folder: Path, postgres: PostgresServer, options: argparse.Namespace) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    with _serving(folder, postgres.database(), 2) as (replicas, apis):
        cancels = [_seconds_to_cancel(apis, place) for place in range(options.times)]
        rows.append(("cancel at another replica to the job's end: median / most", _spread(cancels)))
        seen = [_seconds_to_be_seen(apis, place) for place in range(options.times)]
        rows.append(("publication to a Predict at another replica: median / most", _spread(seen)))
        rates = {
            count: asyncio.run(
                _predictions([replica.target for replica in replicas[:count]], options.seconds)
            )
            for count in (1, 2, 1, 2)
        }
        rows.append(
            (
                f"Predict, {CALLERS} callers, a device of 8 rows in {BATCH_SECONDS * 1e3:.0f} ms each: "
                "1 / 2 replicas",
                f"{rates[1]:.0f} / {rates[2]:.0f} a second ({rates[2] / rates[1]:.2f} times)",
            )
        )
        taken = [_seconds_to_take_over(replicas, apis, place) for place in range(options.times)]
        rows.append(
            ("kill -9 to the next attempt at the other replica, lease of 10 s: median / most", _spread(taken))
        )
    return rows


def _seconds_to_cancel(apis: Sequence[Api], place: int) -> float:
    one, other = apis
    job = one.fine_tune(_slow(2000, f"cancel{place}"), model="cancelled")
    _wait_until_at_work(one, job)
    began = time.perf_counter()
    # The one that does not run it, half of the time.
    other.fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    events = list(one.watch(job.job_id))
    assert events[-1].state == job_pb2.JOB_STATE_CANCELLED
    return time.perf_counter() - began


def _seconds_to_be_seen(apis: Sequence[Api], place: int) -> float:
    one, other = apis
    model = f"seen-{place}"
    list(one.watch(one.fine_tune(_quick(), model=model).job_id))
    began = time.perf_counter()
    while True:
        try:
            other.predict(model, b"quick1:x")
            return time.perf_counter() - began
        except grpc.RpcError:
            time.sleep(0.005)


def _seconds_to_take_over(replicas: Sequence[Replica], apis: Sequence[Api], place: int) -> float:
    """Measure a takeover. A replica wakes its own worker for a job it accepts, so both run some."""
    jobs = [
        apis[number % 2].fine_tune(_slow(1500, f"taken{place}{number}"), model="taken") for number in range(4)
    ]
    for job in jobs:
        _wait_until_at_work(apis[1], job)
    before = {job.job_id: apis[1].status(job.job_id).last_event for job in jobs}
    replicas[0].kill()
    began, taken = time.perf_counter(), threading.Event()
    seconds: list[float] = []

    def watch(job_id: str) -> None:
        for event in apis[1].watch(job_id, after=before[job_id]):
            # The first event of an attempt has no progress.
            if event.state == job_pb2.JOB_STATE_RUNNING and not event.HasField("progress"):
                seconds.append(time.perf_counter() - began)
                taken.set()

    watchers = [threading.Thread(target=watch, args=(job.job_id,), daemon=True) for job in jobs]
    for watcher in watchers:
        watcher.start()
    assert taken.wait(60)
    for job in jobs:
        apis[1].fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    for watcher in watchers:
        watcher.join(60)
    replicas[0].start()
    eventually(lambda: _answers(apis[0]), 60, "a server")
    return seconds[0]


async def _predictions(targets: Sequence[str], seconds: float) -> float:
    """Predict calls a second with one input each, so many at once over all targets."""
    request = pb.PredictRequest(
        targets=[version_selector_pb2.VersionSelector(model="seen-0")],
        inputs=[input_pb2.Input(image=b"quick1:x")],
    )
    channels = [grpc.aio.insecure_channel(target) for target in targets]
    count, begin = 0, time.perf_counter() + 1
    end = begin + seconds

    async def call(place: int) -> None:
        nonlocal count
        predict = stubs.PredictionServiceStub(channels[place % len(channels)]).Predict
        while time.perf_counter() < end:
            await predict(request)
            count += begin <= time.perf_counter() <= end

    await asyncio.gather(*(call(place) for place in range(CALLERS)))
    for channel in channels:
        await channel.close()
    return count / seconds


# What they have in common


@contextmanager
def _serving(folder: Path, address: str, count: int) -> Iterator[tuple[list[Replica], list[Api]]]:
    settings = {
        "database": address,
        "artifacts": str(folder / "artifacts"),
        "max_queued_jobs": 2000,
        "job_workers": 2 if count == 1 else 8,
    }
    replicas = [
        Replica(folder / f"server-{place}", batch_seconds=BATCH_SECONDS if count > 1 else 0.0, **settings)
        for place in range(count)
    ]
    apis = [Api.connect(replica.target) for replica in replicas]
    try:
        for replica in replicas:
            replica.start()
        for api in apis:
            eventually(lambda api=api: _answers(api), 60, "a server")
        yield replicas, apis
    finally:
        for replica in replicas:
            replica.send(signal.SIGCONT)
            replica.kill()


def _answers(api: Api) -> bool:
    try:
        api.fine_tuning.ListJobs(tuning.ListJobsRequest(page_size=1), timeout=5)
    except grpc.RpcError:
        return False
    return True


def _wait_until_at_work(api: Api, job: job_pb2.Job) -> None:
    eventually(lambda: api.status(job.job_id).progress.done > 0, 120, "a job at work")


def _quick() -> list[input_pb2.Example]:
    return [example(f"quick{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(12)]


def _slow(count: int, name: str) -> list[input_pb2.Example]:
    return [example(f"{name}-{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _quantiles(seconds: Sequence[float]) -> str:
    median, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return f"{median:.1f} / {p99:.1f} ms"


def _spread(seconds: Sequence[float]) -> str:
    return f"{np.median(seconds):.2f} / {max(seconds):.2f} s"


if __name__ == "__main__":
    main()
