"""Strings of JSON that are too long for a text: contents in base64."""

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.v1 import dataset_service_pb2, input_pb2, prediction_service_pb2
from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http import messages
from headstart_server.api.http.long_strings import LONG_TEXT, LongString
from headstart_server.api.http.messages import parse_json
from headstart_server.errors import InvalidField

CONTENT = bytes(range(256)) * 4096
LONG = base64.b64encode(CONTENT)
assert len(LONG) > MAX_TEXT


def outcome(decode: Any) -> bytes | str:
    try:
        return decode()  # type: ignore[no-any-return]
    except ValueError:
        return "refused"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["QUJD", "-_+/", "A", "\n", " ", "é", "!", "AAAA" * 20_000]), max_size=12),
    st.sampled_from(["", "=", "==", "===", "=\n="]),
)
def test_base64_is_decoded_as_protobuf_decodes_it(parts: list[str], end: str) -> None:
    text = "".join(parts)
    # Python reads on after padding that is not needed, and so do not all its releases.
    if len([each for each in text if each.isascii() and (each.isalnum() or each in "+/-_")]) % 4 == 0:
        end = ""
    text += end
    # As protobuf does for short strings, except that it counts ignored characters when it adds padding.
    known = bytes(each for each in text.encode() if (chr(each).isalnum() and each < 128) or each in b"+/-_=")
    expected = outcome(lambda: base64.urlsafe_b64decode(known + b"=" * (4 - len(known) % 4)))
    assert outcome(LongString(text.encode()).decoded) == expected


@pytest.mark.parametrize("name", ["image", "tensor.data"])
def test_long_contents_become_fields_of_bytes(name: str) -> None:
    value = b'"' + LONG.replace(b"/", b"\\/") + b'"'
    if name == "tensor.data":
        value = b'{"dataType": "DATA_TYPE_UINT8", "data": ' + value + b"}"
    text = (
        b'{"inputs": [{"text": "a"}, {"' + name.split(".", maxsplit=1)[0].encode() + b'": ' + value + b"}]}"
    )
    message = prediction_service_pb2.PredictRequest()
    parse_json(text, message)
    assert message.inputs[0].text == "a"
    found = message.inputs[1].image or message.inputs[1].tensor.data
    assert found == CONTENT


STRING = b'"' + LONG + b'"'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"inputs": [{"text": %s}]}', r"inputs\[0\]\.text has more than 1048576 characters"),
        (b'{"routingKey": %s}', "routingKey has more than 1048576 characters"),
        (b'{"targets": [{"model": %s}]}', r"targets\[0\]\.model has more than 1048576 characters"),
        (b'{"inputs": [{"features": [1, %s]}]}', r"features\[1\] must be a finite number"),
        (b'{"topK": %s}', "topK"),
        (b'{"inputs": %s}', "inputs"),
        (b'{"inputs": [%s]}', "inputs"),
        (b'{"inputs": [{"image": [%s]}]}', "image"),
        (b'{"inputs": [{"image": {"a": %s}}]}', "image"),
        (b'{"other": %s}', "no field named"),
        (b'{"inputs": [{"image": "=AAA%s"}]}'.replace(b'"=AAA%s"', b'"A' + LONG[:-4] + b'"'), "not base64"),
    ],
)
def test_a_long_string_in_another_field_is_refused_by_its_path(text: bytes, reason: str) -> None:
    message = prediction_service_pb2.PredictRequest()
    with pytest.raises(InvalidField, match=reason) as caught:
        parse_json(text.replace(b"%s", STRING), message)
    assert len(str(caught.value)) < 1000


def test_a_long_string_in_a_map_is_refused_by_its_path() -> None:
    with pytest.raises(InvalidField, match=r"tags\.a has more than"):
        parse_json(b'{"tags": {"a": ' + STRING + b"}}", dataset_service_pb2.CreateDatasetRequest())


def test_a_value_of_a_wrong_kind_is_short_in_its_error() -> None:
    texts = b",".join(b'"%d": "' % place + b"\x7f" * MAX_TEXT + b'"' for place in range(8))
    with pytest.raises(InvalidField, match="an object") as caught:
        parse_json(b'{"inputs": {' + texts + b"}}", prediction_service_pb2.PredictRequest())
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["aé\U0001f600" * 60_000, "a" * LONG_TEXT])
def test_a_long_text_is_read_as_a_short_one(text: str) -> None:
    body = {"inputs": [{"text": "a"}, {"text": text}], "routingKey": text}
    message = prediction_service_pb2.PredictRequest()
    parse_json(json.dumps(body).encode(), message, "the body")

    assert [each.text for each in message.inputs] == ["a", text]
    assert message.routing_key == text


def test_a_long_name_of_a_class_may_be_in_the_short_form_of_a_label() -> None:
    example = input_pb2.Example()
    parse_json(json.dumps({"label": "b" * 2 * LONG_TEXT, "example_id": "a"}).encode(), example, "line 1")

    assert (example.label.class_name, example.example_id) == ("b" * 2 * LONG_TEXT, "a")


@pytest.mark.parametrize("length", [1, 2 * LONG_TEXT])
def test_half_a_character_is_refused_in_texts_of_any_length(length: int) -> None:
    body = json.dumps({"inputs": [{"text": "a" * length + "\ud800"}]}).encode()
    with pytest.raises(InvalidField, match="the body"):
        parse_json(body, prediction_service_pb2.PredictRequest(), "the body")


def test_protobuf_does_not_search_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def parse(values: Any, message: Message) -> None:
        found.append(len(values["inputs"][0]["text"]))
        ParseDict(values, message)

    monkeypatch.setattr(messages, "ParseDict", parse)
    message = prediction_service_pb2.PredictRequest()
    parse_json(json.dumps({"inputs": [{"text": "a" * 2 * LONG_TEXT}]}).encode(), message, "the body")

    assert (found, len(message.inputs[0].text)) == ([0], 2 * LONG_TEXT)
