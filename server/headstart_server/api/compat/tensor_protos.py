"""TensorFlow's tensors and examples."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.api.compat import tensorflow_pb2 as pb
from headstart_server.api.compat.arrays import (
    MAX_BYTES_IN_LOOP,
    array_of,
    check_shape,
    check_strings_shape,
    contents_of,
    from_bytes,
    from_values,
    rows_of,
)
from headstart_server.api.compat.outputs import Kind
from headstart_server.api.grpc.requests.request_parsing import in_thread_if_large
from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.errors import InvalidField

#: The accepted dtypes: their numpy type, and the field with their unpacked values.
_TYPES: dict[int, tuple[np.dtype[Any], str | None]] = {
    pb.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    pb.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    pb.DT_HALF: (np.dtype(np.float16), None),
    pb.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    pb.DT_INT8: (np.dtype(np.int8), "int_val"),
    pb.DT_UINT16: (np.dtype(np.uint16), "int_val"),
    pb.DT_INT16: (np.dtype(np.int16), "int_val"),
    pb.DT_UINT32: (np.dtype(np.uint32), "uint32_val"),
    pb.DT_INT32: (np.dtype(np.int32), "int_val"),
    pb.DT_UINT64: (np.dtype(np.uint64), "uint64_val"),
    pb.DT_INT64: (np.dtype(np.int64), "int64_val"),
}
#: The dtype of each kind of output.
DTYPES = {Kind.FLOAT: pb.DT_FLOAT, Kind.BOOL: pb.DT_BOOL, Kind.STRING: pb.DT_STRING}


def shape_message(shape: Iterable[int]) -> pb.TensorShapeProto:
    """Return the message of a shape; -1 stands for any size."""
    return pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=size) for size in shape])


async def inputs_of(
    tensor: pb.TensorProto, name: str, backbone: BackboneInfo, max_inputs: int
) -> list[Content]:
    """Return the inputs in a tensor of the request that was read last.

    Args:
        tensor: strings [n], [n, 1] or [], or numbers [n, ...].
        backbone: the backbone for the inputs, which determines whether strings are images or texts.
    """
    return await in_thread_if_large(_inputs_of, tensor, name, backbone, max_inputs, above=MAX_BYTES_IN_LOOP)


async def examples_of(
    examples: Sequence[pb.Example], backbone: BackboneInfo, max_inputs: int
) -> list[Content]:
    """Return the inputs in examples of the request that was read last.

    Args:
        examples: examples of one feature each: an encoded image, a text, or numbers.
        backbone: as in `inputs_of`.
    """
    return await in_thread_if_large(_examples_of, examples, backbone, max_inputs, above=MAX_BYTES_IN_LOOP)


def _inputs_of(tensor: pb.TensorProto, name: str, backbone: BackboneInfo, max_inputs: int) -> list[Content]:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == pb.DT_STRING:
        count = check_strings_shape(shape or [1], name, max_inputs)
        if len(tensor.string_val) != count:
            raise InvalidField(
                f"Expected {count} of string_val for DT_STRING of shape {shape} in input '{name}'. "
                f"Received: {len(tensor.string_val)}.",
                field="inputs",
            )
        return contents_of(tensor.string_val, backbone, name)
    if tensor.dtype not in _TYPES:
        known = ", ".join(pb.DataType.Name(dtype) for dtype in _TYPES)
        received = pb.DataType.Name(tensor.dtype) if tensor.dtype in pb.DataType.values() else tensor.dtype
        raise InvalidField(
            f"Expected a dtype of DT_STRING, {known} for input '{name}'. Received: {received}.",
            field="inputs",
        )
    check_shape(shape, name, max_inputs)
    dtype, field = _TYPES[tensor.dtype]
    if field is None or tensor.tensor_content:
        return rows_of(from_bytes(tensor.tensor_content, dtype, shape, name), name)
    return rows_of(from_values(getattr(tensor, field), dtype, shape, name, repeats=True), name)


def _examples_of(examples: Sequence[pb.Example], backbone: BackboneInfo, max_inputs: int) -> list[Content]:
    check_shape([len(examples)], "input", max_inputs)
    contents: list[Content] = []
    for place, example in enumerate(examples):
        field = f"input.example_list.examples[{place}]"
        features = example.features.feature
        if len(features) != 1:
            names = sorted(features)[:10]
            raise InvalidField(f"Expected one feature in {field}. Received: {names}.", field=field)
        ((name, feature),) = features.items()
        kind = feature.WhichOneof("kind")
        if kind == "float_list":
            contents.append(array_of(feature.float_list.value, np.dtype(np.float32)))
        elif kind == "int64_list":
            contents.append(array_of(feature.int64_list.value, np.dtype(np.int64)))
        elif len(feature.bytes_list.value) == 1:
            contents.extend(contents_of(feature.bytes_list.value, backbone, name))
        else:
            raise InvalidField(
                f"Expected one value of bytes in feature '{name}' of {field}. "
                f"Received: {len(feature.bytes_list.value)}.",
                field=field,
            )
    return contents


def output_message(kind: Kind, values: NDArray[Any]) -> pb.TensorProto:
    """Return the tensor of an output."""
    message = pb.TensorProto(dtype=DTYPES[kind], tensor_shape=shape_message(values.shape))
    if kind is Kind.STRING:
        message.string_val.extend(values.ravel().tolist())
    else:
        message.tensor_content = values.tobytes()
    return message
