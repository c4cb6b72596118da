"""Converts a backbone to OpenVINO: ``python -m headstart_server.backbones.convert NAME PATH``."""

import os
import sys

from headstart_server.backbones.catalog import Catalog
from headstart_server.backbones.openvino_import import load_openvino


def main(name: str, path: str) -> None:
    """Write the network of a backbone to an ``.xml`` file, with its weights in a ``.bin`` beside it."""
    # Keras exports to OpenVINO from TensorFlow only; it is imported below, and reads this then.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    load_openvino()
    Catalog().network(name).export(path, format="openvino", verbose=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
