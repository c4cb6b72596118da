"""A Keras model as an ONNX file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def write_onnx(model: Any, facts: Mapping[str, Any], path: Path) -> None:
    """Write a Keras model, with its facts as the file's metadata.

    Raises:
        ImportError: the package tf2onnx is not installed.
        ValueError: the network has an operation that ONNX has not.
    """
    model.export(str(path), format="onnx", verbose=False)
    written = onnx.load(path)
    _without_erfc(written.graph)
    written.producer_name = "headstart"
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        written.metadata_props.add(key=name, value=text)
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        raise ValueError(
            f"Expected operations that ONNX has. Received: {str(error).strip()[:300]}"
        ) from error
    onnx.save(written, path)


def _without_erfc(graph: Any) -> None:
    """Write TensorFlow's complementary error function, which ONNX has not, as 1 - erf."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        inner = f"{node.output[0]}/erf"
        nodes.append(helper.make_node("Erf", node.input, [inner], name=f"{node.name}/erf"))
        nodes.append(helper.make_node("Sub", ["headstart/one", inner], node.output, name=node.name))
    if len(nodes) != len(graph.node):
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "headstart/one"))
        del graph.node[:]
        graph.node.extend(nodes)
