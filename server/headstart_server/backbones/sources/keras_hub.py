"""Networks of KerasHub, which also loads those of Hugging Face and timm."""

from collections.abc import Mapping
from pathlib import Path

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.sources.files import folder_digest
from headstart_server.backbones.sources.hub_folder import HubFolder, folder_of_handle
from headstart_server.backbones.sources.hub_images import hub_images
from headstart_server.backbones.sources.hub_texts import hub_texts
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.source import Source, SourceError


class KerasHub:
    """``kerashub:PRESET``, ``hf:ORG/NAME``, ``timm:NAME``, or with any of them the path of a local folder.

    The content of the folder determines its format, so any scheme may declare a folder of Hugging Face.
    """

    options = IMAGE_OPTIONS | {"modality", "max_tokens"}
    in_keras = True

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    def modality(self, declaration: Declaration) -> Modality:
        if declaration.modality:
            return Modality(declaration.modality)
        folder = Path(declaration.location)
        if not folder.is_absolute():
            return Modality.IMAGE
        try:
            return HubFolder.read(folder).modality
        except SourceError:  # raised again when it is opened
            return Modality.IMAGE

    def info(self, declaration: Declaration) -> None: ...

    def fetch(self, declaration: Declaration, cache: Path) -> str:  # noqa: ARG002 - downloads come as it opens
        folder = Path(declaration.location)
        return folder_digest(folder) if folder.is_absolute() else self._handle(declaration)

    def open(self, declaration: Declaration, cache: Path) -> Network:
        path = Path(declaration.location)
        if not path.is_absolute():
            path = folder_of_handle(self._handle(declaration), cache)
        folder = HubFolder.read(path)
        modality = Modality(declaration.modality) if declaration.modality else folder.modality
        return (hub_texts if modality is Modality.TEXT else hub_images)(folder, declaration)

    def _handle(self, declaration: Declaration) -> str:
        location = declaration.location
        kaggle = not self._prefix and location.count("/") >= 3 and "://" not in location
        return f"kaggle://{location}" if kaggle else self._prefix + location


#: Sources by scheme.
KERAS_HUB: Mapping[str, Source] = {
    "kerashub": KerasHub(),
    "hf": KerasHub("hf://"),
    "timm": KerasHub("hf://timm/"),
}
