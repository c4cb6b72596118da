"""A process that runs jobs and dies of one of them. Its arguments are FOLDER DATABASE HOW.

The job `deadly` ends the process once another job runs next to it, or right away if it must run alone. The
others end when `deadly` no longer runs next to them, so while they do, they die with it.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fakes import JobDriver, Publisher, Recorder
from headstart_server.jobs.heartbeat import Heartbeat, Lease
from headstart_server.jobs.job import Findings, Job
from headstart_server.jobs.job_runner import JobRunner
from headstart_server.jobs.workers import WorkerPool

LEASE = Lease(seconds=2.0, interval=0.2)
ENDS: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


class Run:
    """A run that dies, or waits until it is safe."""

    findings = Findings()

    def __init__(self, job: Job, driver: JobDriver, heartbeat: Heartbeat, die: Callable[[], object]) -> None:
        self._job, self._driver, self._heartbeat, self._die = job, driver, heartbeat, die

    def execute(self) -> int:
        if self._job.job_id == "deadly":
            while not self._job.runs_alone and len(self._heartbeat.claimed_ids) < 2:
                time.sleep(0.01)
            self._die()
        while "deadly" in self._heartbeat.claimed_ids:
            time.sleep(0.01)
        return self._driver.succeed(self._job)


def main(folder: str, address: str, how: str) -> None:
    """Run jobs until the process is killed, by itself or from outside."""
    driver = JobDriver(Publisher(Path(folder), time.time, address=address or None))  # type: ignore[arg-type]
    job_store = driver.restarted(owner=f"host/{os.getpid()}", lease_seconds=LEASE.seconds)
    heartbeat = Heartbeat(job_store.queue, job_store.runs, LEASE, is_shared=False)
    pool = WorkerPool(
        job_store.queue,
        heartbeat,
        JobRunner(
            job_store.queue,
            job_store.runs,
            lambda job, _: Run(job, driver, heartbeat, ENDS[how]),
            Recorder(),
        ),
        lambda _: None,
        size=2,
    )
    heartbeat.start()
    pool.start()
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
