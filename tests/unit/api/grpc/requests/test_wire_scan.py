"""The scan before parsing and the checks after it agree on what a request holds."""

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart.v1 import fine_tuning_service_pb2, prediction_service_pb2, version_selector_pb2
from headstart_server.api.compat import open_inference_pb2
from headstart_server.api.grpc.requests import wire_scan
from headstart_server.api.grpc.requests.limits import LIMITS, MAX_INTEGERS
from headstart_server.api.grpc.requests.request_checks import check_request
from headstart_server.api.grpc.requests.wire_scan import GroupError, TooManyElementsError, scan
from headstart_server.errors import HeadstartError

LONG = LIMITS["headstart.v1.Tensor.shape"].entries or 0


def around(most: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, most - 1, most, most + 1, 2 * most])


def selectors(count: int) -> list[Any]:
    return [version_selector_pb2.VersionSelector(model="a")] * count


@st.composite
def predicts(draw: st.DrawFn) -> Message:
    return prediction_service_pb2.PredictRequest(
        inputs=[
            {"tensor": {"shape": [draw(st.sampled_from([1, 300, -1, 2**62]))] * draw(around(LONG))}}
            for _ in range(draw(st.integers(0, 3)))
        ],
        targets=selectors(draw(around(100))),
    )


@st.composite
def fine_tunes(draw: st.DrawFn) -> Message:
    return fine_tuning_service_pb2.FineTuneRequest(
        spec={
            "model": "a",
            "tags": {str(number): "x" for number in range(draw(around(64)))},
            "backbone_candidates": [str(number) for number in range(draw(around(16)))],
            "recipe": {"mlp": {"views": [str(number) for number in range(draw(around(16)))]}},
        }
    )


@st.composite
def infers(draw: st.DrawFn) -> Message:
    parameters = {str(number): {"bool_param": True} for number in range(draw(around(64)))}
    return open_inference_pb2.ModelInferRequest(
        model_name="a",
        parameters=parameters,
        inputs=[{"shape": [1] * draw(around(LONG)), "contents": {"int64_contents": [-1] * 9}}],
        raw_input_contents=[b"x"] * draw(around(16)),
    )


