"""Captured inputs of a model in a folder, on either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from captures import Captures
from fakes import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def captures(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Captures]:
    captures = Captures(tmp_path, clock, address=address)
    yield captures
    captures.close()
