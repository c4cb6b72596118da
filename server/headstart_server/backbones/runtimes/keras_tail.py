"""The last blocks of a Keras network as a separate model."""

from typing import Any

from headstart_server.backbones.contract.backbone import LAST
from headstart_server.backbones.contract.tail import TailMismatch, TailPlan, TailWeights, bias, kernel
from headstart_server.backbones.runtimes.keras_import import load_keras


def tail_model(network: Any, plan: TailPlan) -> Any:
    """Return the part of a network after a cut, from its activation to ``last``, with shared layers."""
    return load_keras().Model(network.output[plan.cut.name], {LAST: network.output[LAST]})


def put(tail: Any, network: Any, plan: TailPlan, weights: TailWeights) -> None:
    """Set the weights of a tail copy: from `weights` for the plan's layers, else the network's.

    Raise TailMismatch if they do not fit.
    """
    for layer in tail.layers:
        if layer.name in plan.layers:
            layer.set_weights(_fitting(layer, weights))
        elif layer.weights:
            layer.set_weights(network.get_layer(layer.name).get_weights())


def taken(model: Any, plan: TailPlan) -> TailWeights:
    """Return the weights of a plan's layers in a model."""
    tensors = {}
    for name in plan.layers:
        tensors[kernel(name)], tensors[bias(name)] = model.get_layer(name).get_weights()
    return TailWeights(blocks=plan.blocks, tensors=tensors)


def _fitting(layer: Any, weights: TailWeights) -> list[Any]:
    tensors = [weights.tensor(kernel(layer.name)), weights.tensor(bias(layer.name))]
    for tensor, variable in zip(tensors, layer.weights, strict=True):
        if tensor.shape != tuple(variable.shape):
            raise TailMismatch(
                f"Expected a tensor of shape {list(variable.shape)}. Received: {list(tensor.shape)}."
            )
    return tensors
