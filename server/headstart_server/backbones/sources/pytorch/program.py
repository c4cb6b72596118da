"""Exported programs of PyTorch, which only the preparing process imports."""

import warnings
from pathlib import Path
from typing import Any

from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.sources.files import known_digest, local_file
from headstart_server.backbones.sources.image_networks import IMAGE_OPTIONS
from headstart_server.backbones.sources.openvino_images import image_network
from headstart_server.backbones.sources.openvino_reading import reason_of
from headstart_server.backbones.sources.pytorch.archive import sanitize
from headstart_server.backbones.sources.source import SourceError, check_pin


class TorchProgram:
    """``torch:PATH_OR_URL``, a ``.pt2`` file of `torch.export.save` of a network of images."""

    options = IMAGE_OPTIONS
    in_keras = False

    def modality(self, declaration: Declaration) -> Modality:  # noqa: ARG002 - is the same for all
        return Modality.IMAGE

    def info(self, declaration: Declaration) -> None: ...

    def fetch(self, declaration: Declaration, cache: Path) -> str:
        return check_pin(declaration, known_digest(local_file(declaration, cache)))

    def open(self, declaration: Declaration, cache: Path) -> Network:
        path = local_file(declaration, cache)
        weights = known_digest(path)
        return image_network(
            _converted(path), declaration, architecture="torch exported program", weights=weights
        )


def _converted(path: Path) -> Any:
    if path.suffix in {".pth", ".safetensors"}:
        raise SourceError(
            f"Expected an exported program, .pt2. Received: {path.name}. Declare a file of weights as "
            "torch-weights:PATH with its architecture."
        )
    file, shape = sanitize(path)
    torch = _load_torch()
    openvino = load_openvino()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of its use of deprecated functions
            model = openvino.convert_model(torch.export.load(file))
        # The conversion drops sizes.
        model.reshape(openvino.PartialShape([-1 if size is None else size for size in shape]))
    except Exception as error:  # its class depends on the stage that failed
        raise SourceError(f"{path.name} cannot be converted to OpenVINO: {reason_of(error)}") from error
    return model


def _load_torch() -> Any:
    try:
        import torch  # noqa: PLC0415 - in the preparing process only
    except ImportError as error:
        raise SourceError(
            "PyTorch, which reads exported programs, is missing. Install it with: "
            f"pip install 'headstart[torch]' ({error})"
        ) from error
    return torch
