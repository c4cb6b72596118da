"""Whatever a message holds, its tensor is read or refused: nothing else is raised."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from headstart_server.api.compat import open_inference_messages, tensor_protos
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.errors import HeadstartError
from unit.api.compat.test_inputs import IMAGES, TEXTS

SIZES = some.one_of(some.integers(-1, 4), some.sampled_from([2**31, 2**63 - 1, -(2**63)]))
SHAPES = some.one_of(some.lists(SIZES, max_size=4), some.just([1] * 70))
DATATYPES = some.sampled_from(["BYTES", "FP32", "FP16", "UINT8", "INT8", "UINT64", "BOOL", ""])
NUMBERS = some.lists(some.integers(0, 2**32 - 1), max_size=8)
BACKBONES = some.sampled_from([IMAGES, TEXTS])


def is_read_or_refused(reading: Coroutine[Any, Any, Any]) -> None:
    with suppress(HeadstartError):
        assert all(isinstance(each, bytes | str) or each.ndim for each in asyncio.run(reading))


@given(DATATYPES, SHAPES, some.lists(some.binary(max_size=24), max_size=2), NUMBERS, BACKBONES)
def test_any_tensor_of_the_open_inference_protocol(
    datatype: str, shape: list[int], raw: list[bytes], numbers: list[int], backbone: Any
) -> None:
    tensor = oip.ModelInferRequest.InferInputTensor(datatype=datatype, shape=shape)
    if numbers:
        contents = oip.InferTensorContents(uint_contents=numbers, fp32_contents=numbers)
        contents.int_contents.extend(number - 2**31 for number in numbers)
        contents.bytes_contents.extend(map(bytes, [[1]] * len(numbers)))
        tensor.contents.CopyFrom(contents)
    request = oip.ModelInferRequest(inputs=[tensor], raw_input_contents=raw)
    is_read_or_refused(open_inference_messages.inputs_of(request, backbone, 4))


@given(some.integers(0, 30), SHAPES, some.binary(max_size=24), NUMBERS, BACKBONES)
def test_any_tensor_of_tensorflow(
    dtype: Any, shape: list[int], content: bytes, numbers: list[int], backbone: Any
) -> None:
    tensor = tf.TensorProto(
        dtype=dtype,
        tensor_shape=tensor_protos.shape_message(shape),
        tensor_content=content,
        float_val=numbers,
        int_val=[number - 2**31 for number in numbers],
        uint32_val=numbers,
        string_val=[str(number).encode() for number in numbers],
    )
    is_read_or_refused(tensor_protos.inputs_of(tensor, "inputs", backbone, 4))
