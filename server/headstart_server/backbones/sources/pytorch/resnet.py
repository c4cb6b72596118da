"""Torchvision's architectures as Keras networks."""

from collections.abc import Mapping
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


_CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class ResNet:
    """A member of the family."""

    repeats: tuple[int, int, int, int]  # blocks of each stage
    bottleneck: bool  # whether blocks have three convolutions, the outer ones of 1 x 1, or two of 3 x 3
    width: int = 1  # multiplier of the channels inside a bottleneck

    #: Unused tensors of the classifier in a state dict.
    classifier = ("fc.weight", "fc.bias")

    def build(self, layers: TorchLayers, size: int) -> Any:
        """Return a Keras model from preprocessed images [n, size, size, 3] to maps [n, h, w, channels]."""
        keras = load_keras()
        images = keras.Input((size, size, 3))
        x = layers.relu(layers.convolution(images, "conv1", "bn1", filters=64, kernel=7, stride=2), "relu")
        x = layers.max_pooling(x)
        for stage, (channels, repeats) in enumerate(zip(_CHANNELS, self.repeats, strict=True), 1):
            for block in range(repeats):
                stride = 2 if stage > 1 and block == 0 else 1
                x = self._block(layers, x, f"layer{stage}.{block}", channels, stride)
        return keras.Model(images, x)

    def _block(self, layers: TorchLayers, x: Any, name: str, channels: int, stride: int) -> Any:
        filters = channels * 4 if self.bottleneck else channels
        plan = [(channels, 3, stride), (channels, 3, 1)]
        if self.bottleneck:
            inner = channels * self.width
            plan = [(inner, 1, 1), (inner, 3, stride), (filters, 1, 1)]
        y = x
        for place, (count, kernel, step) in enumerate(plan, 1):
            y = layers.convolution(
                y, f"{name}.conv{place}", f"{name}.bn{place}", filters=count, kernel=kernel, stride=step
            )
            if place < len(plan):
                y = layers.relu(y)
        if stride != 1 or x.shape[-1] != filters:
            part = f"{name}.downsample"
            x = layers.convolution(x, f"{part}.0", f"{part}.1", filters=filters, kernel=1, stride=stride)
        return layers.relu(layers.sum(y, x), name)


RESNETS: Mapping[str, ResNet] = {
    "resnet18": ResNet((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNet((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNet((3, 4, 23, 3), bottleneck=True),
    "resnet152": ResNet((3, 8, 36, 3), bottleneck=True),
    "wide_resnet50_2": ResNet((3, 4, 6, 3), bottleneck=True, width=2),
    "wide_resnet101_2": ResNet((3, 4, 23, 3), bottleneck=True, width=2),
}
