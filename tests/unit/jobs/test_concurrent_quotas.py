"""Transactions that add bytes of one tenant at the same time never exceed its storage limit together."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from captures import Captures
from fakes import JobDriver, ManualClock
from headstart_server.database import database
from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.target import Target
from postgres import on_both_databases
from workbench import Workbench

pytestmark = on_both_databases
#: Bytes that each action adds, but for a version, which has some hundred.
NBYTES = 4000
NAMES = ("append", "capture", "publish", "submit")


class Tenant:
    """A tenant that may store its current bytes and those of one more action."""

    def __init__(self, folder: Path, clock: ManualClock, address: str | None) -> None:
        self.captures = Captures(folder, clock, address=address)
        self.captures.model("red/pets")
        self.driver = JobDriver(self.captures.publisher, tenant_limits=lambda _: self.captures.limits)
        self.bench = Workbench(folder, self.driver)
        for name in ("red/one", "red/two"):
            self.bench.catalog.create(name, {"display_name": "", "description": "", "tags": {}})
        self._datasets = iter(("red/one", "red/two"))
        self._running = self.driver.running("running", tenant="red", model="red/pets")
        stored = self.driver.job_store.quotas.usage_of("red").stored
        self.captures.limits = TenantLimits(stored_bytes=stored.nbytes + NBYTES + 500)
        self.actions: dict[str, Callable[[], object]] = {
            "append": self._append,
            "capture": lambda: self.captures.write(["one"], model="red/pets", content=bytes(NBYTES)),
            "publish": lambda: self.driver.succeed(self._running),
            "submit": lambda: self.driver.submit(tenant="red", model="red/pets", nbytes=NBYTES),
        }

    def _append(self) -> None:
        content = np.random.default_rng(0).bytes(NBYTES - 500)
        self.bench.write(next(self._datasets), 0, [Example(content=content, target=Target.of_label("cat"))])

    def attempt(self, name: str) -> bool:
        """Return whether an action was within the limit."""
        try:
            self.actions[name]()
        except TenantQuotaExceeded:
            return False
        return True

    def close(self) -> None:
        self.bench.close()
        self.captures.close()


@pytest.fixture
def tenant(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Tenant]:
    tenant = Tenant(tmp_path, clock, address)
    yield tenant
    tenant.close()


@pytest.mark.parametrize(
    ("first", "second"), [*itertools.permutations(NAMES, 2), ("append", "append"), ("submit", "submit")]
)
def test_two_transactions_see_the_bytes_of_each_other(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    outcomes: dict[str, bool] = {}
    other = threading.Thread(target=lambda: outcomes.update(second=tenant.attempt(second)))
    points = {
        "append": "datasets.append",
        "capture": "captures.write",
        "publish": "jobs.succeed",
        "submit": "jobs.submit",
    }

    @contextmanager
    def failpoint(name: str) -> Iterator[None]:
        if name == points[first] and other.ident is None:
            other.start()
            # Without a lock between the two, the other one ends meanwhile.
            other.join(0.5)
        yield

    monkeypatch.setattr(database, "failpoint", failpoint)
    outcomes["first"] = tenant.attempt(first)
    other.join()
    usage = tenant.driver.job_store.quotas.usage_of("red")
    assert outcomes == {"first": True, "second": False}
    assert usage.stored.nbytes <= usage.limits.stored_bytes
    assert tenant.driver.job_store.quotas.recount_usage() == 0
