"""Execution of a version's tail in OpenVINO: the converted network after the cut, with other weights."""

from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.contract.tail import (
    Float32,
    TailMismatch,
    TailPlan,
    TailWeights,
    bias,
    kernel,
)
from headstart_server.backbones.runtimes.openvino_import import load_openvino

_CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVinoTail:
    """A tail that runs in the calling thread. A row's features do not depend on its batch.

    Compilation takes tens of milliseconds, and each compiled tail copies its weights. The number of compiled
    tails is the maximum that was needed concurrently, at most `streams`.

    Args:
        streams: maximum concurrent passes; others wait.

    Raises:
        TailMismatch: the weights do not fit the plan.
    """

    def __init__(
        self, path: Path, plan: TailPlan, weights: TailWeights, properties: dict[str, Any], *, streams: int
    ) -> None:
        core = load_openvino().Core()
        self._core, self._properties = core, properties
        self._model = tail_network(core.read_model(path), plan, weights)
        #: Free requests, the last used one on top; below them, None for each tail that may still be compiled.
        self._free: LifoQueue[Any] = LifoQueue()
        for _ in range(streams - 1):
            self._free.put(None)
        self._free.put(self._compile())

    def run(self, activations: Float32) -> Float32:
        """Return the tail's `last` view, [n, size], of activations [n, height, width, channels]."""
        request = self._free.get()
        try:
            request = request or self._compile()
            request.infer({0: np.ascontiguousarray(activations)}, share_inputs=True)
            features: Float32 = request.get_output_tensor(0).data.copy()
            return features
        finally:
            self._free.put(request)

    def _compile(self) -> Any:
        return self._core.compile_model(self._model, "CPU", self._properties).create_infer_request()


def tail_network(network: Any, plan: TailPlan, weights: TailWeights) -> Any:
    """Return the part of a network after a cut, from the activation to its `last` view."""
    openvino = load_openvino()
    results = {result.output(0).get_any_name(): result for result in network.get_results()}
    cut, last = results[plan.cut.name].input_value(0), results[LAST]
    # The activation has its channels last, as in Keras; inside the network they come first.
    inner = cut.get_node().input_value(0)
    rows = openvino.opset13.parameter([-1, *plan.cut.shape], np.float32)
    turned = openvino.opset13.transpose(rows, np.array([0, 3, 1, 2]))
    for consumer in inner.get_target_inputs():
        consumer.replace_source_output(turned.output(0))
    tail = openvino.Model([last], [rows])
    _put(tail, plan, weights)
    return tail


def _put(tail: Any, plan: TailPlan, weights: TailWeights) -> None:
    """Replace the constants of the last layers with weights, in the order of execution."""
    layers = [node for node in tail.get_ordered_ops() if node.get_type_name() in _CONVOLUTIONS]
    for layer, node in zip(plan.layers, layers[-len(plan.layers) :], strict=True):
        (added,) = node.output(0).get_target_inputs()
        grouped = node.get_type_name() == "GroupConvolution"
        axes = (2, 3, 0, 1) if grouped else (3, 2, 0, 1)
        _replace(node.input_value(1), weights.tensor(kernel(layer)).transpose(axes))
        _replace(added.get_node().input_value(1), weights.tensor(bias(layer)))


def _replace(constant: Any, values: Float32) -> None:
    openvino = load_openvino()
    shape = list(constant.get_shape())
    if values.size != int(np.prod(shape)):
        raise TailMismatch(f"Expected a tensor of shape {shape}. Received: {list(values.shape)}.")
    fitting = np.ascontiguousarray(values, np.float32).reshape(shape)
    replacement = openvino.opset13.constant(fitting, dtype=np.float32)
    for consumer in constant.get_target_inputs():
        consumer.replace_source_output(replacement.output(0))
