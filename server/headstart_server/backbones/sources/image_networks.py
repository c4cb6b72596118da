"""The options of every source of image networks, and the network around a model."""

from typing import Any

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Images

#: Image settings that every source supports.
IMAGE_OPTIONS = frozenset({"size", "crop", "scale", "mean", "std", "channels", "pooling", "layer"})


def declared_network(
    model: Any,
    declaration: Declaration,
    decoding: Images,
    *,
    width: int,
    parameter_count: int,
    architecture: list[Any],
    weights: str,
    license: str = "",
    description: str = "",
) -> Network:
    """Return the network of a model from square images to one view.

    Args:
        architecture: identifies the model in the digest.
        weights: SHA-256 of its weights in hexadecimal.
        license: default license of the weights.
        description: default description.
    """
    return Network(
        info=BackboneInfo(
            name=declaration.name,
            modality=Modality.IMAGE,
            views={LAST: width},
            input_size=(decoding.size, decoding.size),
            parameter_count=parameter_count,
            source=declaration.source,
            license=declaration.license or license,
            description=declaration.description or description,
        ),
        model=model,
        decoding=decoding,
        weights=weights,
        identity={
            "architecture": architecture,
            "declared": {name: value for name, value in declaration.given().items() if name in IMAGE_OPTIONS},
            "size": decoding.size,
            "preprocessing": decoding.preprocessing,
        },
    )
