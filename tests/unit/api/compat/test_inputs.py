"""Tensors of other protocols become inputs, and what is wrong with one is said before it is looked at."""

import struct
import time
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from headstart_server.api.compat import arrays, open_inference_messages, tensor_protos
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.compat import tensorflow_pb2 as tf
from headstart_server.api.grpc.requests.request_parsing import REQUEST_BYTES
from headstart_server.backbones.contract.backbone import BackboneInfo, Modality
from headstart_server.errors import HeadstartError, InvalidField, UndecodableInput

MOST = 8


def backbone(modality: Modality) -> BackboneInfo:
    return BackboneInfo(
        name="some",
        modality=modality,
        views={"last": 3},
        input_size=(3,),
        parameter_count=0,
        source="",
        license="",
        description="",
    )


IMAGES, TEXTS, FEATURES = map(backbone, (Modality.IMAGE, Modality.TEXT, Modality.TENSOR))


def infer_request(datatype: str, shape: list[int], raw: bytes | None = None, **contents: Any) -> Any:
    tensor = oip.ModelInferRequest.InferInputTensor(name="input", datatype=datatype, shape=shape)
    if contents:
        tensor.contents.CopyFrom(oip.InferTensorContents(**contents))
    return oip.ModelInferRequest(inputs=[tensor], raw_input_contents=[] if raw is None else [raw])


def packed(*strings: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in strings)


async def of_request(request: Any, info: BackboneInfo) -> list[Any]:
    return await open_inference_messages.inputs_of(request, info, MOST)


async def of_tensor(tensor: Any, info: BackboneInfo) -> list[Any]:
    return await tensor_protos.inputs_of(tensor, "inputs", info, MOST)


async def of_examples(examples: Any, info: BackboneInfo) -> list[Any]:
    return await tensor_protos.examples_of(examples, info, MOST)


def feature(**kinds: Any) -> Any:
    return tf.Example(features=tf.Features(feature={"x": tf.Feature(**kinds)}))


def tensor_proto(dtype: Any, shape: list[int], **values: Any) -> Any:
    return tf.TensorProto(dtype=dtype, tensor_shape=tensor_proto_shape(shape), **values)


def tensor_proto_shape(shape: list[int]) -> Any:
    return tensor_protos.shape_message(shape)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
async def test_bytes_are_images_or_texts_as_the_backbone_takes_them(shape: list[int]) -> None:
    typed = infer_request("BYTES", shape, bytes_contents=[b"one", b"zw\xc3\xb6lf"])
    raw = infer_request("BYTES", shape, packed(b"one", b"zw\xc3\xb6lf"))
    strings = tensor_proto(tf.DT_STRING, shape, string_val=[b"one", b"zw\xc3\xb6lf"])
    for images in (
        await of_request(typed, IMAGES),
        await of_request(raw, IMAGES),
        await of_tensor(strings, IMAGES),
    ):
        assert images == [b"one", b"zw\xc3\xb6lf"]
    for texts in (await of_request(raw, TEXTS), await of_tensor(strings, TEXTS)):
        assert texts == ["one", "zwölf"]


async def test_one_text_alone_needs_no_shape_in_tensorflow() -> None:
    assert await of_tensor(tensor_proto(tf.DT_STRING, [], string_val=[b"alone"]), TEXTS) == ["alone"]


async def test_a_text_that_is_not_utf_8_is_named() -> None:
    with pytest.raises(UndecodableInput, match=r"Input 1 of 'input'.*byte 0xff at 2") as caught:
        await of_request(infer_request("BYTES", [2], packed(b"fine", b"no\xff")), TEXTS)
    assert caught.value.field == "inputs[1]"


@pytest.mark.parametrize(
    ("datatype", "dtype", "field"),
    [
        ("FP32", np.float32, "fp32_contents"),
        ("FP64", np.float64, "fp64_contents"),
        ("INT64", np.int64, "int64_contents"),
        ("INT8", np.int8, "int_contents"),
        ("UINT8", np.uint8, "uint_contents"),
        ("UINT64", np.uint64, "uint64_contents"),
    ],
)
async def test_numbers_are_the_same_typed_and_raw(datatype: str, dtype: Any, field: str) -> None:
    values = np.arange(6, dtype=dtype).reshape(2, 3)
    raw = await of_request(infer_request(datatype, [2, 3], values.tobytes()), FEATURES)
    typed = await of_request(infer_request(datatype, [2, 3], **{field: values.ravel().tolist()}), FEATURES)
    for rows in (raw, typed):
        assert [(row.dtype, row.tolist()) for row in rows] == [(dtype, row.tolist()) for row in values]


