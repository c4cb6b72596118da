"""A ledger and its registry in a folder, on a clock that only the test moves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import Desk, ManualClock, Shelf


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shelf(tmp_path: Path, clock: ManualClock) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path, clock)
    yield shelf
    shelf.close()


@pytest.fixture
def desk(shelf: Shelf) -> Desk:
    return Desk(shelf)
