"""What is trained when a tail is, and what comes of it, as values and as files between two processes."""

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.tail import Float32, TailWeights

Ints = NDArray[np.int64]

_REQUEST, _RESULT = "request", "result"
#: What a tensor of a result's tail is called in its file.
_TENSOR = "tail:"


class Loss(StrEnum):
    """What is made small.

    SOFTMAX: cross-entropy of one class of many.
    SIGMOID: cross-entropy of each class by itself, summed.
    SQUARED: squared error, summed over the outputs.
    """

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    SQUARED = "squared"


class TrainingStop(StrEnum):
    """Why training ended."""

    CONVERGED = "converged"
    STEPS = "steps"
    TIME = "time"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailRequest:
    """Train a tail and a linear head on it, once without each of K folds and once on all examples.

    The K + 1 networks go one epoch at a time, side by side: after each epoch every example has been judged by
    a network that did not see it, so when to stop, and what the network of all examples is worth, are known
    without training again.

    Attributes:
        blocks: number of last blocks.
        activations: a ``.npy`` file of activations at the tail's cut, [M, height, width, channels].
        rows: the row of the activations of each example, [N].
        beside: features that the head takes beside, and before, the tail's; [N, F], F may be 0.
        targets: what the C outputs shall be, [N, C]; probabilities for SOFTMAX and SIGMOID.
        weights: of each example, [N].
        loss: what is made small.
        folds: the fold of each example, 0 to K - 1, [N].
        heads: weights to begin with, the bias in the last row: [K + 1, F + D + 1, C]; head k did not see fold
            k, the last one saw all.
        learning_rate: Adam's, which rises to it over the first epoch and falls from it to the last.
        max_epochs: most epochs.
        patience: epochs without a better loss after which it ends.
        batch: examples of a step.
        seed: seeds the order of the examples.
        seconds: time after which the epoch under way is given up; None for no limit.
        memory_bytes: most bytes of the process that trains, if it is a process; None for no limit.
    """

    blocks: int
    activations: Path
    rows: Ints
    beside: Float32
    targets: Float32
    weights: Float32
    loss: Loss
    folds: Ints
    heads: Float32
    learning_rate: float
    max_epochs: int
    patience: int
    batch: int
    seed: int
    seconds: float | None = None
    memory_bytes: int | None = None

    def save(self, folder: Path) -> None:
        """Write it into a folder; the activations stay where they are."""
        values, arrays = _parted(self)
        values |= {"activations": str(self.activations)}
        _write(folder, _REQUEST, values, arrays)

    @classmethod
    def load(cls, folder: Path) -> "TailRequest":
        """What `save` wrote."""
        values, arrays = _read(folder, _REQUEST)
        values |= {"activations": Path(values["activations"]), "loss": Loss(values["loss"])}
        return cls(**values, **arrays)


@dataclass(frozen=True, kw_only=True, slots=True)
class TailEpoch:
    """How far training is.

    Attributes:
        number: epochs that are done; 0 before the first.
        loss: the mean loss of each example by a network that did not see it.
    """

    number: int
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TailResult:
    """A trained tail with its head.

    Attributes:
        epoch: the epoch of the lowest loss; 0 if training never lowered it, and then the tail is the
            backbone's.
        losses: the loss after each epoch, the first one before any.
        stop: why it ended.
        outputs: of each example by the network that did not see it, at that epoch, [N, C].
        head: weights and, in the last row, bias of the network that saw all, at that epoch, [F + D + 1, C].
        tail: the same network's tail.
    """

    epoch: int
    losses: tuple[float, ...]
    stop: TrainingStop
    outputs: Float32
    head: Float32
    tail: TailWeights

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        values, arrays = _parted(self)
        arrays |= {_TENSOR + name: tensor for name, tensor in self.tail.tensors.items()}
        _write(folder, _RESULT, {**values, "tail": self.tail.blocks}, arrays)

    @classmethod
    def load(cls, folder: Path) -> "TailResult":
        """What `save` wrote."""
        values, arrays = _read(folder, _RESULT)
        tensors = {name: arrays.pop(name) for name in list(arrays) if name.startswith(_TENSOR)}
        tail = TailWeights(
            blocks=values["tail"],
            tensors={name.removeprefix(_TENSOR): tensor for name, tensor in tensors.items()},
        )
        values |= {"losses": tuple(values["losses"]), "stop": TrainingStop(values["stop"]), "tail": tail}
        return cls(**values, **arrays)


def _parted(value: TailRequest | TailResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a value that are plain, and those that are arrays."""
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