async def test_many_typed_values_are_read_in_parts_and_are_the_same() -> None:
    values = np.arange(2 * 60_000, dtype=np.float32).reshape(2, -1)
    request = infer_request("FP32", list(values.shape), fp32_contents=values.ravel().tolist())
    np.testing.assert_array_equal(np.stack(await of_request(request, FEATURES)), values)


async def test_a_short_tensor_of_tensorflow_goes_on_with_its_last_value() -> None:
    rows = await of_tensor(tensor_proto(tf.DT_FLOAT, [2, 3], float_val=[1, 2]), FEATURES)
    assert np.stack(rows).tolist() == [[1, 2, 2], [2, 2, 2]]


async def test_a_shape_beyond_all_memory_is_refused_not_filled() -> None:
    with pytest.raises(InvalidField, match="Expected 8000000000000 values"):
        await of_tensor(tensor_proto(tf.DT_FLOAT, [8, 10**12], float_val=[1]), FEATURES)


async def test_one_value_in_place_of_all_takes_no_memory_and_little_time() -> None:
    tensor = tensor_proto(tf.DT_FLOAT, [8, 1 << 21], float_val=[7])
    tracemalloc.start()
    try:
        rows = await of_tensor(tensor, FEATURES)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert [row.shape for row in rows] == [(1 << 21,)] * 8
    assert rows[7][:2].tolist() == [7, 7]


async def test_the_last_of_several_values_is_repeated_up_to_a_limit() -> None:
    (row,) = await of_tensor(tensor_proto(tf.DT_FLOAT, [1, 1 << 18], float_val=[1, 2]), FEATURES)
    assert row[[0, 1, -1]].tolist() == [1, 2, 2]
    with pytest.raises(InvalidField, match=r"Expected 524288 values.*Received: 2"):
        await of_tensor(tensor_proto(tf.DT_FLOAT, [2, 1 << 18], float_val=[1, 2]), FEATURES)


async def share_in_loop(conversion: Coroutine[Any, Any, Any]) -> float:
    """Return the part of the processor time of a conversion that it takes in the event loop."""
    own, all_threads = time.thread_time(), time.process_time()
    await conversion
    return (time.thread_time() - own) / (time.process_time() - all_threads)


TEXT = "ö" * 200_000


@pytest.mark.parametrize(
    ("read", "message", "info"),
    [
        (of_request, infer_request("BF16", [8, 1 << 19], bytes(8 << 20)), FEATURES),
        (of_request, infer_request("FP32", [8, 1 << 16], fp32_contents=[1] * (8 << 16)), FEATURES),
        (of_request, infer_request("BYTES", [8], packed(*[TEXT.encode()] * 8)), TEXTS),
        (of_tensor, tensor_proto(tf.DT_INT64, [8, 1 << 16], int64_val=[1] * (8 << 16)), FEATURES),
        (of_tensor, tensor_proto(tf.DT_STRING, [8], string_val=[TEXT.encode()] * 8), TEXTS),
        (of_examples, [feature(float_list=tf.FloatList(value=[1] * (1 << 17)))] * 8, FEATURES),
        (of_examples, [feature(int64_list=tf.Int64List(value=[1] * (1 << 17)))] * 8, FEATURES),
    ],
    ids=["bfloat16", "typed", "raw texts", "tensor", "strings", "floats", "integers"],
)
async def test_inputs_of_a_large_request_are_converted_outside_of_the_event_loop(
    read: Any, message: Any, info: BackboneInfo
) -> None:
    REQUEST_BYTES.set(1 << 20)
    assert await share_in_loop(read(message, info)) < 0.5


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (oip.ModelInferRequest(), r"Expected one input tensor.*Received: \[\]"),
        (infer_request("BYTES", [], bytes_contents=[b"a"]), r"Expected a shape of \[n, ...\]"),
        (infer_request("BYTES", [0]), r"Received: \[0\]"),
        (infer_request("UINT8", [1] * 70, b"\0"), "at most 8 dimensions, each 1 or more"),
        (infer_request("FP32", [2, -1], b""), r"Received: \[2, -1\]"),
        (infer_request("BYTES", [9], packed(*[b"a"] * 9)), "Expected 1 to 8 inputs in 'input'. Received: 9"),
        (infer_request("BYTES", [2, 2], packed(*[b"a"] * 4)), r"Expected a shape of \[n\] or \[n, 1\]"),
        (infer_request("BYTES", [2], packed(b"a")), r"Expected 2 values of BYTES.*Received: 1"),
        (infer_request("BYTES", [1], packed(b"a", b"b")), "Received: 2"),
        (infer_request("BYTES", [1], b"\x05\x00\x00\x00abc"), "a length of 5 where 3 bytes are left"),
        (infer_request("BYTES", [1], b"\x05"), "a length of 5 where 0 bytes are left"),
        (infer_request("BOOL", [1, 3], b"\0" * 3), "Expected a datatype of BYTES, UINT8.*Received: 'BOOL'"),
        (infer_request("FP32", [1, 3], b"\0" * 11), "Expected 12 bytes for float32.*Received: 11"),
        (infer_request("FP32", [1, 3], fp32_contents=[1]), "Expected 3 values for float32.*Received: 1"),
        (
            infer_request("FP16", [1, 3], fp32_contents=[1] * 3),
            "raw_input_contents is missing. Send the FP16",
        ),
        (infer_request("UINT8", [1, 1], uint_contents=[256]), "outside the range of uint8"),
        (infer_request("FP32", [3], b"\0" * 12), r"Expected a shape of \[n, size\] for features"),
        (
            infer_request("FP32", [1, 1], b"\0" * 4, fp32_contents=[1]),
            "Received: 1 raw in addition to typed contents",
        ),
    ],
)
async def test_errors_of_a_tensor_is_reported(request_: Any, expected: str) -> None:
    with pytest.raises(InvalidField, match=expected):
        await of_request(request_, IMAGES)


