"""ResNet as a Keras model, with its weights from a state dict in torchvision's names.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), with the stride of a bottleneck on its
3 x 3 convolution; Zagoruyko & Komodakis, "Wide Residual Networks" (BMVC 2016).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.pytorch.layers import TorchLayers

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
