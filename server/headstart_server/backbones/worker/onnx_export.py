"""Keras models as ONNX files."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from numpy.typing import NDArray


def write_onnx(model: Any, facts: Mapping[str, Any], path: Path) -> None:
    """Write a Keras model with metadata; raise ImportError without tf2onnx, and ValueError if it fails."""
    with _gelu_by_erf(), _captured_constants() as constants:
        model.export(str(path), format="onnx", verbose=False)
    written = onnx.load(path)
    _put(constants, written.graph)
    _check(written, inputs=len(model.inputs))
    written.producer_name = "headstart"
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        written.metadata_props.add(key=name, value=text)
    onnx.save(written, path)


def _check(written: Any, *, inputs: int) -> None:
    """Reject operations that tf2onnx leaves unconverted with only a log line."""
    received = ""
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        received = str(error).strip()[:300]
    if len(written.graph.input) != inputs:
        received = f"a graph with the loose ends {[one.name for one in written.graph.input][inputs:]}"
    if received:
        raise ValueError(f"Expected operations that ONNX has. Received: {received}.")


def _put(constants: Mapping[str, NDArray[np.generic]], graph: Any) -> None:
    loose = [one for one in graph.input if one.name in constants]
    for one in loose:
        graph.input.remove(one)
        graph.initializer.append(onnx.numpy_helper.from_array(constants[one.name], one.name))


@contextmanager
def _captured_constants() -> Iterator[dict[str, NDArray[np.generic]]]:
    """Return the constants that tf2onnx turns into inputs of the graph, by their names in the file.

    Keras computes values that depend on no input, such as the two values of a mask, before it builds a graph.
    TensorFlow passes them to the graph like weights, but tf2onnx only converts weights to constants.
    """
    import tensorflow as tf  # noqa: PLC0415 - Keras has imported it by now
    from tf2onnx import convert  # noqa: PLC0415 - an extra

    own = convert.from_function
    found: dict[str, NDArray[np.generic]] = {}

    def from_function(function: Any, input_signature: Any = None, **settings: Any) -> Any:
        # Traced only once, so that tf2onnx uses the same graph.
        traced = function.get_concrete_function(*input_signature)
        values = traced.captured_inputs
        places = traced.inputs[len(traced.inputs) - len(values) :]
        for place, value in zip(places, values, strict=True):
            if value.dtype != tf.resource:
                found[place.name] = value.numpy()
        return own(function, input_signature, **settings)

    convert.from_function = from_function
    try:
        yield found
    finally:
        convert.from_function = own


@contextmanager
def _gelu_by_erf() -> Iterator[None]:
    """Replace TensorFlow's complementary error function in GELU, which ONNX lacks, by 1 - erf."""
    import tensorflow as tf  # noqa: PLC0415 - Keras has imported it by now

    own = tf.nn.gelu

    def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
        if approximate:
            return own(features, approximate, name)
        half = tf.cast(0.5, features.dtype)
        return half * features * (1 + tf.math.erf(features * tf.cast(math.sqrt(0.5), features.dtype)))

    tf.nn.gelu = gelu
    try:
        yield
    finally:
        tf.nn.gelu = own
