"""Fields of protobuf messages, without their classes, and what is read from ONNX files by them."""

from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct
from hypothesis import given
from hypothesis import strategies as st

from headstart_server.backbones.sources.onnx import external_files, onnx_digest
from headstart_server.backbones.sources.protobuf_wire import (
    WireError,
    field,
    fields,
    fields_by_number,
    messages,
    texts,
)
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.sources.savedmodel import chosen
from headstart_server.backbones.sources.source import SourceError


def test_fields_are_those_that_protobuf_wrote() -> None:
    struct = Struct()
    struct.update({"name": "x" * 300, "count": 2.0, "parts": ["a", "b"], "on": True})
    data = memoryview(struct.SerializeToString(deterministic=True))
    assert texts(data, 1, 1) == ["count", "name", "on", "parts"]
    assert texts(data, 1, 2, 3) == ["x" * 300]
    assert texts(data, 1, 2, 6, 1, 3) == ["a", "b"]
    # A number of 8 bytes, and one of one.
    assert [bytes(value) for value in messages(data, 1, 2, 2)] == [b"\0\0\0\0\0\0\0@"]
    values = [value for entry in messages(data, 1, 2) for number, value in fields(entry) if number == 4]
    assert values == [1]


@given(st.binary(max_size=400))
def test_a_field_is_read_as_it_was_written(value: bytes) -> None:
    written = memoryview(field(3, value) + field(200, b"after"))
    assert [(number, bytes(one)) for number, one in fields(written)] == [(3, value), (200, b"after")]


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    try:
        found = list(fields(memoryview(data)))
    except WireError:
        return
    assert all(number > 0 for number, _ in found)


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0b", b"\xff" * 12, b"\x0a", b"\x02\x00", b"\x09abc"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="Expected a protobuf message"):
        list(fields(memoryview(data)))


def test_a_list_is_no_text() -> None:
    message = ListValue()
    message.values.add().string_value = "a"
    broken = memoryview(message.SerializeToString().replace(b"a", b"\xff"))
    with pytest.raises(WireError, match="Expected a text in UTF-8"):
        texts(broken, 1, 3)


def tensor(location: str | None) -> bytes:
    """A tensor of ONNX whose values lie in a file, or in itself."""
    raw = field(9, b"\0\0\0\0")
    if location is None:
        return raw
    return field(13, field(1, b"location") + field(2, location.encode())) + field(
        13, field(1, b"offset") + field(2, b"0")
    )


def model(path: Path, *locations: str) -> Path:
    """An ONNX file with a tensor, one in each place that ONNX has for others, and in subgraphs."""
    where = iter(locations)
    graph = field(5, tensor(None))
    for location in where:
        graph += field(5, tensor(location))
        # In an attribute of a node of a graph in an attribute of a node.
        inner = field(1, field(5, field(5, tensor(next(where, None)))))
        graph += field(1, field(5, field(6, inner)))
        graph += field(15, field(1, tensor(next(where, None))))
    path.write_bytes(field(7, graph))
    return path


def test_files_with_tensors_are_found_wherever_they_are_named(tmp_path: Path) -> None:
    assert external_files(model(tmp_path / "own.onnx")) == []
    assert external_files(model(tmp_path / "own.onnx", "c", "b", "a", "a")) == ["a", "b", "c"]


def test_of_a_field_that_is_there_twice_none_hides_the_other(tmp_path: Path) -> None:
    key = field(1, b"checksum") + field(1, b"location")
    hidden = field(13, key + field(2, b"first") + field(2, b"/etc/hostname"))
    path = tmp_path / "own.onnx"
    path.write_bytes(field(7, field(5, hidden)))
    assert external_files(path) == ["/etc/hostname", "first"]
    with pytest.raises(SourceError, match="Expected tensors in files next to"):
        onnx_digest(path)


def test_the_digest_is_that_of_the_file_or_of_all_files(tmp_path: Path) -> None:
    path = model(tmp_path / "own.onnx")
    assert onnx_digest(path) == file_digest(path)
    model(path, "data/own.weights")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.weights").write_bytes(b"1")
    before = onnx_digest(path)
    (tmp_path / "data" / "own.weights").write_bytes(b"2")
    assert onnx_digest(path) not in {before, file_digest(path)}


@pytest.mark.parametrize("location", ["/etc/hostname", "../own.weights", "data/../../own.weights", "..\\own"])
def test_tensors_are_next_to_their_file(tmp_path: Path, location: str) -> None:
    with pytest.raises(SourceError, match="Expected tensors in files next to own"):
        onnx_digest(model(tmp_path / "own.onnx", location))


def test_tensors_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"The file 'own\.weights' with tensors of own\.onnx is missing"):
        onnx_digest(model(tmp_path / "own.onnx", "own.weights"))


SIGNATURES = {"serving_default": ["vector"], "spatial": ["maps", "points"]}


@pytest.mark.parametrize(
    ("layer", "signature", "rest"),
    [
        (None, "serving_default", None),
        ("vector", "serving_default", "vector"),
        ("spatial", "spatial", None),
        ("spatial:maps", "spatial", "maps"),
        ("Relu:0", "serving_default", "Relu:0"),
        ("serving_default:Relu:0", "serving_default", "Relu:0"),
    ],
)
def test_a_layer_may_name_its_signature(layer: str | None, signature: str, rest: str | None) -> None:
    assert chosen(SIGNATURES, layer) == (signature, rest)


def test_the_only_signature_is_meant_and_of_several_none() -> None:
    assert chosen({"image": ["maps"]}, "maps") == ("image", "maps")
    with pytest.raises(SourceError, match="Received: a with x; b with y, z"):
        chosen({"a": ["x"], "b": ["y", "z"]}, None)
    with pytest.raises(SourceError, match="Received: no signature"):
        chosen({}, None)


def test_values_are_grouped_by_field_in_their_order() -> None:
    message = field(3, b"a") + b"\x08\x07" + field(3, b"b") + b"\x25\0\0\0\1"
    assert fields_by_number(message) == {3: [b"a", b"b"], 1: [7], 4: [b"\0\0\0\1"]}
    with pytest.raises(WireError):
        fields_by_number(message + b"\x0a\x05")