async def test_shared_memory_is_refused_by_name() -> None:
    request = infer_request("FP32", [1, 3])
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"
    with pytest.raises(InvalidField, match="Received: the region 'region' of shared memory"):
        await of_request(request, FEATURES)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (tensor_proto(tf.DT_BOOL, [1], bool_val=[True]), "Received: DT_BOOL"),
        (tensor_proto(99, [1, 1]), "Received: 99"),
        (tensor_proto(tf.DT_STRING, [2], string_val=[b"a"]), "Expected 2 of string_val"),
        (tensor_proto(tf.DT_FLOAT, [1, 2], tensor_content=b"abc"), "Expected 8 bytes for float32"),
        (tensor_proto(tf.DT_FLOAT, [1, 2]), "Expected 2 values for float32.*Received: 0"),
        (tensor_proto(tf.DT_FLOAT, []), r"Expected a shape of \[n, ...\]"),
    ],
)
async def test_errors_of_a_tensor_of_tensorflow_is_reported(tensor: Any, expected: str) -> None:
    with pytest.raises(InvalidField, match=expected):
        await of_tensor(tensor, IMAGES)


async def test_examples_hold_an_image_a_text_or_numbers() -> None:
    image = feature(bytes_list=tf.BytesList(value=[b"one"]))
    assert await of_examples([image], IMAGES) == [b"one"]
    assert await of_examples([image], TEXTS) == ["one"]
    numbers = [feature(float_list=tf.FloatList(value=[1, 2])), feature(int64_list=tf.Int64List(value=[3]))]
    rows = await of_examples(numbers, FEATURES)
    assert [np.asarray(row).tolist() for row in rows] == [[1.0, 2.0], [3]]


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        ([], r"Expected a shape of \[n, ...\]"),
        ([tf.Example()], r"Expected one feature in .*examples\[0\]. Received: \[\]"),
        ([feature(bytes_list=tf.BytesList(value=[b"a", b"b"]))], "Expected one value of bytes.*Received: 2"),
        ([feature()], "Expected one value of bytes.*Received: 0"),
        ([feature(bytes_list=tf.BytesList(value=[b"a"]))] * 9, "Expected 1 to 8 inputs"),
    ],
)
async def test_errors_of_examples_is_reported(examples: list[Any], expected: str) -> None:
    with pytest.raises(HeadstartError, match=expected):
        await of_examples(examples, IMAGES)


def test_reading_raw_bytes_copies_no_numbers() -> None:
    data = np.arange(6, dtype=np.float32).tobytes()
    assert arrays.from_bytes(data, np.dtype(np.float32), [2, 3], "x").base is not None


async def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    rows = np.array([[1.0, -2.5, 0.1], [3e38, 0.0, -0.0]], np.float32)
    halves = (rows.view(np.uint32) >> 16).astype("<u2")
    received = np.stack(await of_request(infer_request("BF16", [2, 3], halves.tobytes()), FEATURES))
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, rows, rtol=2**-7)
    assert received[0, 1] == -2.5
    with pytest.raises(InvalidField, match="Expected 12 bytes"):
        await of_request(infer_request("BF16", [2, 3], halves.tobytes()[1:]), FEATURES)
    with pytest.raises(InvalidField, match="or BF16 in raw_input_contents, for input 'input'"):
        await of_request(infer_request("BF16", [1, 3], fp32_contents=[1, 2, 3]), FEATURES)
