"""A version as one Keras model, and the formats that Keras writes."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.networks.network import Network
from headstart_server.backbones.runtimes.keras_import import load_keras
from headstart_server.backbones.runtimes.keras_tail import put, tail_model
from headstart_server.backbones.worker.export_request import (
    FACTS_FILE,
    NETWORK_FILES,
    Answers,
    ExportFormat,
    ExportRequest,
)


def keras_version(network: Network, request: ExportRequest, name: str) -> Any:
    """Return a Keras model from rows of a backbone's input to a version's outputs, {name: [n, C]}.

    It has only layers and operations of Keras, or of KerasHub, so that it loads with `safe_mode` and without
    Headstart. Raise TailMismatch if the tail does not belong to this backbone.
    """
    keras = load_keras()
    rows, views = _views(network, request, name)
    x = _prepared(views, request)
    if request.hidden_weights.size:
        x = _dense(x, "hidden", request.hidden_weights, request.hidden_bias, activation="relu")
    x = _dense(x, "scores", *request.calibrated)
    activation = {Answers.SOFTMAX: "softmax", Answers.SIGMOID: "sigmoid", Answers.NONE: "linear"}
    output = request.answers.output
    answers = keras.layers.Activation(activation[request.answers], name=output)(x)
    model = keras.Model(rows, {output: answers}, name="headstart")
    # Keras exports only models that were called; sixteen is an example for rows of any length.
    model(np.zeros([1, *(size or 16 for size in rows.shape[1:])], rows.dtype))
    return model


def write_keras(model: Any, form: ExportFormat, facts: Mapping[str, Any], folder: Path) -> None:
    """Write a Keras model in a format, with its metadata, into an empty folder.

    Raise ImportError if a package is missing, and ValueError if Keras cannot write or load back a layer.
    """
    path = folder / NETWORK_FILES[form]
    if form is ExportFormat.KERAS:
        model.save(path)
        _check_loads(path)
        _add_entry(path, facts)
    elif form is ExportFormat.SAVED_MODEL:
        model.export(str(folder), format="tf_saved_model", verbose=False)
    elif form is ExportFormat.ONNX:
        from headstart_server.backbones.worker.onnx_export import write_onnx  # noqa: PLC0415 - an extra

        write_onnx(model, facts, path)
    else:
        model.export(str(path), format="litert", verbose=False)
        _add_entry(path, facts)


def _check_loads(path: Path) -> None:
    """Load the written model, because some layers of other libraries save arguments that they reject."""
    try:
        load_keras().models.load_model(path, safe_mode=True)
    except Exception as error:  # layers raise any class
        # The reason is in the last line, after all configurations.
        raise ValueError(
            f"Expected layers that Keras loads again. Received: {str(error).strip()[-300:]}"
        ) from error


def _views(network: Network, request: ExportRequest, name: str) -> tuple[Any, Mapping[str, Any]]:
    keras, model = load_keras(), network.model
    if model is None:
        (size,) = network.info.views.values()
        rows = keras.Input((size,), dtype="float32", name=name)
        return rows, {LAST: rows}
    given = model.inputs[0]
    rows = keras.Input(given.shape[1:], dtype=given.dtype, name=name)
    views = dict(model(rows))
    if request.tail is not None:
        plan = network.info.tails[request.tail.blocks]
        # A copy, because `taps` keep the outputs of the backbone's blocks.
        tail = keras.models.clone_model(tail_model(model, plan))
        put(tail, model, plan, request.tail)
        views[LAST] = tail(views[plan.cut.name])[LAST]
    return rows, views


def _prepared(views: Mapping[str, Any], request: ExportRequest) -> Any:
    keras = load_keras()
    parts = [views[view] for view in request.views]
    x = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="views")(parts)
    if request.roots:
        x = keras.ops.multiply(keras.ops.sign(x), keras.ops.sqrt(keras.ops.absolute(x)))
    if request.lengths:
        tiny = float(np.finfo(np.float32).tiny)
        # The squares of large numbers overflow, and those of small ones vanish.
        largest = keras.ops.max(keras.ops.absolute(x), axis=-1, keepdims=True)
        x = keras.ops.divide(x, keras.ops.maximum(largest, tiny))
        squares = keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True)
        x = keras.ops.divide(x, keras.ops.maximum(keras.ops.sqrt(squares), tiny))
    return x


def _dense(x: Any, name: str, weights: Any, bias: Any, activation: str | None = None) -> Any:
    layer = load_keras().layers.Dense(len(bias), activation=activation, name=name)
    y = layer(x)
    layer.set_weights([weights, bias])
    return y


def _add_entry(path: Path, facts: Mapping[str, Any]) -> None:
    """Add the metadata to a file as an entry of a ZIP archive.

    A Keras file is an archive. A LiteRT file is read from its start and an archive from its end, so one file
    can be both; LiteRT tools read such entries as associated files.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(FACTS_FILE, json.dumps(facts, indent=1, ensure_ascii=False))
        classes = facts.get("class_names")
        if classes:
            archive.writestr("labels.txt", "\n".join(classes))
