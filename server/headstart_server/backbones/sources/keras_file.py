"""Keras files of the operator; none of their code is run."""

import json
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.files import known_digest, local_file
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.keras_images import image_network, side_of
from headstart_server.backbones.sources.source import SourceError, check_pin
from headstart_server.storage.zip_member import check_methods, read_entry

#: Keras classes that contain code, or run foreign code.
_CODE = {"Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer"}

#: Maximum bytes of a network's configuration; a large one has less than one MiB.
_CONFIG_BYTES = 16 << 20
#: Entries may inflate to this multiple of the file size, plus these bytes.
_MOST_INFLATED, _SLACK_BYTES = 10, 64 << 20


class KerasFile:
    """``keras-file:PATH``, a ``.keras`` file of a network of images [n, height, width, 3]."""

    options = IMAGE_OPTIONS
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None: ...

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        return check_pin(declaration, known_digest(local_file(declaration, cache)))

    def open(self, declaration: Declaration, cache: Path) -> Network:
        path = local_file(declaration, cache)
        check_keras_file(path)
        try:
            body = load_keras().saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # damaged files end in nearly any
            raise SourceError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
        return image_network(
            body,
            declaration,
            architecture="keras file",
            weights=known_digest(path),
            size=side_of(body, declaration),
        )


def check_keras_file(path: Path) -> None:
    """Raise `SourceError` for a Keras file with parts outside Keras or with code, before loading it."""
    # Keras chooses the format by suffix: with another one it would not read the archive that is checked here.
    if path.suffix != ".keras":
        raise SourceError(f"Expected a file whose name ends in .keras. Received: {path.name}.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # Keras reads the other entries as a whole.
            check_methods(entries)
            most = _SLACK_BYTES + _MOST_INFLATED * path.stat().st_size
            if sum(entry.file_size for entry in entries) > most:
                raise SourceError(
                    f"{path.name} would inflate to more than {_MOST_INFLATED} times its size. Save the "
                    "network again with Keras, which does not compress weights."
                )
            content = read_entry(archive, archive.getinfo("config.json"), _CONFIG_BYTES)
        if content is None:
            raise SourceError(f"config.json of {path.name} is larger than {_CONFIG_BYTES >> 20} MiB.")
        config = json.loads(content)
    # A damaged entry also raises RuntimeError ("is encrypted") and zlib.error.
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, RuntimeError) as error:
        raise SourceError(f"Expected a .keras file. Received: {path.name}, {error}.") from error
    check_parts(config, path.name)


def check_parts(config: Any, file: str, packages: Collection[str] = ()) -> None:
    """Raise SourceError for a configuration with code, or parts outside Keras and some packages."""
    for part in _parts(config):
        module, name = str(part.get("module")), str(part.get("class_name"))
        foreign = module.split(".", maxsplit=1)[0] not in {"keras", "builtins", "None", *packages}
        if foreign or name in _CODE or name.startswith("__lambda"):
            raise SourceError(
                f"Expected layers of {' or '.join(['Keras', *sorted(packages)])} only, for loading runs no "
                f"code. Received: {file}, with {name} of {module}. Save the network without it."
            )


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every serialized object in a configuration."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _parts(value)
