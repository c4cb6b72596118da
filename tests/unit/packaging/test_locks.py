"""Lock files that no longer satisfy pyproject.toml are found without a network."""

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from images import locks

PROJECT = {
    "name": "headstart",
    "dependencies": ["numpy>=2"],
    "optional-dependencies": {
        "serving": ["openvino>=2026", "colorama; sys_platform == 'win32'"],
        "server": ["headstart[serving]", "keras>=3"],
        "other": ["torch"],
    },
}


def test_the_committed_lock_files_satisfy_the_project() -> None:
    assert list(locks.check()) == []


def test_extras_in_extras_are_followed_and_other_platforms_left_out() -> None:
    names = [need.name for need in locks.requirements(PROJECT, ["server"])]
    assert names == ["numpy", "keras", "openvino"]


@pytest.mark.parametrize(
    ("pins", "received"),
    [({}, "no such package"), ({"typing-extensions": Version("4.1")}, "4.1")],
)
def test_a_missing_or_older_pin_is_named_with_the_requirement(
    pins: dict[str, Version], received: str
) -> None:
    found = list(locks.unmet("slim.txt", [Requirement("typing_extensions>=4.2")], pins))
    assert found == [
        f"slim.txt does not meet pyproject.toml: expected typing_extensions>=4.2. Received: {received}."
    ]


def test_a_pin_within_the_range_is_fine() -> None:
    pins = {"typing-extensions": Version("4.2")}
    assert list(locks.unmet("slim.txt", [Requirement("typing_extensions>=4.2")], pins)) == []


def test_a_project_that_changed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    project = locks._project()
    project["project"]["optional-dependencies"]["serving"].append("numpy>=99")
    monkeypatch.setattr(locks, "_project", lambda: project)
    found = list(locks.check())
    assert [line.split()[0] for line in found] == [
        f"server/locks/{name}.txt" for name in ("cpu", "slim", "gpu")
    ]
