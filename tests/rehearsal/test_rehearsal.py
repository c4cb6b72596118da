"""Three servers behind real load balancers are replaced one by one under load, and no caller notices."""

from pathlib import Path

import pytest

from postgres import PostgresServer
from rehearsal.run import BALANCERS, REPLICAS, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_no_call_fails_and_every_job_ends_once_while_all_servers_are_replaced(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    outcome = run(tmp_path, balancers=BALANCERS, postgres=postgres)

    print(outcome)
    assert outcome.failures == []
    assert outcome.violations == []
    assert outcome.replaced == REPLICAS
    assert set(outcome.states) == {"succeeded"}
    for name in BALANCERS:
        calls = outcome.seen[name].calls
        assert calls["Predict"] > 50
        assert {"FineTune", "Status", "wait", "watch", "SetAlias"} <= calls.keys()
        # What the balancer saw is more than what callers did.
        assert outcome.passed[name].total() > calls["Predict"]
