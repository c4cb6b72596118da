"""Bodies of requests: forms, archives, lines and JSON, whole, damaged and too large."""

import io
import json
import re
import struct
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

import pytest

from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.v1 import input_pb2, job_pb2, model_service_pb2, prediction_service_pb2
from headstart_server.api.http.body import ClientDisconnectedError, PieceBuffer, RequestBody, read_within
from headstart_server.api.http.body_storage import BodyStorage
from headstart_server.api.http.columns import split_columns
from headstart_server.api.http.forms import options_of
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.api.http.json_text import FEW_VALUES
from headstart_server.api.http.messages import fill, fill_parameters, parse_json
from headstart_server.api.http.request import HttpRequest, message_of
from headstart_server.api.http.routes import ROUTES
from headstart_server.api.http.uploads import examples_of, stream_of
from headstart_server.errors import (
    DatasetTooLarge,
    DeadlineExceeded,
    InputTooLarge,
    InvalidField,
    MessageTooLarge,
)

ROUTE = next(route for route in ROUTES if route.descriptor.name == "FineTune")
FORM_OF_TWO = (
    b'--x\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{"alias": "stable"}\r\n'
    b'--x\r\nContent-Disposition: form-data; name="cat"; filename="1.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n\xff\xd8images\r\n"
    b'--x\r\nContent-Disposition: form-data; name="files"; filename="dog/2.png"\r\n\r\npng\r\n'
    b'--x\r\nContent-Disposition: form-data; name="liked"\r\n\r\nA joy.\r\n--x--\r\n'
)


async def pieces(body: bytes, size: int = 1 << 20) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def limits(folder: Path, **given: int) -> UploadLimits:
    usual = {"message_bytes": 1000, "input_bytes": 500, "dataset_bytes": 10_000, "examples": 10, "inputs": 3}
    return UploadLimits(storage=BodyStorage(folder), **{**usual, **given})


@pytest.mark.parametrize("size", [1, 65_536, (1 << 20) - 1, 1 << 20, 3 << 20])
async def test_a_body_in_pieces_of_any_size_is_joined_in_order(size: int) -> None:
    body = bytes(range(251)) * (4 << 10) if size == 1 else bytes(range(251)) * (16 << 10)
    assert await read_within(pieces(body, size), len(body)) == body
    with pytest.raises(MessageTooLarge):
        await read_within(pieces(body, size), len(body) - 1)


async def test_small_pieces_take_no_more_memory_than_their_bytes() -> None:
    found = PieceBuffer()
    tracemalloc.start()
    try:
        for _ in range(200_000):
            found.add(b"a")
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == len(await found.joined()) == 200_000
    assert taken < 2 * 200_000


async def read(
    body: bytes, content_type: str, folder: Path, *, size: int = 1 << 20, query: str = "", **given: int
) -> tuple[job_pb2.FineTuneSpec, list[Any]]:
    media_type, options = options_of(content_type)
    columns, others = split_columns(parse_qs(query))
    requested = HttpRequest(
        route=ROUTE, path={}, query=others, media_type=media_type, options=options, columns=columns
    )
    spec = job_pb2.FineTuneSpec(model="pets")
    examples = examples_of(pieces(body, size), requested, spec, limits(folder, **given))
    messages = [message async for message in stream_of(examples, pb.FineTuneRequest, lambda: spec)]
    assert messages[0].WhichOneof("part") == "spec"
    return messages[0].spec, [each for message in messages[1:] for each in message.examples.examples]


#: An integer that is larger than every floating-point number.
LARGE_NUMBER = b"1" + b"0" * 400


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_a_form_gives_files_their_folder_or_field_as_class_however_it_is_cut(
    tmp_path: Path, size: int
) -> None:
    spec, examples = await read(FORM_OF_TWO, "multipart/form-data; boundary=x", tmp_path, size=size)
    assert spec.alias == "stable"
    assert [(each.label.class_name, each.example_id) for each in examples] == [
        ("cat", "cat/1.jpg"),
        ("dog", "dog/2.png"),
        ("liked", ""),
    ]
    assert examples[0].input.image == b"\xff\xd8images"
    assert examples[2].input.text == "A joy."


