"""Limits of control groups, which may be nested, as those of a systemd service are."""

from pathlib import Path

import pytest

from headstart_server.backbones.contract import machine
from headstart_server.backbones.contract.machine import (
    available_bytes,
    available_cores,
    cpu_quota,
    limit_bytes,
    memory_limit,
)


def group(folder: Path, own: str, **files: str) -> tuple[Path, Path]:
    """A tree of control groups; the files' names have `__` for `/` and `_` for `.`."""
    for name, content in files.items():
        path = folder / "cgroup" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "own").write_text(own)
    return folder / "cgroup", folder / "own"


def test_the_limit_of_a_container_is_at_the_root(tmp_path: Path):
    tree = group(tmp_path, "0::/\n", memory_max="1073741824\n", cpu_max="150000 100000\n")
    assert memory_limit(*tree) == 1 << 30
    assert cpu_quota(*tree) == 1.5


def test_the_least_limit_of_nested_groups_counts(tmp_path: Path):
    tree = group(
        tmp_path,
        "1:name=systemd:/other\n0::/a/b\n",
        memory_max="max\n",
        a__memory_max="300\n",
        a__b__memory_max="500\n",
        a__cpu_max="max 100000\n",
        a__b__cpu_max="50000 100000\n",
    )
    assert memory_limit(*tree) == 300
    assert cpu_quota(*tree) == 0.5


@pytest.mark.parametrize("content", ["max\n", "", "nonsense", "\xff"])
def test_without_a_limit_the_limit_is_unknown(tmp_path: Path, content: str):
    tree = group(tmp_path, "0::/../outside\n", memory_max=content, cpu_max=content)
    assert memory_limit(*tree) is None
    assert cpu_quota(*tree) is None
    assert memory_limit(tmp_path / "missing", tmp_path / "missing") is None


def test_the_group_with_the_least_memory_left_counts(tmp_path: Path):
    tree = group(
        tmp_path,
        "0::/a/b\n",
        memory_max="900\n",
        memory_current="850\n",
        a__memory_max="500\n",
        a__memory_current="480\n",
        a__b__memory_max="300\n",
        a__b__memory_current="200\n",
    )
    assert available_bytes(*tree, tmp_path / "none") == 20
    assert limit_bytes(*tree, tmp_path / "none") == 300


def test_the_cores_of_a_nested_group_are_not_exceeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)))
    tree = group(tmp_path, "0::/system/headstart\n", system__headstart__cpu_max="350000 100000\n")

    assert available_cores(*tree) == 4


def test_the_limits_of_version_1_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)))
    folders = {"cpu": {"cpu.cfs_quota_us": 200000, "cpu.cfs_period_us": 100000}}
    folders["memory"] = {"memory.limit_in_bytes": 1000, "memory.usage_in_bytes": 400}
    for folder, files in folders.items():
        (tmp_path / folder).mkdir()
        for name, number in files.items():
            (tmp_path / folder / name).write_text(f"{number}\n")
    tree = (tmp_path, tmp_path / "none")

    assert available_cores(*tree) == 2
    assert (limit_bytes(*tree, tmp_path / "none"), available_bytes(*tree, tmp_path / "none")) == (1000, 600)