def varint(value: int, *, least: int = 1) -> bytes:
    """Return a varint of at least so many bytes."""
    digits = [value >> shift & 0x7F for shift in range(0, max(7 * least, value.bit_length()), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def nested(number: int, content: bytes) -> bytes:
    """Return a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


#: Integers of a tensor as they are written: those of one byte, and longer ones.
INTEGERS = st.sampled_from([0, 1, 127, 128, 2**31 - 1, 2**64 - 1])


@st.composite
def integer_fields(draw: st.DrawFn, numbers: range) -> bytes:
    """Fields of integers with these numbers, each in packed parts and single ones."""
    parts = []
    for number in draw(st.lists(st.sampled_from(numbers), max_size=4)):
        written = [varint(each) for each in draw(st.lists(INTEGERS, max_size=8))]
        if draw(st.booleans()):
            parts.append(nested(number, b"".join(written)))
        else:
            parts += [varint(number << 3) + each for each in written]
    return b"".join(parts)


@st.composite
def tensors_on_the_wire(draw: st.DrawFn) -> bytes:
    """A ModelInferRequest with integers in its tensors; the parts of one tensor may be apart."""
    tensors = []
    for _ in range(draw(st.integers(0, 4))):
        shape = draw(integer_fields(range(3, 4)))
        contents = draw(st.lists(integer_fields(range(1, 6)), max_size=2))
        tensors.append(shape + b"".join(nested(5, each) for each in contents))
    return b"".join(nested(5, each) for each in tensors)


#: Pieces that are no message: tags and lengths of any kind, overlong numbers, groups, nested or not.
PIECES = st.one_of(
    st.binary(max_size=4),
    st.builds(lambda number, kind: varint(number << 3 | kind), st.integers(0, 9), st.integers(0, 7)),
    st.builds(varint, st.integers(0, 2**70), least=st.integers(1, 12)),
    st.builds(nested, st.integers(1, 8), st.binary(max_size=6)),
    tensors_on_the_wire(),
)
HOSTILE = st.recursive(
    PIECES, lambda inner: st.builds(lambda parts: nested(5, b"".join(parts)), st.lists(inner, max_size=4))
)


def is_refused(check: Any, *arguments: Any) -> bool:
    try:
        check(*arguments)
    except HeadstartError:
        return True
    return False


@settings(max_examples=150, deadline=None)
@given(st.one_of(predicts(), fine_tunes(), infers()))
def test_what_is_scanned_is_refused_if_and_only_if_what_is_parsed_is(message: Message) -> None:
    content = message.SerializeToString()
    assert is_refused(scan, content, message.DESCRIPTOR) == is_refused(check_request, message)


@settings(max_examples=100, deadline=None)
@given(predicts(), predicts())
def test_parts_of_a_message_are_counted_together(first: Message, second: Message) -> None:
    content = first.SerializeToString() + second.SerializeToString()
    whole = type(first).FromString(content)
    assert is_refused(scan, content, whole.DESCRIPTOR) == is_refused(check_request, whole)


def test_packed_numbers_and_single_ones_are_counted_together() -> None:
    packed, single = b"\x12" + bytes([LONG - 1]) + b"\1" * (LONG - 1), b"\x10\1"
    kind = prediction_service_pb2.PredictRequest.DESCRIPTOR

    def wrapped(tensor: bytes) -> bytes:
        given = b"\x1a" + bytes([len(tensor)]) + tensor
        return b"\x12" + bytes([len(given)]) + given

    scan(wrapped(packed + single), kind)
    with pytest.raises(HeadstartError) as caught:
        scan(wrapped(packed + single * 2), kind)
    assert caught.value.field == "inputs[0].tensor.shape"
    # The key of a field may be written with more bytes than it needs.
    with pytest.raises(HeadstartError):
        scan(wrapped(packed + b"\x90\x80\0\1" * 2), kind)


@pytest.mark.parametrize("most", [0, 9, 20])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=tensors_on_the_wire())
def test_integers_of_all_fields_are_counted_together(
    monkeypatch: pytest.MonkeyPatch, most: int, content: bytes
) -> None:
    monkeypatch.setattr(wire_scan, "MAX_INTEGERS", most)
    kind = open_inference_pb2.ModelInferRequest
    message = kind.FromString(content)
    counts = [len(each.shape) for each in message.inputs]
    counts += [len(values) for each in message.inputs for _, values in each.contents.ListFields()]
    assert is_refused(scan, content, kind.DESCRIPTOR) == (sum(counts) > most)


@pytest.mark.parametrize("field", ["bool_contents", "int_contents", "int64_contents", "uint_contents"])
def test_tensors_together_have_no_more_integers_than_one_may_have(field: str) -> None:
    kind = open_inference_pb2.ModelInferRequest
    half = nested(5, nested(5, nested(kind_field(field), b"\1" * (MAX_INTEGERS // 2))))
    scan(half * 2, kind.DESCRIPTOR)
    for content in (half * 3, half * 2 + nested(5, nested(3, b"\1"))):
        with pytest.raises(TooManyElementsError, match="integers"):
            scan(content, kind.DESCRIPTOR)


def kind_field(name: str) -> int:
    return int(open_inference_pb2.InferTensorContents.DESCRIPTOR.fields_by_name[name].number)


def test_a_packed_field_in_parts_has_as_many_integers_as_its_numbers_end() -> None:
    # Each part has fewer bytes than the field may have integers, and a tenth of these as integers.
    part = nested(3, varint(2**64 - 1) * (MAX_INTEGERS // 10))
    scan(nested(5, nested(5, part * 3)), open_inference_pb2.ModelInferRequest.DESCRIPTOR)


def test_a_field_that_claims_to_be_longer_than_its_message_ends_the_scan() -> None:
    kind = open_inference_pb2.ModelInferRequest.DESCRIPTOR
    # Counting what is not there would take months.
    packed = varint(kind_field("int_contents") << 3 | 2) + varint(2**62)
    with pytest.raises(DecodeError):
        scan(nested(5, nested(5, packed + b"\1")), kind)


def test_a_number_of_too_many_bytes_ends_the_scan() -> None:
    kind = prediction_service_pb2.PredictRequest.DESCRIPTOR
    scan(b"\x18" + varint(0, least=10), kind)
    with pytest.raises(DecodeError, match="ten bytes"):
        scan(b"\x18" + varint(0, least=11), kind)


@settings(max_examples=500, deadline=None)
@given(st.lists(HOSTILE, max_size=6).map(b"".join), st.integers(0, 40))
def test_whatever_is_scanned_is_refused_or_no_message_or_as_it_is_parsed(content: bytes, cut: int) -> None:
    kind = open_inference_pb2.ModelInferRequest
    content = content[: len(content) - cut]
    try:
        scan(content, kind.DESCRIPTOR)
    except DecodeError as error:
        if not isinstance(error, GroupError):
            with pytest.raises(DecodeError):
                kind.FromString(content)
    except HeadstartError:
        # A field may be too long, and its content incomplete.
        with suppress(DecodeError):
            assert is_refused(check_request, kind.FromString(content))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_can_be_parsed_can_be_scanned(content: bytes) -> None:
    kind = prediction_service_pb2.PredictRequest
    try:
        kind.FromString(content)
    except DecodeError:
        return
    # Groups are the exception: no serializer of this contract writes them.
    with suppress(GroupError):
        scan(content, kind.DESCRIPTOR)
