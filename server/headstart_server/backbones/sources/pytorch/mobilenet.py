"""MobileNetV2 as a Keras model, with its weights from a state dict in torchvision's names.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), table 2.
"""

from dataclasses import dataclass
from typing import Any

from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.pytorch.layers import TorchLayers

#: (expansion, channels, repeats, stride) of each stage.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM, _HEAD = 32, 1280


@dataclass(frozen=True, slots=True)
class MobileNetV2:
    """MobileNetV2 at its default width."""

    #: Unused tensors of the classifier in a state dict.
    classifier = ("classifier.1.weight", "classifier.1.bias")

    def build(self, layers: TorchLayers, size: int) -> Any:
        """Return a Keras model from preprocessed images [n, size, size, 3] to maps [n, h, w, 1280]."""
        keras = load_keras()
        images = keras.Input((size, size, 3))
        x = _convolution(layers, images, "features.0", filters=_STEM, kernel=3, stride=2)
        number = 1
        for expansion, channels, repeats, first_stride in _STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                x = _block(
                    layers, x, f"features.{number}", expansion=expansion, channels=channels, stride=stride
                )
                number += 1
        return keras.Model(images, _convolution(layers, x, f"features.{number}", filters=_HEAD))


def _block(layers: TorchLayers, x: Any, name: str, *, expansion: int, channels: int, stride: int) -> Any:
    inner, y, place = f"{name}.conv", x, 0
    if expansion != 1:
        y = _convolution(layers, y, f"{inner}.0", filters=x.shape[-1] * expansion)
        place = 1
    y = layers.depthwise(y, f"{inner}.{place}.0", f"{inner}.{place}.1", kernel=3, stride=stride)
    adds = stride == 1 and x.shape[-1] == channels
    y = layers.convolution(
        layers.relu6(y),
        f"{inner}.{place + 1}",
        f"{inner}.{place + 2}",
        filters=channels,
        kernel=1,
        called=None if adds else name,
    )
    return layers.sum(y, x, name) if adds else y


def _convolution(
    layers: TorchLayers, x: Any, name: str, *, filters: int, kernel: int = 1, stride: int = 1
) -> Any:
    y = layers.convolution(x, f"{name}.0", f"{name}.1", filters=filters, kernel=kernel, stride=stride)
    return layers.relu6(y, name)
