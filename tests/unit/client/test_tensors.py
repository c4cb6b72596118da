import contextlib

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.inputs import tensors
from headstart.v1 import input_pb2

DTYPES = ["uint8", "int32", "int64", "float16", "float32", "float64"]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: arrays.arrays(
            dtype, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
        )
    )
)
def test_an_array_comes_back_as_it_went(array):
    wire = tensors.encode(array).SerializeToString()

    decoded = tensors.decode(input_pb2.Tensor.FromString(wire))

    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()


@given(
    st.integers(min_value=0, max_value=9),
    st.lists(st.integers(min_value=-(2**63), max_value=2**63 - 1), max_size=40),
    st.binary(max_size=64),
)
def test_a_hostile_tensor_gives_an_array_of_its_shape_or_a_value_error(data_type, shape, data):
    tensor = input_pb2.Tensor(data_type=data_type, shape=shape, data=data)

    array = None
    with contextlib.suppress(ValueError):
        array = tensors.decode(tensor)

    if array is not None:
        assert list(array.shape) == shape
        assert array.nbytes == len(data)


def test_strides_and_byte_order_do_not_matter():
    array = np.arange(24, dtype=">f4").reshape(4, 6)[::2, ::-3].T

    decoded = tensors.decode(tensors.encode(array))

    assert decoded.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(decoded, array)


def test_the_bytes_are_little_endian_and_row_major():
    tensor = tensors.encode(np.array([[1, 2], [3, 4]], dtype=">i4", order="F"))

    assert tensor.data == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
    assert list(tensor.shape) == [2, 2]


def test_a_scalar_has_an_empty_shape():
    tensor = tensors.encode(np.array(7, dtype=np.int64))

    assert list(tensor.shape) == []
    assert tensors.decode(tensor).item() == 7


def test_a_decoded_array_cannot_be_written_to():
    decoded = tensors.decode(tensors.encode(np.zeros(3, np.float32)))

    assert not decoded.flags.writeable


@pytest.mark.parametrize("dtype", ["bool", "uint16", "complex64", "O", "U3", "M8[s]"])
def test_an_element_type_outside_the_contract_is_refused(dtype):
    with pytest.raises(ValueError, match=r"must be one of uint8, .*float64\. Received: "):
        tensors.encode(np.zeros(2, dtype=dtype))


@pytest.mark.parametrize(
    ("data_type", "shape", "data", "message"),
    [
        (0, [1], b"x", "data_type must be one of .* Received: 0"),
        (99, [1], b"x", "data_type must be one of .* Received: 99"),
        (1, [2, 3], b"12345", r"uint8 tensor of shape \[2, 3\] must have 6 bytes of data. Received: 5"),
        (5, [2], b"1234567", r"float32 tensor of shape \[2\] must have 8 bytes of data. Received: 7"),
        (5, [], b"", r"shape \[\] must have 4 bytes of data. Received: 0"),
        (1, [-1], b"", r"dimensions must be 0 or more. Received: \[-1\]"),
        (1, [-1, -1], b"x", r"dimensions must be 0 or more. Received: \[-1, -1\]"),
        (1, [2**62, 4], b"", "must have 18446744073709551616 bytes of data. Received: 0"),
        (4, [2**33, 2**33, 0], b"", r"multiply to less than 2\^63"),
        (1, [1] * 33, b"x", "at most 32 dimensions. Received: 33"),
        (1, [0] * 100_000, b"", "at most 32 dimensions. Received: 100000"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused_with_what_was_expected(data_type, shape, data, message):
    with pytest.raises(ValueError, match=message):
        tensors.decode(input_pb2.Tensor(data_type=data_type, shape=shape, data=data))


def test_an_empty_array_keeps_its_shape():
    assert tensors.decode(tensors.encode(np.zeros((0, 7), np.float32))).shape == (0, 7)


def test_too_many_dimensions_are_refused_before_they_are_sent():
    with pytest.raises(ValueError, match=r"at most 32 dimensions. Received: 33"):
        tensors.encode(np.zeros((1,) * 33, np.uint8))