async def test_the_parts_of_a_data_set_in_a_form_are_no_classes(tmp_path: Path) -> None:
    def form(*names: str) -> bytes:
        head = 'Content-Disposition: form-data; name="file"; filename="{}"\r\nContent-Type: image/png\r\n'
        return "".join(f"--x\r\n{head.format(name)}\r\nabc\r\n" for name in (*names,)).encode() + b"--x--\r\n"

    kind = "multipart/form-data; boundary=x"
    for names in (("train/cat/1.png", "test/cat/2.png"), ("train/cat/1.png", "train/dog/2.png")):
        with pytest.raises(InvalidField, match="The folders of the form look like the parts of a data set"):
            await read(form(*names), kind, tmp_path)
    _, examples = await read(form("train/1.png", "plane/2.png", "3.png"), kind, tmp_path)
    assert [each.label.class_name for each in examples] == ["train", "plane", "file"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (FORM_OF_TWO[:-8], "multipart/form-data; boundary=x"),
        (b"nothing of a form", "multipart/form-data; boundary=x"),
        (FORM_OF_TWO, "multipart/form-data"),
        (b"--x\r\nA: " + b"b" * 9000, "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\nA\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"no archive", "application/zip"),
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"examples": 3}', "application/json"),
        (b'{"exampels": []}', "application/json"),
        (b'{"examples": [{"label": 3}]}', "application/json"),
        (b'{"examples": [null]}', "application/json"),
        (b'{"examples": ["a"]}', "application/json"),
        (b"[" * 100_000, "application/jsonl"),
        (b'{"label": "a", "colour": "b"}', "application/jsonl"),
        (b"\xff\xfe", "application/jsonl"),
        (FORM_OF_TWO, f"multipart/form-data; boundary={'x' * 300}"),
        (b'{"spec": null}', "application/json"),
        (b'{"spec": []}\n{"text": "a", "label": "b"}', "application/jsonl"),
        (b'{"examples": [{"label": {"number": %s}}]}' % LARGE_NUMBER, "application/json"),
        (b'{"examples": [{"label": "a", "weight": %s}]}' % LARGE_NUMBER, "application/json"),
    ],
)
async def test_a_body_that_is_not_what_it_says_is_refused(tmp_path: Path, body: bytes, kind: str) -> None:
    with pytest.raises(
        InvalidField,
        match=r"Expected .* Received|Cannot read [^:]+: |boundary is missing|has no name\. Name it",
    ):
        await read(body, kind, tmp_path, message_bytes=1 << 20)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"review,verdict,label\nA joy.,good,7\nA bore.,bad,8\n", "text/csv"),
        (b"review\tverdict\nA joy.\tgood\nA bore.\tbad\n", "text/tab-separated-values"),
        (
            b'{"review": "A joy.", "verdict": "good"}\n{"review": "A bore.", "verdict": "bad"}\n',
            "application/jsonl",
        ),
    ],
)
async def test_the_query_names_the_columns_of_a_table(tmp_path: Path, body: bytes, kind: str) -> None:
    for query in ("textColumn=review&labelColumn=verdict", "text_column=review&label_column=verdict"):
        _, examples = await read(body, kind, tmp_path, query=query)
        assert [(each.input.text, each.label.class_name) for each in examples] == [
            ("A joy.", "good"),
            ("A bore.", "bad"),
        ]


async def test_the_query_names_the_columns_of_numbers_ids_and_values(tmp_path: Path) -> None:
    body = b"name,b,a,price,year\nx,1,2,3.5,1999\ny,4,5,6.5,2000\n"
    query = "idColumn=name&valueColumn=price&featureColumns=a&featureColumns=b"
    _, examples = await read(body, "text/csv", tmp_path, query=query)
    assert [(each.example_id, each.label.number) for each in examples] == [("x", 3.5), ("y", 6.5)]
    assert [each.input.tensor for each in examples] == [tensor(2, 1), tensor(5, 4)]


@pytest.mark.parametrize(
    ("body", "kind", "query", "message"),
    [
        (b"a,b\n1,x\n", "text/csv", "labelColumn=c", "column `c` is expected. Received the columns: a, b"),
        (b"a,b\n1,x\n", "text/csv", "labelColumn=b&labelColumn=a", "more than once. Send it once"),
        (b"a,b\n1,x\n", "text/csv", "labelColumn=b&label_column=b", "more than once. Send it once"),
        (FORM_OF_TWO, "multipart/form-data; boundary=x", "labelColumn=b", "Leave out labelColumn"),
    ],
)
async def test_columns_that_a_body_does_not_have_are_refused(
    tmp_path: Path, body: bytes, kind: str, query: str, message: str
) -> None:
    with pytest.raises(InvalidField, match=message):
        await read(body, kind, tmp_path, query=query)


