"""Keras models as OpenVINO runs them."""

import tempfile
from pathlib import Path
from typing import Any

from headstart_server.backbones.runtimes.openvino_import import load_openvino


def convert(model: Any, path: Path) -> None:
    """Convert a Keras model to OpenVINO's file format, in float32.

    It goes through a SavedModel, as in the server: Keras' own export to OpenVINO fails on Python 3.13.
    """
    openvino = load_openvino()
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, format="tf_saved_model", verbose=False)
        openvino.save_model(openvino.convert_model(folder), path, compress_to_fp16=False)
