"""Converts the body for Headstart's OpenVINO runtime: ``python -m peers.convert_body BODY PATH``."""

import os
import sys

from headstart_server.backbones.backbone import LAST
from headstart_server.backbones.openvino_import import load_openvino
from peers.variants import SIDE


def main(body: str, path: str) -> None:
    """Write the body with its preprocessing inside: pictures as uint8 in, the view out."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    load_openvino()
    import keras

    pictures = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    rows = keras.layers.Rescaling(1 / 127.5, offset=-1)(pictures)
    features = keras.models.load_model(body, compile=False)(rows)
    keras.Model(pictures, {LAST: features}).export(path, format="openvino", verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