async def test_a_header_of_many_options_is_refused_unread(tmp_path: Path) -> None:
    options = b"; a=b" * 65
    body = b'--x\r\nContent-Disposition: form-data; name="a"%s\r\n\r\nA\r\n--x--\r\n' % options
    with pytest.raises(InvalidField, match="more than 64 semicolons"):
        await read(body, "multipart/form-data; boundary=x", tmp_path)
    with pytest.raises(InvalidField, match="more than 64 semicolons"):
        options_of(f"application/json{options.decode()}")


async def test_a_part_that_is_too_large_is_refused_before_it_is_whole(tmp_path: Path) -> None:
    with pytest.raises(InputTooLarge):
        body = FORM_OF_TWO[: FORM_OF_TWO.index(b"images")] + b"a" * 9999
        await read(body, "multipart/form-data; boundary=x", tmp_path, input_bytes=99)


async def test_lines_may_begin_with_the_spec(tmp_path: Path) -> None:
    lines = ['{"spec": {"seed": "3"}}', "", '{"label": "a", "input": {"text": "x"}}', '{"label": "b"}']
    spec, examples = await read("\n".join(lines).encode(), "application/jsonl", tmp_path, size=5)
    assert (spec.model, spec.seed) == ("pets", 3)
    assert [each.label.class_name for each in examples] == ["a", "b"]


ROWS = [
    {"text": "a joy", "label": "good", "id": "1", "weight": 2},
    {"text": "a bore", "label": "bad", "held_out": True},
]


@pytest.mark.parametrize("size", [3, 1 << 20])
@pytest.mark.parametrize("spec", [[], [{"spec": {"seed": "3"}}]])
async def test_lines_may_be_the_rows_of_a_file(tmp_path: Path, size: int, spec: list[dict[str, Any]]) -> None:
    body = "\n".join(map(json.dumps, [*spec, *ROWS])).encode()
    found, examples = await read(body, "application/jsonl", tmp_path, size=size)
    assert found.seed == (3 if spec else 0)
    assert [
        (each.input.text, each.label.class_name, each.example_id, each.held_out) for each in examples
    ] == [
        ("a joy", "good", "1", False),
        ("a bore", "bad", "", True),
    ]
    assert examples[0].weight == 2


async def test_rows_full_of_values_are_not_read_by_python_which_keeps_its_lock(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y", "more": [[]] * 50_000}]
    body = "\n".join(map(json.dumps, rows)).encode()
    with mock.patch.object(json, "loads", wraps=json.loads) as loads:
        _, examples = await read(
            body, "application/jsonl", tmp_path, message_bytes=1 << 20, dataset_bytes=1 << 20
        )
    assert [each.input.text for each in examples] == ["a", "b"]
    assert max(call.args[0].count("[") for call in loads.call_args_list) <= FEW_VALUES


async def test_lines_may_be_rows_of_features(tmp_path: Path) -> None:
    rows = [{"features": [1, 2.5], "label": "a"}, {"features": [3, 4], "label": "b"}]
    _, examples = await read("\n".join(map(json.dumps, rows)).encode(), "application/jsonl", tmp_path)
    assert [each.input.tensor for each in examples] == [tensor(1, 2.5), tensor(3, 4)]


@pytest.mark.parametrize(
    ("media_type", "separator"), [("text/csv", ","), ("text/tab-separated-values", "\t")]
)
async def test_a_table_gives_its_texts_or_columns_of_numbers(
    tmp_path: Path, media_type: str, separator: str
) -> None:
    texts = 'text,label\n"a, joy\nindeed",good\n'.replace(",", separator).encode()
    _, [example] = await read(texts, media_type, tmp_path, size=5)
    assert example.input.text == "a, joy\nindeed".replace(",", separator)
    numbers = "width,height,label\n1,2.5,a\n3,4,b\n".replace(",", separator).encode()
    _, examples = await read(numbers, media_type, tmp_path)
    assert [(each.input.tensor, each.label.class_name) for each in examples] == [
        (tensor(1, 2.5), "a"),
        (tensor(3, 4), "b"),
    ]


@pytest.mark.parametrize(
    ("body", "media_type", "named"),
    [
        (b"path,label\na.jpg,b\n", "text/csv", "line 2: a path cannot be read over HTTP"),
        (b"text,label\na,\n", "text/csv", "line 2"),
        (b"text,label\n\xff,b\n", "text/csv", "UTF-8"),
        (b"", "text/csv", "The body"),
        (b'{"text": "a", "label": "b"}\n{"text": 3, "label": "b"}', "application/jsonl", "line 2"),
        (b'{"text": "a", "lable": "b"}', "application/jsonl", "line 1"),
        (b'{"features": [%s], "label": "b"}' % LARGE_NUMBER, "application/jsonl", "line 1.*finite number"),
        (b'{"text": "a", "value": %s}' % LARGE_NUMBER, "application/jsonl", "line 1.*finite number"),
        (b'{"text": "a", "label": "b", "weight": %s}' % LARGE_NUMBER, "application/jsonl", "line 1.*weight"),
    ],
)
async def test_a_wrong_row_is_refused_by_its_line(
    tmp_path: Path, body: bytes, media_type: str, named: str
) -> None:
    with pytest.raises(InvalidField, match=named):
        await read(body, media_type, tmp_path)


async def test_a_table_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetTooLarge):
        await read(b"text,label\n" + b"a" * (17 << 20), "text/csv", tmp_path, dataset_bytes=1000)
    assert list(tmp_path.iterdir()) == []


