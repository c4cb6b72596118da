"""A ledger and its registry, on either database and on a clock that only the test moves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import Desk, ManualClock, Shelf


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shelf(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path, clock, address=address)
    yield shelf
    shelf.close()


@pytest.fixture
def desk(shelf: Shelf) -> Desk:
    return Desk(shelf)
