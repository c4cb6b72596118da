"""A Keras model as an ONNX file."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx


def write_onnx(model: Any, facts: Mapping[str, Any], path: Path) -> None:
    """Write a Keras model, with its facts as the file's metadata.

    Raises:
        ImportError: the package tf2onnx is not installed.
        ValueError: the network has an operation that ONNX has not.
    """
    with _gelu_by_erf():
        model.export(str(path), format="onnx", verbose=False)
    written = onnx.load(path)
    _check(written, inputs=len(model.inputs))
    written.producer_name = "headstart"
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        written.metadata_props.add(key=name, value=text)
    onnx.save(written, path)


def _check(written: Any, *, inputs: int) -> None:
    """Refuse what tf2onnx leaves, with but a log line, where it knows no way to write an operation."""
    received = ""
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        received = str(error).strip()[:300]
    if len(written.graph.input) != inputs:
        received = f"a graph with the loose ends {[one.name for one in written.graph.input][inputs:]}"
    if received:
        raise ValueError(f"Expected operations that ONNX has. Received: {received}.")


@contextmanager
def _gelu_by_erf() -> Iterator[None]:
    """TensorFlow computes GELU through the complementary error function, which ONNX has not: here 1 - erf."""
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
