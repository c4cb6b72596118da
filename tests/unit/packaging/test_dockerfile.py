"""Parts of the Dockerfile that no build proves; `make test-images` builds the images and runs them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from images.locks import PYTHON
from images.run import pinned_base


def test_the_default_image_is_the_complete_one_on_cpu(stages: dict[str, Any]) -> None:
    assert list(stages)[-1] == "cpu"


def test_the_base_is_pinned_by_digest_and_has_the_python_of_the_lock_files() -> None:
    assert re.fullmatch(rf"python:{re.escape(PYTHON)}-slim-[a-z]+@sha256:[0-9a-f]{{64}}", pinned_base())


@pytest.mark.parametrize("name", ["cpu", "slim", "gpu"])
def test_images_share_how_they_run_and_carry_the_version_of_the_package(
    name: str, stages: dict[str, Any], root: Path
) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in stages[name].all("ARG")
    assert stages[name].last("USER") == "10001:10001"
    assert stages[name].last("ENTRYPOINT") == stages["runtime"].last("ENTRYPOINT")


def test_only_what_the_wheel_is_made_of_reaches_the_build(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    copied = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert copied == {"client", "server", "pyproject.toml", "README.md", "LICENSE"}