async def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MessageTooLarge):
        await read(b"a" * 200_000, "application/jsonl", tmp_path, size=1000)


async def test_a_line_that_is_wrong_is_named_however_many_come_at_once(tmp_path: Path) -> None:
    lines = [b'{"label": "a"}'] * 5000 + [b'{"label": 3}']
    with pytest.raises(InvalidField, match="line 5001"):
        await read(b"\n".join(lines), "application/jsonl", tmp_path, size=1 << 16)


async def test_json_that_is_too_large_is_refused_with_other_forms_to_use(tmp_path: Path) -> None:
    body = b'{"examples": [{"label": "' + b"a" * (17 << 20) + b'"}]}'
    with pytest.raises(MessageTooLarge, match="ZIP archive"):
        await read(body, "application/json", tmp_path, message_bytes=64 << 20)


async def predicted(body: bytes, content_type: str, folder: Path, **given: int) -> Any:
    media_type, options = options_of(content_type)
    route = next(route for route in ROUTES if route.descriptor.name == "Predict")
    requested = HttpRequest(route=route, path={}, query={}, media_type=media_type, options=options)
    events = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(events)

    return await message_of(requested, RequestBody(receive), limits(folder, **given))


def tensor(*numbers: float) -> input_pb2.Tensor:
    data = struct.pack(f"<{len(numbers)}d", *numbers)
    return input_pb2.Tensor(data_type=input_pb2.DATA_TYPE_FLOAT64, shape=[len(numbers)], data=data)


async def test_a_row_of_numbers_in_json_is_a_tensor(tmp_path: Path) -> None:
    body = b'{"inputs": [{"features": [5.1, 3]}, {"text": "a"}, {"features": []}]}'
    request = await predicted(body, "application/json", tmp_path)
    assert request.inputs[0].tensor == tensor(5.1, 3)
    assert request.inputs[1].text == "a"
    assert request.inputs[2].tensor == tensor()


async def test_an_input_in_json_that_is_not_an_object_is_refused_by_its_path(tmp_path: Path) -> None:
    for value in ("[5.1, 3]", "5.1", '"joy"'):
        named = re.escape('inputs[1] must be an object, such as {"text": "…"} or {"features": [5.1, 3.5]}.')
        with pytest.raises(InvalidField, match=f"{named} Received: {re.escape(value)}"):
            await predicted(
                f'{{"inputs": [{{"text": "a"}}, {value}]}}'.encode(), "application/json", tmp_path
            )


