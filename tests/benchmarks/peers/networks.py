"""Builds what every server of the comparison serves: ``python -m peers.networks FOLDER VARIANTS``.

No weights can be fetched where this runs, so they are random: MobileNetV2 costs the same with any. Its batch
normalization is calibrated on photographs, because with random weights and no calibration the activations
fade to nothing within a few blocks, and a network that gives zeros proves nothing about who serves it right.
"""

import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conversion import convert
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from peers.variants import CLASSES, SIDE, body_path, expected_path, names
from sample_images import photographs

SEED = 0
#: Images that the normalization is calibrated on.
CALIBRATION = 16
#: Standard deviation of the logits: probabilities differ from class to class, and from variant to variant.
SPREAD = 1.0


def main(folder: str, variants: str) -> None:
    """Write the body, a whole network for each variant in both formats, and what each has to answer."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    load_openvino()
    rows = np.stack([_row(file) for file in photographs(CALIBRATION)])
    body = _body(rows)
    body.save(body_path(Path(folder)))
    features = body.predict_on_batch(rows)
    scale = SPREAD / np.linalg.norm(features, axis=-1).mean()
    network = _with_head(body)
    converted = quantized = None
    expected = {}
    for number, name in enumerate(names(int(variants))):
        kernel = scale * np.random.default_rng(number).normal(size=(features.shape[1], CLASSES))
        network.get_layer("head").set_weights([np.float32(kernel), np.zeros(CLASSES, np.float32)])
        network.save(Path(folder) / f"{name}.keras")
        converted = converted or _converted(network, Path(folder))
        quantized = quantized or _quantized(converted, rows)
        _save_converted(converted, np.float32(kernel), Path(folder) / f"{name}.xml")
        if quantized is not None:
            _save_converted(quantized, np.float32(kernel), Path(folder) / f"{name}.int8.xml")
        expected[name] = network.predict_on_batch(rows[:1])[0].tolist()
    expected_path(Path(folder)).write_text(json.dumps(expected))


def _body(rows: np.ndarray) -> Any:
    import keras

    keras.utils.set_random_seed(SEED)
    body = keras.applications.MobileNetV2(
        weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg", include_top=False
    )
    normalizations = [layer for layer in body.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    body(rows, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    body.trainable = False
    return body


def _with_head(body: Any) -> Any:
    import keras

    head = keras.layers.Dense(CLASSES, activation="softmax", name="head")
    return keras.Model(body.input, head(body.output))


def _converted(network: Any, folder: Path) -> Any:
    """Return the network as OpenVINO runs it, in memory."""
    path = folder / "exported.xml"
    convert(network, path)
    return load_openvino().Core().read_model(path)


def _quantized(converted: Any, rows: np.ndarray) -> Any:
    """Return the network in 8 bits except for its head, as a person would do it; None without NNCF."""
    if importlib.util.find_spec("nncf") is None:
        return None
    os.environ["NNCF_CI"] = "1"  # It would report each use to its maker.
    import nncf

    return nncf.quantize(
        converted.clone(),
        nncf.Dataset([row[None] for row in rows]),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(types=["MatMul"]),
        subset_size=len(rows),
    )


def _save_converted(converted: Any, kernel: np.ndarray, path: Path) -> None:
    """Write an exported network with another head: exporting each takes seconds, and gives the same graph."""
    openvino = load_openvino()
    transposed = np.ascontiguousarray(kernel.T)
    (head,) = [
        node
        for node in converted.get_ops()
        if node.get_type_name() == "Constant" and tuple(node.get_output_shape(0)) == transposed.shape
    ]
    head.output(0).replace(openvino.opset15.constant(transposed).output(0))
    openvino.save_model(converted, path, compress_to_fp16=False)


def _row(file: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert("RGB").resize((SIDE, SIDE))
    return np.asarray(image, np.float32) / 127.5 - 1


if __name__ == "__main__":
    main(*sys.argv[1:])
