"""PyTorch weight files of known architectures, read without PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.sources.files import known_digest, local_file
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.keras_images import image_network
from headstart_server.backbones.sources.pytorch.checkpoint import (
    CheckpointError,
    read_checkpoint,
)
from headstart_server.backbones.sources.pytorch.layers import TorchLayers
from headstart_server.backbones.sources.pytorch.resnet import RESNETS, MobileNetV2
from headstart_server.backbones.sources.source import SourceError, check_pin

#: Torchvision's preprocessing of pixels 0 to 1; part of the digest through `_FORM`.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE = 224
#: Changes whenever the networks or their preprocessing compute other values.
_FORM = "torch-weights/1"


class _Architecture(Protocol):
    """A network for the weights of a state dict."""

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of unused tensors of the classifier."""

    def build(self, layers: TorchLayers, size: int) -> Any:
        """Return a Keras model from preprocessed images to maps."""


#: Architectures by torchvision's names.
_ARCHITECTURES: Mapping[str, _Architecture] = {**RESNETS, "mobilenet_v2": MobileNetV2()}


class TorchWeights:
    """``torch-weights:PATH_OR_URL``, a ``.pth`` or ``.safetensors`` file of a state dict.

    Its architecture names the network; names of tensors are torchvision's, and so is the default
    preprocessing.
    """

    options = IMAGE_OPTIONS | {"architecture"}
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None:
        _architecture(declaration)

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        return check_pin(declaration, known_digest(local_file(declaration, cache)))

    def open(self, declaration: Declaration, cache: Path) -> Network:
        architecture = _architecture(declaration)
        path = local_file(declaration, cache)
        state, digest = _state(path)
        layers, size = TorchLayers(state), declaration.size or _SIZE
        body = architecture.build(layers, size)
        try:
            layers.check(architecture.classifier)
        except SourceError as error:
            raise SourceError(f"{path.name} is not of {declaration.architecture}: {error}") from error
        return image_network(
            body,
            declaration,
            architecture=f"{_FORM} {declaration.architecture}",
            weights=digest,
            size=size,
            preprocess=_preprocess,
            description=f"{declaration.architecture} in torchvision's form.",
        )


def _architecture(declaration: Declaration) -> _Architecture:
    name, known = declaration.architecture, ", ".join(_ARCHITECTURES)
    if name is None:
        raise SourceError(f"The setting architecture is missing. Choose one of {known}.")
    if name not in _ARCHITECTURES:
        raise SourceError(f"Expected the setting architecture, one of {known}. Received: {name!r}.")
    return _ARCHITECTURES[name]


def _state(path: Path) -> tuple[Mapping[str, NDArray[np.generic]], str]:
    """Return the tensors of a file, and its digest."""
    if path.suffix != ".safetensors":
        try:
            checkpoint = read_checkpoint(path)
        except (OSError, CheckpointError) as error:
            raise SourceError(str(error)) from error
        return checkpoint.tensors, checkpoint.digest
    from safetensors.numpy import load_file  # noqa: PLC0415 - for such files only

    try:
        return load_file(path), known_digest(path)
    except Exception as error:  # one class for damaged files, others for types that NumPy lacks
        raise SourceError(
            f"Expected a file of safetensors. Received: {path.name}, {type(error).__name__}: {error}."
        ) from error


def _preprocess(pixels: Any) -> Any:
    return (pixels * (1 / 255) - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