async def test_examples_in_json_may_have_rows_of_numbers(tmp_path: Path) -> None:
    example = {"input": {"features": [1, 2.5]}}
    _, [found] = await read(json.dumps({"examples": [example]}).encode(), "application/json", tmp_path)
    assert found.input.tensor == tensor(1, 2.5)
    _, [found] = await read(json.dumps(example).encode(), "application/jsonl", tmp_path)
    assert found.input.tensor == tensor(1, 2.5)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ('["a"]', r"inputs\[1\]\.features\[0\] must be a finite number. Received: 'a'"),
        ("[1, true]", r"inputs\[1\]\.features\[1\] must be a finite number. Received: 'True'"),
        ("[1, NaN]", r"features\[1\] must be a finite number"),
        (f"[1{'0' * 400}]", r"features\[0\] must be a finite number"),
        ("[[1]]", r"features\[0\] must be a finite number"),
        ("3", r"inputs\[1\]\.features must be a list of numbers"),
        ('[1], "text": "a"', r"inputs\[1\] has features and other keys"),
    ],
)
async def test_a_row_that_is_not_of_numbers_is_refused_by_its_path(
    tmp_path: Path, row: str, named: str
) -> None:
    body = f'{{"inputs": [{{"text": "a"}}, {{"features": {row}}}]}}'.encode()
    with pytest.raises(InvalidField, match=named):
        await predicted(body, "application/json", tmp_path)


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "", "application/json"])
@pytest.mark.parametrize(
    ("body", "kind", "remedy"),
    [
        (b"\xff\xd8\xff\xe0" + bytes(2000), "a JPEG image", "image/jpeg"),
        (b"\x89PNG\r\n", "a PNG image", "image/png"),
        (b"PK\x03\x04", "a ZIP archive", "application/zip"),
    ],
)
async def test_a_file_without_its_content_type_is_refused_with_the_one_to_send(
    tmp_path: Path, media_type: str, body: bytes, kind: str, remedy: str
) -> None:
    expected = f"The content type is {media_type or 'missing'}, and the body is {kind}. "
    for work in (predicted(body, media_type, tmp_path), read(body, media_type, tmp_path)):
        with pytest.raises(InvalidField) as caught:
            await work
        assert caught.value.message == f"{expected}Send it with the content type {remedy}."


async def test_a_body_that_is_not_json_is_named_with_its_content_type(tmp_path: Path) -> None:
    form = "application/x-www-form-urlencoded"
    for work in (predicted(b"topK=1", form, tmp_path), read(b"topK=1", form, tmp_path)):
        with pytest.raises(InvalidField, match=rf"Cannot read the body \(content type: {form}\) as"):
            await work


@pytest.mark.parametrize("count", [3, 4])
async def test_a_form_has_no_more_inputs_than_a_call_may_have(tmp_path: Path, count: int) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nA\r\n'
    work = predicted(part * count + b"--x--\r\n", "multipart/form-data; boundary=x", tmp_path)
    if count == 3:
        assert len((await work).inputs) == 3
    else:
        with pytest.raises(InvalidField, match="more than 3 inputs"):
            await work


async def test_json_has_spec_and_examples(tmp_path: Path) -> None:
    body = {"spec": {"backbone": "b"}, "examples": [{"label": "a"}]}
    spec, examples = await read(json.dumps(body).encode(), "application/json", tmp_path)
    assert (spec.backbone, examples[0].label.class_name) == ("b", "a")


def archive(files: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, content in files:
            opened.writestr(name, content)
    return file.getvalue()


async def zipped(tmp_path: Path, *names: str, **given: int) -> list[tuple[str, str]]:
    _, examples = await read(
        archive([(name, b"images") for name in names]), "application/zip", tmp_path, **given
    )
    return [(each.label.class_name, each.example_id) for each in examples]


async def test_an_archive_gives_files_their_first_folder_as_class(tmp_path: Path) -> None:
    names = ("cat/1.jpg", "dog/deep/2.jpg", "cat/.hidden", "__MACOSX/cat/1.jpg", "dog/Thumbs.db", "dog/")
    assert await zipped(tmp_path, *names) == [("cat", "cat/1.jpg"), ("dog", "dog/deep/2.jpg")]


async def test_a_folder_around_all_classes_does_not_count(tmp_path: Path) -> None:
    names = ("photos/cat/1.jpg", "photos/dog/2.jpg")
    assert [label for label, _ in await zipped(tmp_path, *names)] == ["cat", "dog"]
    assert [label for label, _ in await zipped(tmp_path, "cat/1.jpg", "cat/2.jpg")] == ["cat", "cat"]


async def test_a_file_outside_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"1\.jpg"):
        await zipped(tmp_path, "1.jpg")


