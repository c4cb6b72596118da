"""Every kind of trouble on each database: nothing accepted is lost, and nothing happens twice."""

from pathlib import Path

import pytest

from chaos.run import run
from postgres import PostgresServer
from server_process import SECOND

SECONDS = 20.0
#: Calls that clients make from the first version on, even on a busy machine.
CHECKED = ("FineTune", "Status", "Predict", "SetAlias", "ReadAlias")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_one_server_on_a_file_keeps_its_promises_through_chaos(tmp_path: Path) -> None:
    outcome = run(tmp_path, replicas=1, postgres=None, seconds=SECONDS, seed=5, promised_seconds=SECOND)

    print(outcome)
    assert outcome.violations == []
    assert {"kill", "drain", "pause"} <= outcome.trouble.keys()
    assert outcome.states["succeeded"] > 10
    assert [kind for kind in CHECKED if not outcome.operations[f"{kind} ok"]] == []


def test_three_servers_on_postgresql_keep_their_promises_through_chaos(tmp_path: Path) -> None:
    # A separate one: it is stopped and killed as well.
    postgres = PostgresServer()
    try:
        outcome = run(
            tmp_path, replicas=3, postgres=postgres, seconds=SECONDS, seed=6, promised_seconds=SECOND
        )
    finally:
        postgres.close()

    print(outcome)
    assert outcome.violations == []
    assert {"kill", "restart_database", "pause_database"} <= outcome.trouble.keys()
    assert outcome.states["succeeded"] > 10
    assert [kind for kind in CHECKED if not outcome.operations[f"{kind} ok"]] == []
