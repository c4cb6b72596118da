"""Every SQL statement of the server with a million jobs: its time and its plan, on both databases.

`make bench-ledger` prints a table for each database. It exits with 1 if a statement takes more than 100 ms of
processor time or reads a whole large table, except for the reports that `scale.check` names.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.exposition import choose_encoder

from fakes import ManualClock, Publisher
from headstart_server.jobs.job_counts import JobCounts
from headstart_server.observability import metrics
from headstart_server.observability.histogram import MAX_CANARIES, MAX_SERIES
from headstart_server.observability.telemetry import Telemetry
from postgres import PostgresServer
from programs import POSTGRESQL
from report import machine, print_table, software
from scale.check import Measured, measured
from scale.dataset import Sizes, fill
from scale.recorder import Recorder
from scale.workload import Workload

#: What Prometheus 2 accepts by default. The text format and the one of Prometheus 3 cost half as much.
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4"
#: Seconds that a scrape of the metrics may take.
MOST_SCRAPE_SECONDS = 0.05


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs; a multiple of 1,000")
    parser.add_argument("--times", type=int, default=30, help="runs of each operation")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one of the databases")
    options = parser.parse_args()
    sizes = Sizes(jobs=options.jobs)
    print(f"Machine: {machine()}  \nSoftware: {software()}\n")
    print(
        f"{sizes.jobs:,} jobs, {sizes.versions:,} versions, {sizes.models:,} models and archives. "
        f"Each operation ran {options.times} times.\n"
    )
    faults = 0
    folder = Path(tempfile.mkdtemp(prefix="headstart-ledger-"))
    try:
        if options.only != "postgresql":
            faults += _measure("SQLite", folder, None, sizes, options.times)
        if options.only != "sqlite" and POSTGRESQL.find():
            server = PostgresServer()
            try:
                faults += _measure(
                    "PostgreSQL",
                    folder,
                    server.database(max_parallel_workers_per_gather="0"),
                    sizes,
                    options.times,
                )
            finally:
                server.close()
    finally:
        shutil.rmtree(folder)
    return 1 if faults else 0


def _measure(name: str, folder: Path, address: str | None, sizes: Sizes, times: int) -> int:
    began = time.perf_counter()
    (folder / name).mkdir()
    publisher = Publisher(folder / name, ManualClock(sizes.now), address=address)
    fill(publisher, sizes)
    filled = time.perf_counter() - began
    recorder = Recorder()
    with recorder.listening():
        workload = Workload(publisher, sizes, times)
        workload.run()
    found = measured(publisher.database, recorder.statements)
    scrape = _scrape_seconds(publisher)
    publisher.close()
    shutil.rmtree(folder / name)
    print(f"Filled in {filled:.0f} s; {time.perf_counter() - began:.0f} s in all.\n")
    print(f"{name}: a scrape of the metrics takes {scrape * 1e3:.1f} ms of processor time.\n")
    _print(name, found, workload)
    return sum(1 for each in found if each.fault) + (scrape > MOST_SCRAPE_SECONDS)


def _scrape_seconds(publisher: Publisher) -> float:
    """Return the processor time of a scrape with as many series of versions as there can be."""
    telemetry, counts = Telemetry("benchmark"), JobCounts(publisher.database)
    telemetry.read(metrics.JOBS, counts)
    for place in range(MAX_SERIES + MAX_CANARIES):
        model = f"model-{place}"
        telemetry.predicted({"decode": 0.1}, {(model, 1): 1})
        telemetry.feature_drift_measured(model, 1, 0.5)
        telemetry.canary_call_ended([(model, 1)], "OK", 0.1)
    encode, _ = choose_encoder(ACCEPT)
    encode(telemetry.registry)
    times = []
    for _ in range(20):
        began = time.thread_time()
        encode(telemetry.registry)
        times.append(time.thread_time() - began)
    return min(times)


def _print(name: str, found: Sequence[Measured], workload: Workload) -> None:
    slowest = sorted(found, key=lambda each: -each.busy)
    head = ["statement", "runs", "median ms", "p99 ms", "busy p99 ms", "rows", "plan", "verdict"]
    rows = [
        (
            each.name,
            each.runs,
            f"{each.median * 1e3:.2f}",
            f"{each.p99 * 1e3:.2f}",
            f"{each.busy * 1e3:.2f}",
            each.rows,
            f"reads all of {', '.join(each.tables)}" if each.tables else "by index",
            each.fault or ("report" if each.is_report else "ok"),
        )
        for each in slowest
    ]
    print_table(f"{name}: {len(found)} statements", head, rows)
    slow = sorted(workload.seconds.items(), key=lambda one: -one[1])[:20]
    print_table(
        f"{name}: slowest operations",
        ["operation", "slowest run in ms", "error"],
        [(what, f"{seconds * 1e3:.1f}", workload.errors.get(what, "")[:100]) for what, seconds in slow],
    )


if __name__ == "__main__":
    sys.exit(main())
