"""Every field of every request has a limit, and a request beyond it is rejected by the field's name."""

import asyncio
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from headstart.v1 import (
    fine_tuning_service_pb2,
    prediction_service_pb2,
)
from headstart_server.api.grpc.requests import request_parsing
from headstart_server.api.grpc.requests.limit import size
from headstart_server.api.grpc.requests.limits import LIMITS
from headstart_server.api.grpc.requests.request_checks import check_request
from headstart_server.api.grpc.requests.request_parsing import (
    SCAN_BYTES,
    RequestParser,
    read_request,
)
from headstart_server.api.grpc.requests.wire_scan import MAX_REPEATS, MAX_UNKNOWN, scan
from headstart_server.errors import HeadstartError, InvalidField, InvalidLabel
from request_fields import (
    ALL,
    BYTES,
    COUNTED,
    LIMITED,
    RANGES,
    TEXTS,
    VARINT,
    Place,
    entries,
    number_of,
    requests,
    sized,
    tag,
    text_of,
    varint,
)

PARSERS = {name: RequestParser(kind, GetMessageClass(kind).FromString) for name, kind in requests().items()}


def parsed(place: Place, content: bytes) -> Any:
    return PARSERS[place.root.full_name](content)


def refused(place: Place, content: bytes) -> HeadstartError:
    with pytest.raises((InvalidField, InvalidLabel)) as caught:
        parsed(place, content)
    assert len(caught.value.message) < 1000
    return caught.value


def test_every_field_of_every_request_has_a_limit_and_no_limit_is_of_another_field() -> None:
    named = {place.field.full_name for place in LIMITED}
    assert named == set(LIMITS)
    for kind in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        for place in ALL:
            if place.field.type == kind:
                assert place.limit.characters or place.limit.nbytes, place


def test_a_request_with_a_field_without_a_limit_stops_the_server() -> None:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    message = file.message_type.add(name="Request")
    message.field.add(name="name", number=1, type=FieldDescriptor.TYPE_STRING, label=1)
    pool.Add(file)
    kind = GetMessageClass(pool.FindMessageTypeByName("a.Request"))
    with pytest.raises(ValueError, match=r"a\.Request\.name has no limit"):
        RequestParser(kind.DESCRIPTOR, kind.FromString)


@pytest.mark.parametrize("place", COUNTED, ids=str)
def test_one_entry_more_than_the_limit_is_rejected(place: Place) -> None:
    most = place.limit.entries or 0
    content = place.holding(entries(place, most + 1))
    error = refused(place, content)
    assert error.field == place.path(scanned=len(content) > SCAN_BYTES)
    assert f"at most {most} entries in {error.field}. Received: " in error.message
    # Without the scan, as for a small request, what is parsed is counted.
    if most <= 100_000:
        message = GetMessageClass(place.root).FromString(content)
        with pytest.raises(HeadstartError) as caught:
            check_request(message)
        assert caught.value.field == place.path()
        assert f"Received: {most + 1}." in caught.value.message


@pytest.mark.parametrize("place", [each for each in COUNTED if (each.limit.entries or 0) <= 4096], ids=str)
def test_as_many_entries_as_the_limit_are_accepted(place: Place) -> None:
    parsed(place, place.holding(entries(place, place.limit.entries or 0)))


