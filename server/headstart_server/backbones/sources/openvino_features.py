"""Choice of the features among the values in an OpenVINO model."""

from collections.abc import Sequence
from typing import Any

from headstart_server.backbones.sources.source import SourceError

#: Operations between a classifier's product and the output that hardly change the order of classes.
_PASSED = {"Softmax", "LogSoftmax", "Sigmoid", "Convert", "Squeeze", "Add", "Subtract", "Multiply", "Divide"}


def features_of(model: Any, layer: str | None, *, takes_last: bool) -> Any:
    """Return the output whose values are the features.

    Args:
        layer: name of an output, else of a tensor, else of a node; None chooses the input of a final
            classifier, else the output.
        takes_last: whether the last of several outputs is chosen without a `layer`.

    Raises:
        SourceError: the layer is missing, or several outputs leave the choice open.
    """
    if layer is not None:
        return _named(model, layer)
    results = model.get_results()
    if len(results) != 1 and not takes_last:
        raise SourceError(
            "Expected a network of one output, or the setting layer. "
            f"Received: {_listed(output_names(model))}."
        )
    return _before_classifier(results[-1].input_value(0))


def output_names(model: Any) -> list[str]:
    """Return a name for each of a model's outputs."""
    return [_name(result) for result in model.get_results()]


def _named(model: Any, layer: str) -> Any:
    for result in model.get_results():
        if layer in result.output(0).get_names() | {result.get_friendly_name()}:
            return result.input_value(0)
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() != "Result"]
    for node in nodes:
        for output in node.outputs():
            if layer in output.get_names():
                return output
    for node in nodes:
        if node.get_friendly_name() == layer and node.get_output_size() == 1:
            return node.output(0)
    inner = [
        node.get_friendly_name()
        for node in nodes
        if node.get_type_name() not in {"Constant", "Parameter"} and node.output(0).get_names()
    ]
    raise SourceError(
        f"Expected an output, {_listed(output_names(model))}, or a layer: {_listed(inner)}. "
        f"Received: {layer!r}."
    )


def _before_classifier(output: Any) -> Any:
    """Return the input of a final classifier's matrix product, or else the output itself."""
    value = output
    while True:
        node = value.get_node()
        varying = [one for one in node.input_values() if not _is_constant(one.get_node())]
        if node.get_type_name() == "MatMul" and len(varying) == 1 and node.get_input_size() == 2:
            return varying[0]
        if node.get_type_name() not in _PASSED or len(varying) != 1:
            return output
        value = varying[0]


def _is_constant(node: Any) -> bool:
    """Return whether a value is independent of the network's input."""
    pending, seen = [node], set()
    while pending:
        one = pending.pop()
        if one.get_type_name() in {"Parameter", "ReadValue"}:
            return False
        if one.get_instance_id() not in seen:
            seen.add(one.get_instance_id())
            pending += [value.get_node() for value in one.input_values()]
    return True


def _name(result: Any) -> str:
    names = sorted(result.output(0).get_names())
    return str(names[0] if names else result.get_friendly_name())


def _listed(names: Sequence[str]) -> str:
    some = names if len(names) <= 12 else [*names[:4], "...", *names[-8:]]
    return ", ".join(some) or "none"
