"""A Headstart server whose one backbone is a Keras file: ``python -m peers.serve_headstart --help``."""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from headstart_server.backbones.image_backbone import ImageBackbone

from headstart_server.app import serve
from headstart_server.backbones import pictures
from headstart_server.backbones.backbone import LAST, Backbone, BackboneInfo, Modality
from headstart_server.backbones.openvino_runtime import openvino_runtime
from headstart_server.backbones.pictures import PictureDecoder
from headstart_server.backbones.runtimes import RuntimeKind, RuntimeSettings
from headstart_server.config import Config
from peers.variants import FEATURES, PARAMETERS, SIDE

BACKBONE = "mobilenet-v2"


class BodySource:
    """Gives one backbone: the body that the peers' networks have, on OpenVINO as the catalogue's are.

    Args:
        body: its Keras file.
        cache: folder of converted networks.
    """

    def __init__(self, body: Path, cache: Path) -> None:
        self._body = body
        self._settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=cache).settled()
        self._info = BackboneInfo(
            name=BACKBONE,
            modality=Modality.IMAGE,
            views={LAST: FEATURES},
            input_size=(SIDE, SIDE),
            parameter_count=PARAMETERS,
            source="random weights",
            license="Apache-2.0",
            description="MobileNetV2 with random weights, for measuring.",
        )

    def list(self) -> Sequence[BackboneInfo]:
        """The facts about the one backbone."""
        return [self._info]

    def info(self, name: str) -> BackboneInfo:
        """The facts about it."""
        return self._info

    def load(self, name: str) -> Backbone:
        """Load it; convert it first if it is not in the cache."""
        content = self._body.read_bytes() + pictures.PREPROCESSING.encode()
        digest = hashlib.sha256(content).hexdigest()
        backbone = ImageBackbone(
            self._info,
            digest=digest,
            pictures=PictureDecoder(SIDE),
            runtime=openvino_runtime(self._settings, digest, ["-m", "peers.convert_body", str(self._body)]),
            train=_no_tail,
        )
        # Warm, as the catalogue's are. It must be one thread that makes the first tensor: OpenVINO's binding
        # sets itself up then, and two threads at once can wait for each other for ever.
        backbone.run(np.zeros((1, SIDE, SIDE, 3), np.uint8))
        return backbone


def _no_tail(*_: object) -> NoReturn:
    raise ValueError("Expected no training of tails: this backbone has none.")


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--body", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    config = Config(
        port=arguments.port, metrics_port=None, data=arguments.data, backbone=BACKBONE, log_format="json"
    )
    serve(config, BodySource(arguments.body, arguments.cache))


if __name__ == "__main__":
    main()
