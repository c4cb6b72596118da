"""Every statement of the server finds its rows by an index, on a small version of `make bench-ledger`."""

import ast
from contextlib import closing
from pathlib import Path

import pytest

from fakes import ManualClock, Publisher
from headstart_server.database import postgres
from headstart_server.feedback import feedback_store
from postgres import PostgresServer
from scale.check import REPORTS, measured
from scale.dataset import Sizes, fill
from scale.recorder import SERVER, Recorder
from scale.sites import sites
from scale.workload import Workload

SIZES = Sizes(jobs=1000)
#: Functions that do not execute all their statements on a database: with a file there are no other replicas.
ELSEWHERE = {"sqlite": {"show_presence", "leave"}, "postgresql": {"renew"}}


def executed(path: Path, call: ast.Call, recorder: Recorder) -> bool:
    lines = range(call.lineno, (call.end_lineno or call.lineno) + 1)
    return any(there == path and line in lines for there, line in recorder.sites)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_statement_finds_its_rows_by_an_index(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A statement that fills a table takes seconds on a busy machine.
    for name in ("SOCKET_SECONDS", "STATEMENT_SECONDS", "LOCK_SECONDS"):
        monkeypatch.setattr(postgres, name, 120)
    address = None
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.database()
    with closing(Publisher(tmp_path, ManualClock(SIZES.now), address=address)) as publisher:
        fill(publisher, SIZES)
        recorder = Recorder()
        with recorder.listening():
            workload = Workload(publisher, SIZES, 1)
            workload.run()
        found = measured(publisher.database, recorder.statements, seconds=float("inf"), strict=True)
    # What the benchmark does not execute, it does not measure.
    missed = [
        f"{path.relative_to(SERVER)}:{call.lineno}"
        for path, function, call in sites()
        if function.name not in ELSEWHERE[kind] and not executed(path, call, recorder)
    ]
    assert missed == []
    assert {each.name: each.fault for each in found if each.fault} == {}
    names = {each.name.partition(" ")[0] for each in found}
    assert set(REPORTS) <= names


def test_models_that_may_retrain_are_found_by_the_index_of_those_with_a_policy(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, ManualClock(0.0))
    with publisher.database.read() as connection:
        query = str(feedback_store._READY.compile(dialect=connection.dialect))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", (0.0,) * query.count("?")).all()
    publisher.close()
    assert plan[0][3] == "SCAN models USING INDEX models_retrained"
