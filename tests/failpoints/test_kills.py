"""A process that is killed before or after any durable write leaves nothing half done; another goes on."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest

from failpoints.aftermath import recover
from failpoints.life import be_killed
from failpoints.names import names
from postgres import PostgresServer

#: Seconds that a process gets; never waited for when the code is right.
PATIENCE = 120.0
#: Reached only by a database of one server, or only by one of several.
ONLY_SQLITE = {"jobs.expire_leases", "webhooks.expire"}
ONLY_POSTGRES = {"replicas.leave"}
#: Those of files, which are written the same with either database.
FILES = {"archive", "bucket", "folder", "owner", "staged"}
TRANSACTIONS = {name for name in names() if name.partition(".")[0] not in FILES}
#: Transactions that callers were promised something about.
AT_COMMITS = (
    "aliases.delete",
    "aliases.set",
    "datasets.append",
    "datasets.finish",
    "erasures.finish",
    "erasures.replace",
    "examples.erase",
    "feedback.add",
    "jobs.cancel",
    "jobs.claim",
    "jobs.report",
    "jobs.submit",
    "jobs.succeed",
    "replicas.leave",
    "versions.delete",
    "webhooks.deliver",
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def forkserver() -> None:
    """Start the server of processes with the path of the tests, or it would load nothing in advance."""
    multiprocessing.set_forkserver_preload(["failpoints.aftermath"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        ensure_running()


def run(work: Callable[..., None], *arguments: object) -> int | None:
    """Run a function in a new process; return how that ended."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=work, args=arguments)
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def check(folder: Path, address: str | None, point: str) -> None:
    folder.mkdir()
    report = folder.parent / f"{folder.name}.json"

    assert run(be_killed, folder, address, point) == -signal.SIGKILL, f"{point} was not reached"
    assert run(recover, folder, address, report) == 0
    assert json.loads(report.read_text()) == []


@pytest.mark.parametrize("name", sorted(set(names()) - ONLY_POSTGRES))
def test_a_kill_at_any_write_leaves_nothing_half_done(tmp_path: Path, name: str) -> None:
    for moment in ("before", "after"):
        check(tmp_path / moment, None, f"{name}:{moment}")


@pytest.mark.parametrize("name", AT_COMMITS)
def test_the_same_at_the_commits_of_postgresql(tmp_path: Path, postgres: PostgresServer, name: str) -> None:
    for moment in ("before", "after"):
        check(tmp_path / moment, postgres.database(), f"{name}:{moment}")


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(TRANSACTIONS - ONLY_SQLITE - set(AT_COMMITS)))
def test_the_same_at_its_other_commits(tmp_path: Path, postgres: PostgresServer, name: str) -> None:
    test_the_same_at_the_commits_of_postgresql(tmp_path, postgres, name)


def test_each_transaction_that_is_checked_on_postgresql_is_there() -> None:
    assert os.environ.get("HEADSTART_FAILPOINTS") is None
    assert set(AT_COMMITS) | ONLY_SQLITE | ONLY_POSTGRES <= TRANSACTIONS
