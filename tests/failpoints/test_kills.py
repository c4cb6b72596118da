"""A process that is killed before or after any durable write leaves nothing half done; another goes on."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from failpoints.aftermath import be_killed, pass_points
from failpoints.lives import Lives
from failpoints.names import names
from postgres import PostgresServer

#: Chains of lives on SQLite and on PostgreSQL. One of n chains is killed at every n-th failpoint, so that no
#: job is interrupted so often that it fails.
CHAINS, SHARED_CHAINS = 21, 6
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
    "erasures.claim",
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


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    made = Lives()
    yield made
    made.close()


def passed(lives: Lives, folder: Path, address: str | None) -> list[str]:
    """Return the failpoints in the order in which a life passes them first."""
    folder.mkdir()
    report = folder.parent / f"{folder.name}.json"
    lives.run(pass_points, folder, address, report)
    known = names()
    return [point for point in json.loads(report.read_text()) if point.partition(":")[0] in known]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory, lives: Lives) -> list[str]:
    return passed(lives, tmp_path_factory.mktemp("points") / "life", None)


@pytest.fixture(scope="module")
def shared_points(
    tmp_path_factory: pytest.TempPathFactory, lives: Lives, postgres: PostgresServer
) -> list[str]:
    found = passed(lives, tmp_path_factory.mktemp("points") / "life", address_in(postgres))
    return [point for point in found if point.partition(":")[0] in TRANSACTIONS]


def address_in(postgres: PostgresServer) -> str:
    # The database outlives the processes, so no commit has to wait for the disk.
    return postgres.database(synchronous_commit="off")


def check(lives: Lives, folder: Path, address: str | None, points: list[str]) -> None:
    """Kill a life at each of these failpoints, and the one that recovers from it at the next."""
    data, report = folder / "life", folder / "report.json"
    data.mkdir()

    lives.run(be_killed, data, address, points, report)
    assert json.loads(report.read_text()) == [], f"killed at {points}"


def of_each(points: list[str], chosen: Collection[str]) -> list[str]:
    """Return the points of the chosen writes; fail unless a life passes all of them."""
    expected = {f"{name}:{moment}" for name in chosen for moment in ("before", "after")}
    assert expected - {*points} == set()
    return [point for point in points if point in expected]


@pytest.mark.parametrize("place", range(CHAINS))
def test_kills_at_any_write_leave_nothing_half_done(
    tmp_path: Path, lives: Lives, points: list[str], place: int
) -> None:
    check(lives, tmp_path, None, of_each(points, {*names()} - ONLY_POSTGRES)[place::CHAINS])


@pytest.mark.parametrize("place", range(SHARED_CHAINS))
def test_the_same_at_the_commits_of_postgresql(
    tmp_path: Path, lives: Lives, postgres: PostgresServer, shared_points: list[str], place: int
) -> None:
    check(lives, tmp_path, address_in(postgres), of_each(shared_points, AT_COMMITS)[place::SHARED_CHAINS])


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(set(names()) - ONLY_POSTGRES))
def test_a_kill_at_any_write_leaves_nothing_half_done(tmp_path: Path, lives: Lives, name: str) -> None:
    for moment in ("before", "after"):
        (tmp_path / moment).mkdir()
        check(lives, tmp_path / moment, None, [f"{name}:{moment}"])


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(TRANSACTIONS - ONLY_SQLITE))
def test_a_kill_at_any_commit_of_postgresql_leaves_nothing_half_done(
    tmp_path: Path, lives: Lives, postgres: PostgresServer, name: str
) -> None:
    for moment in ("before", "after"):
        (tmp_path / moment).mkdir()
        check(lives, tmp_path / moment, address_in(postgres), [f"{name}:{moment}"])


def test_each_transaction_that_is_checked_on_postgresql_is_there() -> None:
    assert os.environ.get("HEADSTART_FAILPOINTS") is None
    assert set(AT_COMMITS) | ONLY_SQLITE | ONLY_POSTGRES <= TRANSACTIONS
