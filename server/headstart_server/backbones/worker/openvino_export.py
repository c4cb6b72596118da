"""A version as one OpenVINO network: the converted backbone with its head."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST, BackboneInfo
from headstart_server.backbones.networks.quantization import FLOAT_FILE
from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.runtimes.openvino_tail import tail_network
from headstart_server.backbones.worker.export_request import (
    NETWORK_FILES,
    Answers,
    ExportFormat,
    ExportRequest,
)


def openvino_version(path: Path | None, info: BackboneInfo, request: ExportRequest, name: str) -> Any:
    """Return an `openvino.Model` from rows of a backbone's input to a version's outputs, [n, C].

    Args:
        path: converted backbone; None if rows are the features.

    Raises:
        TailMismatch: the tail does not belong to this backbone.
    """
    openvino = load_openvino()
    if path is None:
        (size,) = info.views.values()
        rows = openvino.opset13.parameter([-1, size], np.float32)
        views = {LAST: rows.output(0)}
    else:
        network = openvino.Core().read_model(path)
        (rows,) = network.get_parameters()
        views = {result.output(0).get_any_name(): result.input_value(0) for result in network.get_results()}
        if request.tail is not None:
            floating = path.with_name(FLOAT_FILE)
            views[LAST] = _with_tail(floating if floating.is_file() else path, info, request, views)
    for view in views.values():
        # Remove the names of former outputs, but not the input's.
        if view.get_node() is not rows:
            view.get_tensor().set_names(set())
    rows.output(0).get_tensor().set_names({name})
    rows.set_friendly_name(name)
    answers = _answers(_prepared(views, request), request)
    answers.output(0).get_tensor().set_names({request.answers.output})
    return openvino.Model([answers], [rows], "headstart")


def write_openvino(model: Any, facts: Mapping[str, Any], folder: Path) -> None:
    """Write an OpenVINO network in float32, with its metadata as ``rt_info`` under ``headstart``."""
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.set_rt_info(text, ["headstart", name])
    load_openvino().save_model(model, folder / NETWORK_FILES[ExportFormat.OPENVINO], compress_to_fp16=False)


def _with_tail(path: Path, info: BackboneInfo, request: ExportRequest, views: Mapping[str, Any]) -> Any:
    """Return the tail's `last` view after the cut, from a second copy with other constants."""
    assert request.tail is not None  # noqa: S101 - for the type checker
    plan = info.tails[request.tail.blocks]
    tail = tail_network(load_openvino().Core().read_model(path), plan, request.tail)
    (activations,) = tail.get_parameters()
    for consumer in activations.output(0).get_target_inputs():
        consumer.replace_source_output(views[plan.cut.name])
    return tail.get_results()[0].input_value(0)


def _prepared(views: Mapping[str, Any], request: ExportRequest) -> Any:
    opset = load_openvino().opset13
    parts = [views[view] for view in request.views]
    x = parts[0] if len(parts) == 1 else opset.concat(parts, 1)
    if request.roots:
        x = opset.multiply(opset.sign(x), opset.sqrt(opset.absolute(x)))
    if request.lengths:
        tiny = np.finfo(np.float32).tiny
        # The squares of large numbers overflow, and those of small ones vanish.
        largest = opset.reduce_max(opset.absolute(x), np.array([1]), keep_dims=True)
        x = opset.divide(x, opset.maximum(largest, tiny))
        squares = opset.reduce_sum(opset.multiply(x, x), np.array([1]), keep_dims=True)
        x = opset.divide(x, opset.maximum(opset.sqrt(squares), tiny))
    return x


def _answers(x: Any, request: ExportRequest) -> Any:
    opset = load_openvino().opset13
    if request.hidden_weights.size:
        x = opset.relu(_dense(x, request.hidden_weights, request.hidden_bias))
    x = _dense(x, *request.calibrated)
    if request.answers is Answers.SOFTMAX:
        return opset.softmax(x, 1)
    return opset.sigmoid(x) if request.answers is Answers.SIGMOID else x


def _dense(x: Any, weights: Any, bias: Any) -> Any:
    opset = load_openvino().opset13
    product = opset.matmul(x, opset.constant(np.ascontiguousarray(weights)), False, False)
    return opset.add(product, opset.constant(np.ascontiguousarray(bias)))
