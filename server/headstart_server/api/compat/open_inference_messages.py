"""The tensors of the Open Inference Protocol, and the statistics of Triton's extension."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart_server.api.compat import open_inference_pb2 as pb
from headstart_server.api.compat.arrays import (
    MAX_BYTES_IN_LOOP,
    check_shape,
    check_strings_shape,
    contents_of,
    from_bfloat16,
    from_bytes,
    from_values,
    rows_of,
)
from headstart_server.api.compat.outputs import Kind
from headstart_server.api.grpc.requests.request_parsing import in_thread_if_large
from headstart_server.backbones.contract.backbone import BackboneInfo, Content
from headstart_server.errors import InvalidField
from headstart_server.prediction.statistics import VersionCounts

#: The accepted datatypes: their numpy type, and the field of typed contents with their values.
_TYPES: dict[str, tuple[np.dtype[Any], str | None]] = {
    "UINT8": (np.dtype(np.uint8), "uint_contents"),
    "UINT16": (np.dtype(np.uint16), "uint_contents"),
    "UINT32": (np.dtype(np.uint32), "uint_contents"),
    "UINT64": (np.dtype(np.uint64), "uint64_contents"),
    "INT8": (np.dtype(np.int8), "int_contents"),
    "INT16": (np.dtype(np.int16), "int_contents"),
    "INT32": (np.dtype(np.int32), "int_contents"),
    "INT64": (np.dtype(np.int64), "int64_contents"),
    "FP16": (np.dtype(np.float16), None),
    "FP32": (np.dtype(np.float32), "fp32_contents"),
    "FP64": (np.dtype(np.float64), "fp64_contents"),
}
_BYTES = "BYTES"
#: A type that numpy does not have.
_BFLOAT16 = "BF16"
#: The datatype of each kind of output, and the field of typed contents with its values.
_OUTPUTS = {
    Kind.FLOAT: ("FP32", "fp32_contents"),
    Kind.BOOL: ("BOOL", "bool_contents"),
    Kind.STRING: (_BYTES, "bytes_contents"),
}
#: The parameter of a tensor whose values are in memory that server and caller share.
SHARED_MEMORY = "shared_memory_region"


def datatype_of(kind: Kind) -> str:
    """Return the datatype of a kind of output."""
    return _OUTPUTS[kind][0]


async def inputs_of(request: pb.ModelInferRequest, backbone: BackboneInfo, max_inputs: int) -> list[Content]:
    """Return the inputs in the single tensor of the request that was read last.

    Args:
        backbone: the backbone for the inputs, which determines whether bytes are images or texts.
    """
    return await in_thread_if_large(_inputs_of, request, backbone, max_inputs, above=MAX_BYTES_IN_LOOP)


def _inputs_of(request: pb.ModelInferRequest, backbone: BackboneInfo, max_inputs: int) -> list[Content]:
    if len(request.inputs) != 1:
        names = [each.name for each in request.inputs[:10]]
        raise InvalidField(
            f"Expected one input tensor, such as 'input'. Received: {names}.",
            field="inputs",
        )
    tensor = request.inputs[0]
    raw = _raw_of(request, tensor)
    shape = list(tensor.shape)
    if tensor.datatype == _BYTES:
        count = check_strings_shape(shape, tensor.name, max_inputs)
        strings = tensor.contents.bytes_contents if raw is None else _unpacked(raw, count, tensor.name)
        if len(strings) != count:
            raise InvalidField(
                f"Expected {count} values of BYTES of shape {shape} in input '{tensor.name}'. "
                f"Received: {len(strings)}.",
                field="inputs",
            )
        return contents_of(strings, backbone, tensor.name)
    if tensor.datatype == _BFLOAT16 and raw is not None:
        check_shape(shape, tensor.name, max_inputs)
        return rows_of(from_bfloat16(raw, shape, tensor.name), tensor.name)
    if tensor.datatype not in _TYPES:
        raise InvalidField(
            f"Expected a datatype of BYTES, {', '.join(_TYPES)}, or {_BFLOAT16} in raw_input_contents, for "
            f"input '{tensor.name}'. Received: {tensor.datatype[:40]!r}.",
            field="inputs",
        )
    check_shape(shape, tensor.name, max_inputs)
    dtype, field = _TYPES[tensor.datatype]
    if raw is not None:
        return rows_of(from_bytes(raw, dtype, shape, tensor.name), tensor.name)
    if field is None:
        raise InvalidField(
            f"raw_input_contents is missing. Send the {tensor.datatype} values of '{tensor.name}' in it.",
            field="raw_input_contents",
        )
    values = getattr(tensor.contents, field)
    return rows_of(from_values(values, dtype, shape, tensor.name), tensor.name)


def output_message(
    name: str, kind: Kind, values: NDArray[Any], raw: list[bytes] | None
) -> pb.ModelInferResponse.InferOutputTensor:
    """Return the message of an output.

    Args:
        raw: the list to which the output's bytes are added; None puts its values into the message.
    """
    datatype, field = _OUTPUTS[kind]
    message = pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=values.shape)
    flat = values.ravel()
    if raw is None:
        getattr(message.contents, field).extend(flat.tolist())
    else:
        raw.append(b"".join(_packed(flat)) if kind is Kind.STRING else flat.tobytes())
    return message


def shared_memory_refused(what: str, parameters: Mapping[str, pb.InferParameter]) -> InvalidField:
    """Return the error of a tensor with values in shared memory.

    Args:
        what: the tensor, such as `input 'x'`.
    """
    region = parameters[SHARED_MEMORY].string_param
    return InvalidField(
        f"Expected the values of {what} in the message. Received: the region {region[:80]!r} of shared "
        "memory, which this server does not support.",
        field=what.split(" ", maxsplit=1)[0] + "s",
    )


def _raw_of(request: pb.ModelInferRequest, tensor: pb.ModelInferRequest.InferInputTensor) -> bytes | None:
    """Return the raw bytes of a request's single tensor; None if it has typed contents."""
    if SHARED_MEMORY in tensor.parameters:
        raise shared_memory_refused(f"input '{tensor.name}'", tensor.parameters)
    count = len(request.raw_input_contents)
    if not count:
        return None
    if count != 1 or tensor.HasField("contents"):
        also = " in addition to typed contents" if tensor.HasField("contents") else ""
        raise InvalidField(
            f"Expected either contents of input '{tensor.name}' or one of raw_input_contents. "
            f"Received: {count} raw{also}.",
            field="raw_input_contents",
        )
    return request.raw_input_contents[0]


