"""Hundreds of jobs and two processes: each job is run once, by one of them."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fakes import JobDriver, ManualClock, Publisher
from headstart_server.database.tables import job_events, versions
from headstart_server.jobs import submitting
from headstart_server.jobs.job import JobState
from postgres import PostgresServer

JOBS = 300
#: Jobs that each process takes before it waits for the other: on a busy machine one may take nearly all.
SHARE = 40
#: Claims and fails jobs until there are none: a failure is as much of an end as a success, and quicker.
DRAIN = """
import sys
from pathlib import Path
from headstart_server.database.database import Database
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job import Findings, JobError
from headstart_server.jobs.claiming import ReplicaSettings
from headstart_server.jobs.job_store import open_job_store
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore

address, folder, owner, share = sys.argv[1:]
database = Database(address)
registry = Registry(database, VersionStore(Path(folder)), ResidentVersions(1))
job_store = open_job_store(database, registry, JobNotifier(), ReplicaSettings(owner=owner))
for most in (int(share), 10**9):
    print("ready", flush=True)
    sys.stdin.readline()
    while most and (job := job_store.queue.claim(may_take_over=False)):
        job_store.runs.fail(job, JobError(reason="INTERNAL", message=""), Findings())
        print(job.job_id)
        most -= 1
"""


def until_ready(drain: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the jobs that a process took before it waits."""
    assert drain.stdout is not None
    for line in drain.stdout:
        if line == "ready\n":
            return
        yield line.strip()
    pytest.fail(f"A process ended with {drain.wait()}.")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_queued_jobs_are_drained_by_two_processes_each_exactly_once(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    address = f"sqlite:///{tmp_path / 'headstart.sqlite3'}"
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        # No process dies here, so no commit has to wait for the disk.
        address = server.database(synchronous_commit="off")
    driver = JobDriver(Publisher(tmp_path, ManualClock(), address=address))
    submitted = {f"job-{number}" for number in range(JOBS)}
    with driver.publisher.database.write() as connection:
        # Not by the job store, one after another: it is of how they are taken out of the queue.
        for job_id in submitted:
            submitting.add(connection, driver.submission(job_id), driver.clock())
    drains = [
        subprocess.Popen(
            [sys.executable, "-c", DRAIN, address, str(tmp_path / "versions"), owner, str(SHARE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for owner in ("one", "other")
    ]
    drained: list[list[str]] = [[], []]
    for _ in range(2):
        for drain, taken in zip(drains, drained, strict=True):
            taken.extend(until_ready(drain))
        for drain in drains:
            assert drain.stdin is not None
            drain.stdin.write("go\n")
            drain.stdin.flush()
    for drain, taken in zip(drains, drained, strict=True):
        taken.extend(drain.communicate(timeout=240)[0].split())
    assert [drain.returncode for drain in drains] == [0, 0]
    assert Counter(drained[0] + drained[1]) == Counter(submitted)
    assert all(len(part) >= SHARE for part in drained)
    assert driver.job_store.reader.count()[JobState.FAILED] == JOBS
    with driver.publisher.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(job_events)).scalar_one() == 3 * JOBS
        assert connection.execute(select(func.count()).select_from(versions)).scalar_one() == 0
    driver.publisher.close()
