"""How many cores there are to use."""

import os
from pathlib import Path

import pytest

from headstart_server.backbones.contract.machine import available_cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        (f"{ALL * 100000 - 50000} 100000\n", ALL),
        ("900000000 100000\n", ALL),
        ("max 100000\n", ALL),
        ("", ALL),
        ("nonsense", ALL),
    ],
)
def test_a_containers_share_of_the_processor_is_not_exceeded(
    tmp_path: Path, reported: str, expected: int
) -> None:
    (tmp_path / "cpu.max").write_text(reported)
    assert available_cores(tmp_path, tmp_path / "own") == expected


def test_without_a_container_all_cores_are_used(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path / "own") == ALL
