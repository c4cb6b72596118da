"""The scan before parsing and the checks after it agree on what a request holds."""

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.v1 import fine_tuning_service_pb2, prediction_service_pb2, version_selector_pb2
from headstart_server.api.compat import open_inference_pb2
from headstart_server.api.grpc.requests.limits import LIMITS
from headstart_server.api.grpc.requests.request_checks import check_request
from headstart_server.api.grpc.requests.wire_scan import GroupError, scan
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
