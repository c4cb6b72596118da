"""Folders of networks in KerasHub's formats: local, or downloaded into the cache once."""

import hashlib
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.files import files_digest
from headstart_server.backbones.sources.keras_file import check_parts
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.sources.source import SourceError
from headstart_server.storage.atomic_files import staged_folder

#: Files downloaded from a repository: configurations, vocabularies and weights, but never code.
_FILES = ["*.json", "*.txt", "*.model", "*.spm", "model*.safetensors", "*.weights.h5"]
#: Weights of other frameworks in some repositories, which are not downloaded.
_FOREIGN = ["onnx/*", "openvino/*", "coreml/*", "*/model*.safetensors"]
_WEIGHTS = ("model.weights.h5", "model_*.weights.h5", "model.safetensors", "model-*.safetensors")
#: Packages of a KerasHub preset's parts, in addition to Keras: current and former name.
_PACKAGES = frozenset({"keras_hub", "keras_nlp", "keras_cv"})
#: Optional configurations of a preset that are loaded.
_LOADED = ("config.json", "image_converter.json", "tokenizer.json")


class Format(Enum):
    """Format of a folder."""

    KERAS = "a preset of KerasHub"
    TRANSFORMERS = "a checkpoint of Hugging Face"
    TIMM = "a checkpoint of timm"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFolder:
    """A folder that contains a network; none of its content is run."""

    path: Path
    format: Format
    config: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "HubFolder":
        """Read a folder; raise `SourceError` if its format is unknown or it contains code."""
        config = _json(path / "config.json")
        if config is None:
            raise SourceError(f"Expected a folder with a network's config.json. Received: {path}.")
        if "registered_name" in config:
            for name in _LOADED:
                check_parts(_json(path / name), name, _PACKAGES)
            return cls(path=path, format=Format.KERAS, config=config)
        if "model_type" in config:
            return cls(path=path, format=Format.TRANSFORMERS, config=config)
        if "architecture" in config:
            return cls(path=path, format=Format.TIMM, config=config)
        raise SourceError(
            "Expected a config.json of KerasHub, Hugging Face or timm, with registered_name, model_type or "
            f"architecture. Received: {path / 'config.json'}, with {', '.join(config) or 'nothing'}."
        )

    @property
    def kind(self) -> str:
        """Type of its network in the folder's configuration."""
        names = {Format.KERAS: "class_name", Format.TRANSFORMERS: "model_type", Format.TIMM: "architecture"}
        return str(self.config[names[self.format]])

    @property
    def modality(self) -> Modality:
        """Modality of its network; image if it accepts both."""
        config = self.config.get("config", {}) if self.format is Format.KERAS else self.config
        images = {"image_shape", "image_size", "vision_encoder", "vision_config"}
        words = {"vocabulary_size", "vocab_size"} & set(config)
        return Modality.TEXT if words and not images & set(config) else Modality.IMAGE

    def json(self, name: str) -> Any:
        """Return the JSON of a file; None if it is missing. Raise `SourceError` if it is invalid."""
        return _json(self.path / name)

    def weights(self) -> str:
        """Return the SHA-256 of its weights; raise `SourceError` if they are missing."""
        files = sorted({path for pattern in _WEIGHTS for path in self.path.glob(pattern)})
        if self.format is not Format.KERAS:
            files = [path for path in files if path.suffix == ".safetensors"]
        if not files:
            raise SourceError(
                f"Expected weights in one of {', '.join(_WEIGHTS)}. Received: {self.path}, which has none; "
                "weights in pickles are not read, for reading them can run code."
            )
        return file_digest(files[0]) if len(files) == 1 else files_digest(self.path, files)

    def architecture(self, *files: str) -> str:
        """Identify its network by its configuration, and by those of `more` files that exist."""
        contents = [self.path / name for name in ("config.json", *files) if (self.path / name).is_file()]
        return f"keras-hub {self.kind} {files_digest(self.path, contents)}"


def load_keras_hub() -> Any:
    """Return the module ``keras_hub``; raise `SourceError` if it is not installed."""
    load_keras()
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise SourceError(
            f"Expected the package keras-hub. Received: {error}. "
            "Install it with: pip install 'headstart[kerashub]'"
        ) from None


def summary_of(error: Exception) -> str:
    """Summarize a package's error in one line, because it may contain weights, pages and addresses."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first[:300].rstrip('.')}"


def folder_of_handle(handle: str, cache: Path) -> Path:
    """Return the folder of a handle, downloading it unless cached; later calls need no network.

    Args:
        handle: ``hf://ORG/NAME``, optionally with ``@REVISION``, ``kaggle://ORG/MODEL/keras/VARIANT``,
            optionally with ``/VERSION``, or the name of a preset of KerasHub.

    Raises:
        SourceError: it is unavailable.
    """
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", handle)[:80]
    folder = cache / "hubs" / f"{name}-{hashlib.sha256(handle.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    with staged_folder(folder) as staging:
        _download(handle, staging)
    return folder


def _download(handle: str, folder: Path) -> None:
    hub = load_keras_hub()
    try:
        if handle.startswith("hf://"):
            repository, _, revision = handle.removeprefix("hf://").partition("@")
            importlib.import_module("huggingface_hub").snapshot_download(
                repository,
                revision=revision or None,
                local_dir=folder,
                allow_patterns=_FILES,
                ignore_patterns=_FOREIGN,
            )
            return
        if not handle.startswith("kaggle://"):
            known = hub.models.Backbone.presets
            if handle not in known:
                raise SourceError(
                    "Expected a preset of KerasHub, a handle of Kaggle (ORG/MODEL/keras/VARIANT), or a "
                    f"folder that begins with / or ./. Received: {handle!r}."
                )
            handle = known[handle]["kaggle_handle"]
        kaggle = handle.removeprefix("kaggle://")
        importlib.import_module("kagglehub").model_download(kaggle, output_dir=str(folder))
    except SourceError:
        raise
    except Exception as error:  # of networks, rights and names, nearly any
        raise SourceError(
            f"Expected the files of {handle}. Received: {summary_of(error)}. Check its name, the network "
            "and, if its license must be accepted, the account; or copy its folder to this machine and "
            "declare the folder."
        ) from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"Expected JSON in {path}. Received: {error}.") from error
