"""How much memory there is to use."""

from pathlib import Path

import pytest

from headstart_server.backbones.contract.machine import available_bytes

MACHINE = "MemTotal:       16000000 kB\nMemAvailable:    8000 kB\nBuffers: 1 kB\n"


@pytest.mark.parametrize(
    ("machine", "limit", "used", "expected"),
    [
        (MACHINE, "max\n", "5\n", 8_192_000),
        (MACHINE, "3000000\n", "1000000\n", 2_000_000),
        (MACHINE, "90000000000\n", "5\n", 8_192_000),
        (MACHINE, "1000\n", "2000\n", 0),
        (MACHINE, None, None, 8_192_000),
        ("MemTotal: 5 kB\n", None, None, None),
        ("MemAvailable: much\n", "100", "1", 99),
        (None, None, None, None),
    ],
)
def test_the_lesser_of_what_machine_and_container_have_left_counts(
    tmp_path: Path, machine: str | None, limit: str | None, used: str | None, expected: int | None
) -> None:
    names = ("memory.max", "memory.current", "machine")
    for name, content in zip(names, (limit, used, machine), strict=True):
        if content is not None:
            (tmp_path / name).write_text(content)
    assert available_bytes(tmp_path, tmp_path / "own", tmp_path / "machine") == expected


def test_this_machine_reports_how_much_it_has() -> None:
    found = available_bytes()
    assert found is None or found > 1_000_000
