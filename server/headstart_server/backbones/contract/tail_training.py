"""Training request and result of a tail, as values and as files between two processes."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.tail import Float32, TailWeights

Ints = NDArray[np.int64]

_REQUEST, _RESULT = "request", "result"
#: Prefix of the tail's tensors in a result's file.
_TENSOR = "tail:"


class Loss(StrEnum):
    """Loss functions.

    SOFTMAX: cross-entropy of one class of many.
    SIGMOID: cross-entropy of independent classes, summed.
    SQUARED: squared error, summed over the outputs.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    SQUARED = "squared"


class TrainingStop(StrEnum):
    """Reason of the end of a training."""

    CONVERGED = "converged"
    STEPS = "steps"
    TIME = "time"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailRequest:
    """Request to train a tail and a linear head, once without each of K folds and once on all examples.

    The K + 1 networks advance one epoch at a time in parallel. After each epoch, every example has an output
    of a network that was trained without it. So early stopping, and the estimate of the full network's
    quality, need no second training.
    """

    blocks: int  # number of last blocks
    activations: Path  # ``.npy`` file of activations at the tail's cut, [M, height, width, channels]
    rows: Ints  # row of the activations of each example, [N]
    fixed_features: Float32  # features of the head before the tail's features; [N, F], F may be 0
    targets: Float32  # target outputs, [N, C]; probabilities for SOFTMAX and SIGMOID
    weights: Float32  # weight of each example, [N]
    loss: Loss
    folds: Ints  # fold of each example, 0 to K - 1, [N]
    # initial weights, with the bias in the last row: [K + 1, F + D + 1, C]; head k was trained without fold
    # k, and the last head on all examples
    heads: Float32
    learning_rate: float  # Adam's peak rate, after the first epoch; it falls until the last
    max_epochs: int
    patience: int  # epochs without a better loss after which training stops
    batch: int  # examples of a step
    seed: int  # seeds the order of the examples
    seconds: float | None = None  # time limit, which abandons the current epoch; None for no limit
    memory_bytes: int | None = None  # memory limit of the training process; None for no limit

    def save(self, folder: Path) -> None:
        """Write the request into a folder, without a copy of the activations."""
        values, arrays = _parted(self)
        values |= {"activations": str(self.activations)}
        _write(folder, _REQUEST, values, arrays)

    @classmethod
    def load(cls, folder: Path) -> "TailRequest":
        """Read the request from a folder."""
        values, arrays = _read(folder, _REQUEST)
        values |= {"activations": Path(values["activations"]), "loss": Loss(values["loss"])}
        return cls(**values, **arrays)


@dataclass(frozen=True, kw_only=True, slots=True)
class TailEpoch:
    """Training progress: epochs done, 0 before the first, and the mean out-of-fold loss of an example."""

    number: int
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailResult:
    """A trained tail with its head."""

    epoch: int  # epoch of the lowest loss; 0 if no epoch lowered it, so the tail is the backbone's
    losses: tuple[float, ...]  # loss after each epoch, beginning with the initial one
    stop: TrainingStop
    outputs: Float32  # out-of-fold outputs of each example at that epoch, [N, C]
    head: Float32  # weights and, in the last row, bias of the full network at that epoch, [F + D + 1, C]
    tail: TailWeights

    def save(self, folder: Path) -> None:
        """Write the result into a folder."""
        values, arrays = _parted(self)
        arrays |= {_TENSOR + name: tensor for name, tensor in self.tail.tensors.items()}
        _write(folder, _RESULT, {**values, "tail": self.tail.blocks}, arrays)

    @classmethod
    def load(cls, folder: Path) -> "TailResult":
        """Read the result from a folder."""
        values, arrays = _read(folder, _RESULT)
        tensors = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_TENSOR)}
        tail = TailWeights(
            blocks=values["tail"],
            tensors={name.removeprefix(_TENSOR): tensor for name, tensor in tensors.items()},
        )
        values |= {"losses": tuple(values["losses"]), "stop": TrainingStop(values["stop"]), "tail": tail}
        return cls(**values, **arrays)


def _parted(value: TailRequest | TailResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plain fields of a value, and those that are arrays."""
    parts = {field.name: getattr(value, field.name) for field in fields(value)}
    arrays = {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}
    return {name: part for name, part in parts.items() if name not in arrays}, arrays


def _write(folder: Path, name: str, values: dict[str, Any], arrays: dict[str, Any]) -> None:
    np.savez(folder / f"{name}.npz", **arrays)
    (folder / f"{name}.json").write_text(json.dumps(values))


def _read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return json.loads((folder / f"{name}.json").read_text()), arrays