async def test_the_parts_of_a_data_set_in_an_archive_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidField, match="look like the parts of a data set, not like classes: test, train"
    ):
        await zipped(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg")
    assert [label for label, _ in await zipped(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")] == [
        "cat",
        "dog",
    ]


async def test_an_archive_of_too_many_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetTooLarge):
        await zipped(tmp_path, *(f"cat/{place}" for place in range(11)))


async def test_an_archives_directory_is_not_read_if_it_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = archive([(f"cat/{'a' * 4000}{place}", b"") for place in range(2000)])
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(DatasetTooLarge):
        await read(body, "application/zip", tmp_path, dataset_bytes=1 << 30)


@pytest.mark.parametrize("is_large", [False, True])
async def test_an_archive_that_hides_its_number_of_files_is_refused_before_its_entries_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    count = 70_000 if is_large else 1100
    body = bytearray(archive([(f"c/{place}", b"") for place in range(count)], zipfile.ZIP_STORED))
    if is_large:
        place = body.rindex(b"PK\x06\x06")
        struct.pack_into("<QQ", body, place + 24, 1, 1)
    else:
        struct.pack_into("<HH", body, body.rindex(b"PK\x05\x06") + 8, 1, 1)
    assert len(zipfile.ZipFile(io.BytesIO(body)).infolist()) == count
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(DatasetTooLarge):
        await read(bytes(body), "application/zip", tmp_path, dataset_bytes=1 << 30)


async def test_a_file_that_grows_is_read_no_further_than_an_input_may_be(tmp_path: Path) -> None:
    with pytest.raises(InputTooLarge):
        await read(archive([("cat/1", bytes(1 << 20))]), "application/zip", tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_a_bomb_of_a_method_whose_output_cannot_be_bounded_is_refused_unread(
    tmp_path: Path, method: int
) -> None:
    """Some hundred bytes of it took gigabytes: Python stops such decompressors after a whole block only."""
    body = archive([("cat/good.jpg", b"a"), ("cat/1.jpg", bytes(128 << 20))], method)
    # The first call returns the peak of all tests before this one.
    peak_memory()
    before = peak_memory()
    with pytest.raises(InvalidField, match=r"cat/1\.jpg|cat/good\.jpg") as caught:
        await read(body, "application/zip", tmp_path, message_bytes=64 << 20)
    assert "Use deflate or no compression" in str(caught.value)
    assert peak_memory() - before < 64 << 20


def peak_memory() -> int:
    """Return the peak of this process's resident memory since the last call, and begin a new one."""
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    Path("/proc/self/clear_refs").write_text("5")
    return peak


async def test_a_damaged_file_in_an_archive_is_named(tmp_path: Path) -> None:
    body = bytearray(archive([("cat/1.jpg", b"a" * 400)], zipfile.ZIP_STORED))
    body[100] ^= 0xFF
    with pytest.raises(InvalidField, match=r"cat/1\.jpg"):
        await read(bytes(body), "application/zip", tmp_path)


async def test_a_name_in_an_archive_that_is_not_in_its_encoding_is_refused(tmp_path: Path) -> None:
    body = archive([("é/1.jpg", b"a")]).replace("é/".encode(), b"\xff\xfe/")
    with pytest.raises(InvalidField, match=r"Expected a ZIP archive"):
        await read(body, "application/zip", tmp_path)


async def test_an_archive_larger_than_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetTooLarge):
        await read(bytes(20 << 20), "application/zip", tmp_path, dataset_bytes=100)
    assert not list(tmp_path.iterdir())


def test_fields_are_filled_from_texts() -> None:
    request = prediction_service_pb2.PredictRequest()
    values = {"topK": ["3"], "return_features": ["true"], "neighbors": ["2"]}
    fill(request, values, "the query")
    assert (request.top_k, request.return_features, request.neighbors) == (3, True, 2)
    report = model_service_pb2.GetReportRequest()
    fill(report, {"target.alias": ["stable"]}, "the query")
    assert report.target.alias == "stable"
    jobs = pb.ListJobsRequest()
    fill(jobs, {"states": ["running", "JOB_STATE_QUEUED"]}, "the query")
    assert list(jobs.states) == [job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_QUEUED]
    status = pb.StatusRequest()
    fill(status, {"waitDuration": ["1.5s"]}, "the query")
    assert status.wait_duration.ToMilliseconds() == 1500
    spec = job_pb2.FineTuneSpec()
    fill(spec, {"tags.team": ["x"]}, "the query")
    assert dict(spec.tags) == {"team": "x"}


@pytest.mark.parametrize(
    "values",
    [
        {"nix": ["1"]},
        {"topK": ["many"]},
        {"topK": ["1", "2"]},
        {"topK": ["99999999999"]},
        {"returnFeatures": ["perhaps"]},
        {"inputs": ["1"]},
        {"targets": ["1"]},
        {"targets.model": ["1"]},
        {"topK.a": ["1"]},
        {"": [""]},
        {"inputs.image": ["AA=="]},
    ],
)
def test_fields_there_are_not_and_values_they_cannot_have_are_refused(values: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidField, match=r"Expected|unknown field|Cannot read|cannot set|Send it once"):
        fill(prediction_service_pb2.PredictRequest(), values, "the query")


@pytest.mark.parametrize("values", [{"ttl": ["5s"], "ttl.seconds": ["1"]}, {"ttl.seconds": ["1"]}])
def test_parts_of_a_value_that_has_one_text_are_refused(values: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidField, match=r"'ttl\.seconds', which is a part of a single value. Set 'ttl'"):
        fill(job_pb2.FineTuneSpec(), values, "the query")


def test_a_body_must_not_name_another_thing_than_the_path() -> None:
    request = model_service_pb2.GetReportRequest()
    parse_json(b'{"target": {"model": "a"}}', request)
    fill_parameters(request, {"target.model": ["a"]}, {})
    with pytest.raises(InvalidField, match="'b'"):
        fill_parameters(request, {"target.model": ["b"]}, {})


async def test_a_caller_that_leaves_breaks_off_its_body() -> None:
    events = iter([{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(events)

    with pytest.raises(ClientDisconnectedError):
        _ = [piece async for piece in RequestBody(receive).pieces()]


async def test_a_body_that_stands_still_ends() -> None:
    async def receive() -> dict[str, Any]:
        import asyncio

        await asyncio.Event().wait()
        return {}

    with pytest.raises(DeadlineExceeded):
        _ = [piece async for piece in RequestBody(receive, idle_seconds=0.01).pieces()]


SPEC_PART = FORM_OF_TWO[: FORM_OF_TWO.index(b'--x\r\nContent-Disposition: form-data; name="cat"')]


@pytest.mark.parametrize(
    ("kind", "body", "before"),
    [
        ("application/zip", [b"PK", b"PK"], 0),
        ("text/csv", [b"text,label\n", b"a,b\n"], 0),
        ("text/tab-separated-values", [b"text\tlabel\n", b"a\tb\n"], 0),
        ("application/jsonl", [b'{"text": "a", "label": "b"}\n', b'{"text": "c", "label": "d"}\n'], 1),
        ("application/jsonl", [b'{"spec": {}}\n', b'{"text": "c", "label": "d"}\n'], 1),
        ("multipart/form-data; boundary=x", [SPEC_PART + b"--x\r\n", b"\r\n--x--\r\n"], 1),
        ("application/json", [b'{"spec": {"seed": 3},', b'"examples": []}'], 2),
    ],
)
async def test_the_spec_comes_before_a_body_is_put_on_disk(
    tmp_path: Path, kind: str, body: list[bytes], before: int
) -> None:
    read: list[bytes] = []

    async def given() -> AsyncIterator[bytes]:
        for piece in body:
            read.append(piece)
            yield piece

    media_type, options = options_of(kind)
    requested = HttpRequest(route=ROUTE, path={}, query={}, media_type=media_type, options=options)
    spec = job_pb2.FineTuneSpec(model="pets")
    # Nothing can be stored in it.
    examples = examples_of(given(), requested, spec, limits(tmp_path / "missing"))
    messages = stream_of(examples, pb.FineTuneRequest, lambda: spec)
    assert (await anext(messages)).WhichOneof("part") == "spec"
    assert read == body[:before]
    await messages.aclose()


async def test_a_form_without_end_is_refused_outside_of_its_parts_too(tmp_path: Path) -> None:
    requested = HttpRequest(
        route=next(route for route in ROUTES if route.descriptor.name == "Predict"),
        path={},
        query={},
        media_type="multipart/form-data",
        options={"boundary": "x"},
    )
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"\n" * 50_000, "more_body": len(read) < 100}

    with pytest.raises(MessageTooLarge):
        await message_of(requested, RequestBody(receive), limits(tmp_path))
    assert len(read) < 5