def _unpacked(data: bytes, count: int, name: str) -> Sequence[bytes]:
    """Return the strings in raw bytes, each after its length in four bytes; at most one more than `count`."""
    strings: list[bytes] = []
    place = 0
    while place < len(data) and len(strings) <= count:
        start = place + 4
        length = int.from_bytes(data[place:start], "little")
        place = start + length
        if place > len(data):
            raise InvalidField(
                f"Expected a length in four bytes, little-endian, before each element of '{name}'. Received: "
                f"a length of {length} where {max(0, len(data) - start)} bytes are left, for element "
                f"{len(strings)}.",
                field="raw_input_contents",
            )
        strings.append(data[start:place])
    return strings


def _packed(strings: Iterable[bytes]) -> Iterator[bytes]:
    for string in strings:
        yield struct.pack("<I", len(string))
        yield string


def statistics_message(model: str, number: int, counts: VersionCounts) -> pb.ModelStatistics:
    """Return the statistics of a version.

    An execution is a call: backbones run batches of many versions' inputs, and a head runs once per call.
    """

    def of_calls(seconds: float) -> pb.StatisticDuration:
        return _duration(counts.calls, seconds)

    return pb.ModelStatistics(
        name=model,
        version=str(number),
        last_inference=int(counts.last * 1000),
        inference_count=counts.inputs,
        execution_count=counts.calls,
        inference_stats=pb.InferStatistics(
            success=of_calls(counts.total),
            fail=_duration(counts.failed, counts.failed_seconds),
            queue=of_calls(counts.queue),
            compute_input=of_calls(counts.decode),
            compute_infer=of_calls(counts.backbone),
            compute_output=of_calls(counts.head),
        ),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))
