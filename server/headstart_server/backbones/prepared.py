"""Folders of prepared backbones: each is made once, aside, and then only read."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version as package_version
from pathlib import Path

from headstart_server.backbones.card import Card
from headstart_server.backbones.declaration import Declaration
from headstart_server.backbones.openvino_runtime import FORM
from headstart_server.backbones.runtimes import RuntimeKind
from headstart_server.backbones.sources.source import SourceError
from headstart_server.errors import BackboneUnavailable

#: Seconds that a preparation may take; on two cores it takes about ten, more for large networks.
PREPARATION_SECONDS = 1800.0

#: The exit code of a preparation where the backbone is at fault, and not the program.
REFUSED = 3

#: What says nothing of the network itself. Its digest is looked at whenever a card is.
_WORDS = {"name", "license", "description", "digest"}


def folder_of(declaration: Declaration, fingerprint: str, cache: Path, kind: RuntimeKind) -> Path:
    """Where a backbone is prepared for a runtime; for OpenVINO, this release of it.

    Args:
        declaration: of it.
        fingerprint: what changes with its weights.
        cache: folder of all that is prepared.
        kind: the runtime.
    """
    said = json.loads(declaration.as_json())
    said = {name: value for name, value in said.items() if name not in _WORDS}
    key = hashlib.sha256(json.dumps([said, fingerprint], sort_keys=True).encode()).hexdigest()
    runtime = f"openvino-{package_version('openvino')}" if kind is RuntimeKind.OPENVINO else kind.value
    return cache / f"{key[:32]}-{runtime}-{FORM}"


def prepare_into(folder: Path, declaration: Declaration, cache: Path) -> Card:
    """Prepare a backbone in a process of its own, unless its folder is there already.

    Args:
        folder: its `folder_of` OpenVINO.
        declaration: of it.
        cache: folder that downloads are kept in.

    Raises:
        SourceError: the declaration or the network is at fault; the message says why.
        BackboneUnavailable: the process failed; the message has its last words.
    """
    try:
        return Card.read(folder)
    except (OSError, ValueError):
        # Not there yet, or damaged, and then made anew.
        shutil.rmtree(folder, ignore_errors=True)
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _prepare(declaration, cache, aside)
        if not folder.exists():
            os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Card.read(folder)


def keep_card(folder: Path, card: Card) -> None:
    """Keep a card where there is none yet: later it proves that features are what they were."""
    if not folder.exists():
        aside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        aside.mkdir(parents=True, exist_ok=True)
        card.write(aside)
        if not folder.exists():
            os.rename(aside, folder)


def _prepare(declaration: Declaration, cache: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "headstart_server.backbones.prepare"]
    arguments = [declaration.as_json(), str(cache), str(folder)]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [*command, *arguments], capture_output=True, text=True, timeout=PREPARATION_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BackboneUnavailable(
            f"Backbone '{declaration.name}' could not be prepared within {PREPARATION_SECONDS:.0f} seconds."
        ) from None
    if done.returncode == REFUSED:
        raise SourceError(json.loads(done.stdout)["message"])
    if done.returncode != 0:
        raise BackboneUnavailable(
            f"Backbone '{declaration.name}' could not be prepared from {declaration.source}:\n"
            f"{done.stderr[-2000:]}"
        )