@pytest.mark.parametrize("place", COUNTED, ids=str)
def test_a_message_full_of_one_field_is_rejected_before_it_is_parsed(place: Place) -> None:
    one = entries(place, 1) if place.field.message_type is not None else sized(place.field, b"")
    if place.field.cpp_type != FieldDescriptor.CPPTYPE_STRING and place.field.message_type is None:
        one = tag(place.field, VARINT) + b"\0"
    with pytest.raises(HeadstartError):
        scan(place.holding(one * ((8 << 20) // len(one))), place.root)


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_a_text_that_is_too_long_is_rejected(place: Place) -> None:
    limit = place.limit
    most = limit.characters or limit.nbytes or 0
    error = refused(place, text_of(place, b"x" * (most + 1)))
    assert error.field == place.path(0)
    assert f"Received: {most + 1}, beginning with 'xxx" in error.message
    parsed(place, text_of(place, b"x" * most))
    # A character of two bytes is one character.
    if limit.characters:
        parsed(place, text_of(place, "é".encode() * most))
    else:
        refused(place, text_of(place, "é".encode() * (most // 2 + 1)))


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_control_characters_are_rejected_in_every_text(place: Place) -> None:
    for character in ("\0", "\x1b", "\n", "\t", "\x7f", "\x9b", "\u202e", "\u2066"):
        content = text_of(place, f"a{character}b".encode())
        if (place.limit.lines and character != "\0") or (place.limit.prose and character in "\n\t"):
            parsed(place, content)
            continue
        error = refused(place, content)
        assert error.field == place.path(0)
        assert f"U+{ord(character):04X} as character 1" in error.message
        assert character not in error.message


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_marks_of_scripts_that_are_written_from_right_to_left_are_accepted(place: Place) -> None:
    if not place.limit.model and not place.limit.dataset:
        parsed(place, text_of(place, "\u05d0\u200f-1 \u0646\u200c".encode()))


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_half_a_character_is_no_text(place: Place) -> None:
    with pytest.raises(DecodeError):
        parsed(place, text_of(place, b"a\xed\xa0\x80b"))


@pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800])
def test_times_that_cannot_be_written_as_json_are_rejected(seconds: int) -> None:
    request = fine_tuning_service_pb2.SubmitFineTuneRequest()
    request.spec.expire_time.seconds = seconds
    with pytest.raises(InvalidField, match=r"in spec\.expire_time\.seconds"):
        PARSERS[request.DESCRIPTOR.full_name](request.SerializeToString())


@pytest.mark.parametrize("place", RANGES, ids=str)
def test_numbers_out_of_range_are_rejected(place: Place) -> None:
    limit, field = place.limit, place.field
    assert limit.low is not None
    assert limit.high is not None
    is_float = field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
    bits = 31 if field.type == FieldDescriptor.TYPE_INT32 else 63
    wrong = [limit.low - abs(limit.low) - 1e-3, limit.high * 2 + 1, float("nan")] if is_float else []
    if not is_float:
        wrong = [number for number in (limit.low - 1, limit.high + 1) if -(1 << bits) <= number < 1 << bits]
    for number in wrong:
        if number == 0:
            # Without presence, 0 is the same as nothing.
            continue
        assert refused(place, number_of(place, number)).field == place.path(0), number
    for number in (limit.low, limit.high):
        if not (field.containing_type.GetOptions().map_entry and number > 1):
            parsed(place, number_of(place, number))


@pytest.mark.parametrize(
    "place", [each for each in LIMITED if each.field.type == FieldDescriptor.TYPE_BYTES], ids=str
)
def test_bytes_beyond_the_limit_are_rejected_before_they_are_parsed(place: Place) -> None:
    # Their length is enough: the bytes need not be there.
    start = tag(place.field, BYTES) + varint((place.limit.nbytes or 0) + 1)
    for above in reversed(place.above):
        start = tag(above, BYTES) + varint(len(start)) + start
    with pytest.raises(InvalidField) as caught:
        scan(start, place.root)
    assert caught.value.field is not None
    assert caught.value.field.endswith(place.field.name)
    assert f"at most {size(place.limit.nbytes or 0)}" in caught.value.message


def test_each_view_and_each_label_of_a_recipe_may_come_once() -> None:
    message = prediction_service_pb2.EmbedRequest(views=["last", "mean", "last"])
    with pytest.raises(InvalidField, match=r"each entry once in views\. Received: 'last' twice"):
        check_request(message)


@pytest.mark.parametrize("root", requests().values(), ids=lambda kind: kind.full_name)
def test_single_and_unknown_fields_are_not_repeated_without_end(root: Descriptor) -> None:
    unknown = varint(9999 << 3) + b"\0"
    scan(unknown * MAX_UNKNOWN, root)
    with pytest.raises(InvalidField, match="fields that this server does not know"):
        scan(unknown * (MAX_UNKNOWN + 1), root)
    for field in root.fields:
        if not field.is_repeated:
            content = (sized(field, b"") if field.message_type else tag(field, VARINT) + b"\1") * MAX_REPEATS
            scan(content, root)
            with pytest.raises(InvalidField, match=f"at most {MAX_REPEATS} entries in {field.name}"):
                scan(content * 2, root)


def test_many_small_messages_within_the_limits_of_each_field_are_too_many_together() -> None:
    root = fine_tuning_service_pb2.FineTuneRequest
    labels = [str(number) for number in range(1000)]
    example = {"label": {"classes": {"class_names": labels}}}
    content = root(examples={"examples": [example] * 400}).SerializeToString()
    with pytest.raises(InvalidField, match="Split the request"):
        scan(content, root.DESCRIPTOR)
    scan(root(examples={"examples": [example] * 256}).SerializeToString(), root.DESCRIPTOR)


@pytest.mark.parametrize("content", [b"\x0b\x0c", b"\x0a\x05a", b"\x0a", b"\xff" * 20, b"\x0d\0\0"])
def test_bytes_that_are_no_message_are_no_message_to_the_scan(content: bytes) -> None:
    with pytest.raises(DecodeError):
        scan(content, prediction_service_pb2.PredictRequest.DESCRIPTOR)


def test_a_message_that_ends_behind_the_one_around_it_is_no_message() -> None:
    content = b"\x0a\x02\x0a\x05abcde"
    with pytest.raises(DecodeError):
        scan(content, prediction_service_pb2.PredictRequest.DESCRIPTOR)


async def test_large_requests_are_parsed_in_a_thread_while_the_event_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parser = PARSERS["headstart.v1.PredictRequest"]
    content = prediction_service_pb2.PredictRequest(
        targets=[{"model": "m"}], inputs=[{"image": b"x" * (2 << 20)}]
    ).SerializeToString()
    waiting = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow_scan(content: bytes, kind: Descriptor, *_: int) -> None:
        asyncio.run_coroutine_threadsafe(_set(waiting), loop).result(timeout=60)
        scan(content, kind)

    monkeypatch.setattr(request_parsing, "scan", slow_scan)
    message = await read_request(parser, content)
    assert waiting.is_set()
    assert len(message.inputs[0].image) == 2 << 20
    assert request_parsing.REQUEST_BYTES.get() == len(content)


async def test_many_elements_in_few_bytes_are_parsed_in_a_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = PARSERS["headstart.v1.FineTuneRequest"]
    few = fine_tuning_service_pb2.FineTuneRequest(
        examples={"examples": [{"input": {"image": b"x" * 120_000}}]}
    )
    assert not parser.takes_long(few.SerializeToString())
    parser = PARSERS["inference.ModelInferRequest"]
    image = GetMessageClass(requests()["inference.ModelInferRequest"])(raw_input_contents=[b"x" * 900_000])
    assert not parser.takes_long(image.SerializeToString())
    # Single numbers, each with a tag.
    contents = b"\x10\0" * 200_000
    (field,) = [each for each in LIMITED if each.path() == "inputs[0].contents.int_contents"]
    assert parser.takes_long(field.holding(contents))


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_a_zero_that_is_sent_is_out_of_a_range_that_begins_above_it() -> None:
    check_request(prediction_service_pb2.PredictRequest())
    with pytest.raises(HeadstartError) as caught:
        check_request(prediction_service_pb2.PredictRequest(top_k=0))
    assert caught.value.field == "top_k"
