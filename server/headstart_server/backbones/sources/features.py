"""Features that callers computed themselves: no network."""

from pathlib import Path

from headstart_server.backbones.contract import vectors
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.preprocessing.decoding import Vectors
from headstart_server.backbones.sources.source import SourceError


class Features:
    """``features:SIZE``; every size exists without a declaration."""

    options: frozenset[str] = frozenset()
    in_keras = False

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.TENSOR

    def info(self, declaration: Declaration) -> BackboneInfo:
        return vectors.info(declaration.name, _size(declaration))

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - there is nothing
        return declaration.location

    def open(self, declaration: Declaration, cache: Path) -> Network:  # noqa: ARG002 - there is nothing
        size = _size(declaration)
        decoding = Vectors(size=size)
        return Network(
            info=self.info(declaration),
            model=None,
            decoding=decoding,
            weights="",
            identity={"size": size, "preprocessing": decoding.preprocessing},
        )


def _size(declaration: Declaration) -> int:
    size = vectors.size_of(declaration.source)
    if size is None:
        raise SourceError(
            f"Expected features:SIZE, 1 to {vectors.MAX_SIZE:,}. Received: {declaration.source}."
        )
    return size
