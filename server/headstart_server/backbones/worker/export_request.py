"""Export requests: a version's head and tail, as values and as files between two processes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.backbones.contract.tail import Float32, TailWeights

_FILE = "request"
#: Prefix of the tail's tensors in the request's file.
_TENSOR = "tail:"


class ExportFormat(StrEnum):
    """Export formats."""

    KERAS = "keras"
    SAVED_MODEL = "savedmodel"
    ONNX = "onnx"
    OPENVINO = "openvino"
    LITERT = "litert"


#: File name of the exported network, by format.
NETWORK_FILES: Mapping[ExportFormat, str] = {
    ExportFormat.KERAS: "model.keras",
    ExportFormat.SAVED_MODEL: "saved_model.pb",
    ExportFormat.ONNX: "model.onnx",
    ExportFormat.OPENVINO: "model.xml",
    ExportFormat.LITERT: "model.tflite",
}

#: File name of an export's metadata: a separate file in folder formats, else an entry
#: of the file.
FACTS_FILE = "headstart.json"
#: File name of the tokenizer of an exported text network.
TOKENIZER_FILE = "tokenizer.json"


class Answers(StrEnum):
    """Conversion of scores to outputs.

    SOFTMAX: probabilities of classes of which one applies.
    SIGMOID: independent probabilities of classes.
    NONE: the scores are the predicted numbers.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"

    @property
    def output(self) -> str:
        """Name of the output in an exported network."""
        return "values" if self is Answers.NONE else "probabilities"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExportRequest:
    """A version as numbers.

    The head concatenates views, prepares each row, applies an optional hidden layer, and is calibrated:
    ``answers(slopes * (x @ weights + bias) + offsets)``.
    """

    form: ExportFormat
    digest: str  # backbone digest of the version
    views: tuple[str, ...]  # names of the concatenated views
    roots: bool  # whether the signed square root of each feature is taken
    lengths: bool  # whether each row is then scaled to Euclidean length 1
    hidden_weights: Float32  # [D, H]; empty without a hidden layer
    hidden_bias: Float32  # [H]
    weights: Float32  # [D, C] or [H, C]
    bias: Float32  # [C]
    slopes: Float32  # factors of scores, [C]
    offsets: Float32  # added to them, [C]
    answers: Answers  # conversion of scores to outputs
    tail: TailWeights | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # additional metadata, as JSON values

    @property
    def calibrated(self) -> tuple[Float32, Float32]:
        """Return weights and bias of the last layer with slopes and offsets applied, [D or H, C] and [C]."""
        slopes = self.slopes.astype(np.float64)
        bias = self.bias * slopes + self.offsets
        return (self.weights * slopes).astype(np.float32), bias.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the request into a folder."""
        parts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "tail"}
        # Without `allow_pickle`, because NumPy before 2.2 would store it in the file as another array.
        arrays: dict[str, Any] = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
        values = {name: part for name, part in parts.items() if name not in arrays}
        if self.tail is not None:
            arrays |= {_TENSOR + name: tensor for name, tensor in self.tail.tensors.items()}
        values["tail"] = self.tail.blocks if self.tail is not None else None
        np.savez(folder / f"{_FILE}.npz", **arrays)
        (folder / f"{_FILE}.json").write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ExportRequest":
        """Read the request from a folder."""
        values = json.loads((folder / f"{_FILE}.json").read_text(encoding="utf-8"))
        with np.load(folder / f"{_FILE}.npz") as file:
            arrays = {name: file[name] for name in file.files}
        tensors = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_TENSOR)}
        tail = None
        if values["tail"] is not None:
            own = {name.removeprefix(_TENSOR): tensor for name, tensor in tensors.items()}
            tail = TailWeights(blocks=values["tail"], tensors=own)
        values |= {
            "form": ExportFormat(values["form"]),
            "answers": Answers(values["answers"]),
            "views": tuple(values["views"]),
            "tail": tail,
        }
        return cls(**values, **arrays)
