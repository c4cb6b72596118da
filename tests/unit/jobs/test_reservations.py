"""Work other than jobs starts while its memory fits next to the jobs, and keeps jobs from starting."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from headstart_server.jobs.reservations import Reservations


@dataclass
class Jobs:
    """The jobs of a process."""

    used_bytes: int = 0
    runs_alone: bool = False
    claimed_ids: list[str] = field(default_factory=list)


class WaitingError(Exception):
    """The work would wait."""


def waits() -> None:
    raise WaitingError


@pytest.fixture
def jobs() -> Any:
    return Jobs()


@pytest.fixture(autouse=True)
def _short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart_server.jobs.reservations.CHECK_SECONDS", 0.0)


def test_work_starts_while_it_fits(jobs: Any) -> None:
    reservations = Reservations(jobs, 100)
    jobs.claimed_ids, jobs.used_bytes = ["one"], 40
    with ExitStack() as stack:
        stack.enter_context(reservations.reserve(30, waits))
        stack.enter_context(reservations.reserve(30, waits))
        assert reservations.nbytes == 60
        with pytest.raises(WaitingError):
            stack.enter_context(reservations.reserve(1, waits))
        assert reservations.nbytes == 60
    assert reservations.nbytes == 0


def test_work_that_waits_is_counted_and_starts_when_the_job_ends(jobs: Any) -> None:
    reservations = Reservations(jobs, 100)
    jobs.claimed_ids, jobs.used_bytes = ["one"], 40
    seen: list[int] = []

    def ends() -> None:
        seen.append(reservations.nbytes)
        jobs.claimed_ids, jobs.used_bytes = [], 0

    with reservations.reserve(90, ends):
        assert seen == [90]


def test_the_first_work_starts_without_jobs_although_it_exceeds_the_limit(jobs: Any) -> None:
    with Reservations(jobs, 100).reserve(200, waits):
        pass


@pytest.mark.parametrize(
    "begin",
    [
        lambda jobs, stack, reservations: setattr(jobs, "claimed_ids", ["one"]),
        lambda jobs, stack, reservations: stack.enter_context(reservations.reserve(1, waits)),
    ],
)
def test_suspected_work_runs_alone(jobs: Any, begin: Callable[..., None]) -> None:
    reservations = Reservations(jobs, None)
    with ExitStack() as stack:
        begin(jobs, stack, reservations)
        assert not reservations.runs_alone
        with pytest.raises(WaitingError):
            stack.enter_context(reservations.reserve(1, waits, alone=True))
    jobs.claimed_ids = []
    with reservations.reserve(1, waits, alone=True):
        assert reservations.runs_alone
        with pytest.raises(WaitingError), reservations.reserve(1, waits):
            pass
    assert not reservations.runs_alone


def test_no_work_starts_next_to_a_job_that_runs_alone(jobs: Any) -> None:
    jobs.claimed_ids, jobs.runs_alone = ["one"], True
    with pytest.raises(WaitingError), Reservations(jobs, None).reserve(1, waits):
        pass
