"""A hang is an input that takes long to parse, and a refusal is that of the parser."""

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st

from fuzz import parsers, targets
from headstart_server.errors import BackboneNotFound


def counts(target: targets.Target, folder: Path) -> dict[str, int]:
    feeding = parsers.Feeding(target, folder / "last")
    feeding.one("a text")
    return dict(feeding.counts)


@pytest.mark.parametrize(
    ("passed", "worked", "hangs"), [(60.0, 0.1, {}), (60.0, 10.0, {"hangs": 1})], ids=["waits", "works"]
)
def test_the_time_that_an_input_waits_for_a_core_is_no_hang(
    passed: float, worked: float, hangs: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = {"monotonic": passed, "process_time": worked}
    stand_in = {name: itertools.count(0.0, step).__next__ for name, step in clocks.items()}
    monkeypatch.setattr(parsers, "time", SimpleNamespace(**stand_in))
    target = targets.Target(inputs=st.text(), parse=str, refusals=())
    assert counts(target, tmp_path) == {"inputs": 1, "taken": 1, **hangs}


def test_a_missing_package_is_no_refusal_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(distribution: str, _: str) -> Path:
        raise BackboneNotFound(f"Install it with: pip install {distribution}")

    monkeypatch.setattr(targets, "file_in_package", missing)
    targets.text_decoder.cache_clear()
    assert counts(targets.targets()["texts"], tmp_path) == {"inputs": 1, "crashes": 1}
