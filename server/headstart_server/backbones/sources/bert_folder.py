"""Folders in the layout of sentence-transformers that contain a BERT."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from headstart_server.backbones.sources.bert import BertShape
from headstart_server.backbones.sources.pytorch.checkpoint import CheckpointError, file_digest

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
    """Reads such a folder without running any of its content.

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
        """Sizes of the network, with the pooled outputs of every second layer as ``taps``.

        Raises:
            CheckpointError: the folder is damaged, or is not a BERT whose tokens are averaged.
        """
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
        """Maximum tokens of a text in training."""
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
