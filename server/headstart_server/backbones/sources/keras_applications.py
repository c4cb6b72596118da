"""Networks of Keras Applications, with ImageNet weights or others."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.sources.files import file_at, known_digest
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.keras_images import image_network, weights_digest
from headstart_server.backbones.sources.source import SourceError, check_pin


@dataclass(frozen=True, slots=True)
class _Facts:
    """A network's module with its `preprocess_input`, and its training size."""

    module: str
    size: int = 224


#: Every network of Keras Applications.
NETWORKS: Mapping[str, _Facts] = {
    **{f"ConvNeXt{size}": _Facts("convnext") for size in ("Tiny", "Small", "Base", "Large", "XLarge")},
    **{f"DenseNet{layers}": _Facts("densenet") for layers in (121, 169, 201)},
    **{
        f"EfficientNetB{number}": _Facts("efficientnet", size)
        for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
    **{
        f"EfficientNetV2{kind}": _Facts("efficientnet_v2", size)
        for kind, size in {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "S": 384, "M": 480, "L": 480}.items()
    },
    "InceptionResNetV2": _Facts("inception_resnet_v2", 299),
    "InceptionV3": _Facts("inception_v3", 299),
    "MobileNet": _Facts("mobilenet"),
    "MobileNetV2": _Facts("mobilenet_v2"),
    "MobileNetV3Large": _Facts("mobilenet_v3"),
    "MobileNetV3Small": _Facts("mobilenet_v3"),
    "NASNetLarge": _Facts("nasnet", 331),
    "NASNetMobile": _Facts("nasnet"),
    **{f"ResNet{layers}": _Facts("resnet") for layers in (50, 101, 152)},
    **{f"ResNet{layers}V2": _Facts("resnet_v2") for layers in (50, 101, 152)},
    "VGG16": _Facts("vgg16"),
    "VGG19": _Facts("vgg19"),
    "Xception": _Facts("xception", 299),
}


class KerasApplications:
    """``keras:NAME``, such as ``keras:MobileNetV3Large``.

    Its weights are those for ImageNet, which Keras downloads once and verifies, or those of a declared file.
    """

    options = IMAGE_OPTIONS | {"weights"}
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None:
        _facts(declaration)

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        if not declaration.weights:
            return "imagenet"
        return check_pin(declaration, known_digest(_weights(declaration, cache)))

    def open(self, declaration: Declaration, cache: Path) -> Network:
        facts, name = _facts(declaration), declaration.location
        applications = load_keras().applications
        module = importlib.import_module(f"keras.applications.{facts.module}")
        path = _weights(declaration, cache) if declaration.weights else None
        size = declaration.size or facts.size
        try:
            body = getattr(applications, name)(
                include_top=False, weights=str(path) if path else "imagenet", input_shape=(size, size, 3)
            )
        except Exception as error:  # of downloads, HDF5 and shapes, nearly any
            raise SourceError(
                f"Expected weights for {name} from {path or 'the place that Keras knows'}. "
                f"Received: {type(error).__name__}: {error}"
            ) from error
        return image_network(
            body,
            declaration,
            architecture=f"keras.applications.{name}",
            weights=known_digest(path) if path else weights_digest(body),
            size=size,
            preprocess=module.preprocess_input,
            license="" if path else "Apache-2.0",
            description=f"{name} of Keras Applications" + ("." if path else ", trained on ImageNet."),
        )


def _facts(declaration: Declaration) -> _Facts:
    try:
        return NETWORKS[declaration.location]
    except KeyError:
        raise SourceError(
            f"Expected a network of Keras Applications: {', '.join(sorted(NETWORKS))}. "
            f"Received: {declaration.location!r}."
        ) from None


def _weights(declaration: Declaration, cache: Path) -> Path:
    return file_at(declaration.weights or "", declaration.digest, cache)
