"""A job store and its registry, on either database and on a clock that only the test moves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import JobDriver, ManualClock, Publisher


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def publisher(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, clock, address=address)
    yield publisher
    publisher.close()


@pytest.fixture
def driver(publisher: Publisher) -> JobDriver:
    return JobDriver(publisher)
