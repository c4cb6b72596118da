"""Golden features: the proof that a loaded backbone computes the expected features.

A wrong channel order, scale or crop raises no error; it only costs accuracy.
"""

import json
from collections.abc import Mapping
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart_server.backbones.contract.backbone import Content, Modality, Views
from headstart_server.backbones.contract.runtimes import Precision
from headstart_server.errors import BackboneUnavailable

#: Summaries of the features of one synthetic input, by view.
Golden = Mapping[str, Mapping[str, ArrayLike]]

#: Largest error of a golden feature, relative to the largest of its view, for each precision.
_TOLERANCES = {Precision.FLOAT32: 1e-3, Precision.BFLOAT16: 8e-2, Precision.INT8: 8e-2}

#: Number of means per view.
_GOLDEN_VALUES = 16


class GoldenMismatch(BackboneUnavailable):
    """A loaded backbone computes unexpected features."""


def golden_content(modality: Modality, size: int) -> Content:
    """Return the synthetic input of a modality; `size` applies to tensors."""
    if modality is Modality.IMAGE:
        return golden_image()
    if modality is Modality.TEXT:
        return golden_text()
    return np.cos(np.arange(size, dtype=np.float32))


def golden_image() -> NDArray[np.uint8]:
    """Return a synthetic image, uint8 [300, 400, 3], that differs under any flip, crop or channel order."""
    y, x = np.mgrid[0:300, 0:400]
    red = 255 * x / 399
    green = 127.5 + 127.5 * np.sin(x * y / 2500)
    blue = np.where((x // 40 + y // 30) % 3 == 0, 220, 255 * (y / 299) ** 2)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def stored_golden(name: str) -> Golden:
    """Return the golden features of a built-in backbone, from its original network."""
    text = resources.files(__package__).joinpath("golden.json").read_text(encoding="utf-8")
    golden: Mapping[str, Golden] = json.loads(text)
    return golden[name]


def golden_text() -> str:
    """Return a synthetic text with capitals, accents, digits, signs and words outside any vocabulary."""
    return "Ünïcode words, 42 numbers & pseudo-antidisestablishmentarianism: do they pass as they should?"


def golden_of(views: Views) -> Golden:
    """Return the golden features of the views of one input, [1, size] each."""
    return {name: summarise(features[0]) for name, features in views.items()}


def summarise(features: NDArray[np.float32]) -> dict[str, ArrayLike]:
    """Summarize one row of features: its norm, and the means of 16 equal stretches."""
    exact = features.astype(np.float64)
    stretches = np.array_split(exact, min(_GOLDEN_VALUES, len(exact)))
    return {"norm": float(np.linalg.norm(exact)), "values": [float(one.mean()) for one in stretches]}


def check_golden(name: str, views: Views, golden: Golden, precision: Precision) -> None:
    """Compare the features of the synthetic input, [1, size] per view, with the golden ones."""
    tolerance = tolerance_of(precision)
    for view, error in golden_errors(views, golden).items():
        if not error <= tolerance:  # a NaN fails too
            raise GoldenMismatch(
                f"Expected {name} to give the golden features of view {view!r} within {tolerance:g}. "
                f"Received: a relative error of {error:.2g}. The preprocessing, the weights or the runtime "
                "differ from those that prepared this backbone.",
                metadata={"backbone": name},
            )


def tolerance_of(precision: Precision) -> float:
    """Return the largest error of a golden feature in a precision, relative to the largest of its view."""
    return _TOLERANCES[precision]


def golden_errors(views: Views, golden: Golden) -> dict[str, float]:
    """Return the largest relative error of each view, [1, size], of the synthetic input."""
    errors = {}
    for view, expected in golden.items():
        received = summarise(views[view][0])
        size = len(views[view][0])
        # Features of both signs may average to nearly zero; then their norm is the reference.
        least = {"norm": 0.0, "values": float(np.asarray(expected["norm"])) / np.sqrt(size)}
        errors[view] = float(
            max(_relative_error(received[fact], expected[fact], least[fact]) for fact in expected)
        )
    return errors


def _relative_error(received: ArrayLike, expected: ArrayLike, least: float) -> float:
    """Return the largest difference, relative to the largest expected value."""
    size = max(float(np.max(np.abs(expected))), least)
    return float(np.max(np.abs(np.subtract(received, expected)))) / size if size else 0.0
