"""The images keep their promises, as far as the Dockerfile tells without building it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

IMAGES = ["cpu", "gpu"]


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest, stages: dict[str, Any]) -> Any:
    return stages[request.param]


def test_hadolint_finds_nothing(root: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [hadolint, "--no-color", root / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_default_image_is_the_one_for_cpu(stages: dict[str, Any]) -> None:
    assert list(stages)[-1] == "cpu"


def test_the_base_is_pinned_to_a_minor_version_of_python_that_the_package_supports(
    image: Any, root: Path
) -> None:
    name, tag = image.base.split(":")
    major, minor = tag.split("-")[0].split(".")[:2]
    oldest = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    assert name == "python"
    assert (int(major), int(minor)) >= tuple(map(int, oldest.removeprefix(">=").split(".")))


def test_it_runs_as_a_numeric_user_that_is_not_root(image: Any) -> None:
    assert image.last("USER") == "10001:10001"


def test_a_signal_reaches_the_server_because_no_shell_stands_between(image: Any) -> None:
    assert json.loads(image.last("ENTRYPOINT")) == ["headstart-server"]
    assert json.loads(image.last("CMD")) == ["serve"]


def test_its_health_is_what_the_server_says(image: Any) -> None:
    options, command = image.last("HEALTHCHECK").split("CMD")
    assert json.loads(command) == ["headstart-server", "health"]
    assert "--start-period=" in options


def test_it_exposes_grpc_and_metrics(image: Any) -> None:
    assert image.last("EXPOSE").split() == ["8765", "9090"]


def test_it_listens_outside_the_container_and_writes_only_to_its_volume_and_tmp(image: Any) -> None:
    settings = dict(pair.split("=", 1) for line in image.all("ENV") for pair in line.split())
    assert settings["HEADSTART_HOST"] == "0.0.0.0"
    # Whoever runs it decides between a certificate and a plain port.
    assert "HEADSTART_PLAINTEXT" not in settings
    assert settings["HEADSTART_DATA"] == image.last("VOLUME")
    assert settings["KERAS_HOME"].startswith("/tmp/")
    assert settings["PYTHONUNBUFFERED"] == "1"


def test_what_is_declared_is_prepared_in_the_volume_and_what_every_server_has_is_in_the_image(
    image: Any, stages: dict[str, Any]
) -> None:
    settings = dict(pair.split("=", 1) for line in image.all("ENV") for pair in line.split())
    assert Path(settings["HEADSTART_BACKBONE_CACHE"]).is_relative_to(image.last("VOLUME"))
    if image is stages["cpu"]:
        assert not Path(settings["HEADSTART_PREPARED_BACKBONES"]).is_relative_to(image.last("VOLUME"))
        assert 'prepare --backbone-cache "$HEADSTART_PREPARED_BACKBONES"' in image.last("RUN")


def test_it_carries_the_version_of_the_package(image: Any, root: Path) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in image.all("ARG")


def test_only_what_the_wheel_is_made_of_reaches_the_build(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    copied = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert copied == {"client", "server", "pyproject.toml", "README.md", "LICENSE"}
