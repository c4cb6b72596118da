"""The program that builds images on this machine: docker, podman or buildah, whichever is present."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: The target of each image; its tag is that of the documentation.
TAGS = {"cpu": "headstart:latest", "slim": "headstart:slim", "gpu": "headstart:gpu"}
#: The settings of pip that builds use as well: where packages come from, and how they are reached.
PIP_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout"}
#: Where the Dockerfile mounts the certificate authority of the network.
AUTHORITY = "/run/secrets/ca"
NO_BUILDER = "Docker, Podman and Buildah are missing: install one of them (Debian: apt-get install buildah)."
NO_BASE = (
    "If the base image cannot be pulled, make a local one: make base-image, then add ARGS='--base "
    "localhost/headstart-base'."
)


def find_builder() -> str | None:
    """Return the first builder that works on this machine; None without one."""
    for tool, proof in (("docker", "info"), ("podman", "info"), ("buildah", "info")):
        if (
            shutil.which(tool)
            and subprocess.run([tool, proof], capture_output=True, check=False).returncode == 0
        ):
            return tool
    return None


def build(tool: str, target: str, *, base: str | None = None, options: list[str] | None = None) -> str:
    """Build one image of the Dockerfile.

    Args:
        tool: the builder.
        target: a stage of the Dockerfile.
        base: the base image; default: the one that the Dockerfile pins.
        options: further options of the builder.

    Returns:
        The image's tag.

    Raises:
        subprocess.CalledProcessError: the build failed; its output says why.
    """
    tag = TAGS.get(target, f"headstart:{target}")
    arguments = ["--build-arg", f"BASE={base}"] if base else []
    with build_secrets() as secrets:
        for name, path in secrets.items():
            arguments += ["--secret", f"id={name},src={path}"]
        command = [*_build_command(tool), *arguments, *(options or []), "--target", target, "--tag", tag, "."]
        subprocess.run(command, cwd=ROOT, check=True)
    return tag


def import_root(tool: str, root: Path, tag: str) -> None:
    """Make an image from a root folder."""
    if tool == "buildah":
        container = _output([tool, "from", *_without_network(), "scratch"])
        try:
            subprocess.run([tool, "add", "--quiet", container, str(root), "/"], check=True, stdout=sys.stderr)
            subprocess.run([tool, "commit", "--quiet", container, tag], check=True, stdout=sys.stderr)
        finally:
            subprocess.run([tool, "rm", container], check=True, stdout=subprocess.DEVNULL)
        return
    packed = subprocess.Popen(["tar", "--directory", str(root), "--create", "."], stdout=subprocess.PIPE)
    subprocess.run([tool, "import", "-", tag], stdin=packed.stdout, check=True, stdout=sys.stderr)
    if packed.wait() != 0:
        raise subprocess.CalledProcessError(packed.returncode, packed.args)


@contextmanager
def build_secrets() -> Iterator[Mapping[str, Path]]:
    """Write this machine's pip settings and certificate authority to files; yields them by secret."""
    settings = pip_settings()
    authority = settings.pop("cert", None) or os.environ.get("SSL_CERT_FILE")
    with tempfile.TemporaryDirectory() as name:
        folder, secrets = Path(name), {}
        if authority and Path(authority).is_file():
            secrets["ca"] = Path(shutil.copy(authority, folder / "ca"))
            settings["cert"] = AUTHORITY
        if settings:
            secrets["pip"] = folder / "pip.conf"
            lines = [f"{key} = {value}\n" for key, value in settings.items()]
            secrets["pip"].write_text("".join(["[global]\n", *lines]))
        yield secrets


def pip_settings() -> dict[str, str]:
    """Return the settings of this machine's pip that a build needs; the environment overrides files."""
    listed = _output([sys.executable, "-m", "pip", "config", "list"])
    found: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if key.startswith((":env:.", "global.")) and name in PIP_SETTINGS | {"cert"}:
            is_override = key.startswith(":env:.") or name not in found
            found[name] = value.strip("'\"") if is_override else found[name]
    return found


@contextmanager
def unpacked(image: str) -> Iterator[Path]:
    """Yield the root folder of an image that buildah built; writes to it are discarded."""
    container = _output(["buildah", "from", "--pull=never", *_without_network(), image])
    try:
        yield Path(_output(["buildah", "mount", container]))
    finally:
        subprocess.run(["buildah", "rm", container], check=True, stdout=subprocess.DEVNULL)


def image_settings(tool: str, image: str) -> dict[str, Any]:
    """Return an image's own settings: Env, Entrypoint, Cmd, User, WorkingDir and so on."""
    if tool == "buildah":
        return json.loads(_output([tool, "inspect", "--type", "image", image]))["Docker"]["config"]
    found = json.loads(_output([tool, "image", "inspect", image]))[0]
    # Podman keeps the health check outside of the other settings.
    return {"Healthcheck": found.get("Healthcheck"), **found["Config"]}


def _build_command(tool: str) -> list[str]:
    if tool == "docker":
        return ["docker", "build"]
    # Their own format drops the health check.
    command = [tool, "build", "--format", "docker", "--layers"]
    if tool == "buildah":
        command += _without_network()
        for limit, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
            soft, hard = resource.getrlimit(number)
            command += ["--ulimit", f"{limit}={soft}:{hard}"]
    return command


def _without_network() -> list[str]:
    # Works within a container, too, and needs no network plugin.
    return ["--isolation", os.environ.get("BUILDAH_ISOLATION", "chroot"), "--network", "host"]


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
