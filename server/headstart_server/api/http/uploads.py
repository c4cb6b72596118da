"""Convert examples in HTTP bodies to the messages of a stream: the spec, then batches."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar

from google.protobuf.message import Message

from headstart.inputs.records import Layout
from headstart.inputs.task import Task
from headstart.v1 import input_pb2
from headstart_server.api.grpc.executors import BoundedExecutor
from headstart_server.api.http.archives import (
    check_class_folders,
    examples_of_list,
    files_of,
    is_row,
)
from headstart_server.api.http.body import PieceBuffer
from headstart_server.api.http.columns import TABLES, check_no_columns
from headstart_server.api.http.forms import Part, parts_of
from headstart_server.api.http.inputs import (
    FORM,
    UploadLimits,
    check_json,
    check_json_size,
    json_body,
    json_too_large,
    read_json_body,
    set_input,
)
from headstart_server.api.http.json_text import copied, in_json_thread, load_json
from headstart_server.api.http.messages import fill_parameters, parse_values, read_json
from headstart_server.api.http.request import HttpRequest
from headstart_server.errors import InvalidField

#: Maximum size of a batch in bytes and examples; a single example may be larger.
_BATCH_BYTES = 1 << 20
_BATCH_EXAMPLES = 64
#: Seconds after which a batch ends, so that other bodies are read, too.
_BATCH_SECONDS = 0.5
_MAX_ID_BYTES = 256
#: Bytes up to which reading lines is faster than switching to a thread.
_FEW_BYTES = 4096

#: Threads that read examples of stored bodies: rows full of values take long, and the event loop's default
#: threads serve short calls.
_READERS = BoundedExecutor(4)

JSON_LINES = frozenset(
    {"application/jsonl", "application/x-jsonlines", "application/x-ndjson", "application/json-lines"}
)
ZIPS = frozenset({"application/zip", "application/x-zip-compressed"})


_Result = TypeVar("_Result")

#: An example with its approximate bytes: `ByteSize` takes some milliseconds per MiB.
Sized = tuple[input_pb2.Example, int]
#: Examples in groups. At the first group, which may be empty, the spec is complete.
Examples = AsyncGenerator[Sequence[Sized], None]


async def examples_of(
    pieces: AsyncIterator[bytes], request: HttpRequest, spec: Message, limits: UploadLimits
) -> Examples:
    """Yield the examples of a body; the fields of the spec in the body are set before the first group."""
    if request.media_type not in JSON_LINES and request.media_type not in TABLES:
        check_no_columns(request.columns)
    if request.media_type == FORM:
        found = _of_form(pieces, request.options.get("boundary", ""), spec, limits)
    elif request.media_type in JSON_LINES:
        found = _of_lines(pieces, _layout_of(request, spec), spec, limits)
    elif request.media_type in TABLES:
        suffix, layout = TABLES[request.media_type], _layout_of(request, spec)
        found = _of_file(pieces, partial(examples_of_list, suffix=suffix, layout=layout), limits)
    elif request.media_type in ZIPS:
        found = _of_file(pieces, partial(_of_archive, limits=limits), limits)
    else:
        check_json(request.media_type, "application/zip, application/jsonl, text/csv")
        found = _of_json(pieces, request.media_type, spec, limits)
    async with aclosing(found) as groups:
        async for group in groups:
            yield group


async def stream_of(
    examples: Examples, request: type[Any], spec: Callable[[], Message]
) -> AsyncGenerator[Any, None]:
    """Yield the messages of a stream of spec and examples.

    Args:
        spec: returns the spec, once the first group of examples has been read.
    """
    batch: list[input_pb2.Example] = []
    size, begun = 0, False
    async with aclosing(examples):
        async for group in examples:
            if not begun:
                yield request(spec=spec())
                begun = True
            for example, nbytes in group:
                batch.append(example)
                size += nbytes
                if size >= _BATCH_BYTES or len(batch) >= _BATCH_EXAMPLES:
                    yield await copied(size, _batch, request, batch)
                    size = 0
    if not begun:
        yield request(spec=spec())
    if batch:
        yield _batch(request, batch)


def _batch(request: type[Any], examples: list[input_pb2.Example]) -> Any:
    """Return a message with the examples, which are emptied to free their memory."""
    message = request()
    for example in examples:
        message.examples.examples.add().CopyFrom(example)
        example.Clear()
    examples.clear()
    return message


async def _of_form(
    pieces: AsyncIterator[bytes], boundary: str, spec: Message, limits: UploadLimits
) -> Examples:
    begun, folders = False, set()
    async with aclosing(parts_of(pieces, boundary, limits.input_bytes)) as parts:
        async for part in parts:
            if part.name == "spec" and part.filename is None:
                if begun:
                    raise InvalidField("The field 'spec' must precede all other fields. Send it first.")
                check_json_size(part.content, limits)
                await read_json(part.content, spec, "the field 'spec'")
                yield ()
            else:
                folders.update(_folders(part)[:1])
                yield [(await copied(len(part.content), _labeled, part), len(part.content))]
            begun = True
    check_class_folders(folders, "the form")


def _labeled(part: Part) -> input_pb2.Example:
    """Return the example in a part; its class is the folder of the file, or the name of the field."""
    folders = _folders(part)
    label = folders[0] if folders else part.name
    name = "" if part.filename is None else "/".join([*(folders or [label]), _path(part).name])
    example = input_pb2.Example(label={"class_name": label}, example_id=_id(name))
    set_input(example.input, part)
    return example


def _path(part: Part) -> PurePosixPath:
    return PurePosixPath((part.filename or "").replace("\\", "/").lstrip("/"))


def _folders(part: Part) -> list[str]:
    """Return the folders of the file in a part, the outermost first."""
    return [name for name in _path(part).parts[:-1] if name not in (".", "..")]


def _id(path: str) -> str:
    return path.encode(errors="replace")[-_MAX_ID_BYTES:].decode(errors="ignore")


async def _of_file(
    pieces: AsyncIterator[bytes], read: Callable[[IO[bytes]], Iterator[Sized]], limits: UploadLimits
) -> Examples:
    """Store a body on disk, and yield its examples.

    An empty group precedes that, so that the spec is sent first: the caller's permissions, quotas and queue
    are checked with the spec.

    Args:
        read: returns the examples of the file.
    """
    yield ()
    async with limits.storage.stored(pieces, limits.dataset_bytes) as file:
        examples = read(file)
        while group := await _READERS.run(_next_group, examples):
            yield group


def _next_group(examples: Iterator[Sized]) -> list[Sized]:
    """Return the next examples, at most those of one batch; an empty list at the end."""
    group, size, began = [], 0, time.monotonic()
    for sized in examples:
        group.append(sized)
        size += sized[1]
        is_full = size >= _BATCH_BYTES or len(group) >= _BATCH_EXAMPLES
        if is_full or time.monotonic() - began > _BATCH_SECONDS:
            break
    return group


def _of_archive(file: IO[bytes], limits: UploadLimits) -> Iterator[Sized]:
    for label, path, content in files_of(file, max_files=limits.examples, max_bytes=limits.input_bytes):
        example = input_pb2.Example(
            input={"image": content}, label={"class_name": label}, example_id=_id(path)
        )
        yield example, len(content)


def _layout_of(request: HttpRequest, spec: Message) -> Layout:
    """Return the layout of a table, with the task of the spec after the query has completed it."""
    whole: Any = type(spec)()
    whole.CopyFrom(spec)
    fill_parameters(whole, request.path, request.query)
    name = input_pb2.Task.Name(getattr(whole, "task", 0)).removeprefix("TASK_")
    return replace(request.columns, task=None if name == Task.UNSPECIFIED else Task(name))


async def _of_lines(
    pieces: AsyncIterator[bytes], layout: Layout, spec: Message, limits: UploadLimits
) -> Examples:
    number, is_begun = 0, False
    async with aclosing(_lines(pieces, limits.json_bytes)) as found:
        async for lines in found:
            if number == 0 and await _read_lines(lines[:1], _is_spec, lines[0], spec):
                number, lines = 1, lines[1:]  # noqa: PLW2901
            if not is_begun and lines and await _read_lines(lines[:1], _is_row, lines[0], number + 1, layout):
                # Rows have the format of list files, whose rules concern all rows together.
                read = partial(examples_of_list, suffix=".jsonl", layout=layout)
                async with aclosing(_of_file(_rest(number, lines, found), read, limits)) as groups:
                    async for group in groups:
                        yield group
                return
            is_begun = is_begun or bool(lines)
            examples = await _read_lines(lines, _of_several, lines, number)
            number += len(lines)
            yield list(zip(examples, map(len, lines), strict=True))


async def _read_lines(lines: list[bytes], work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Run the reading of lines, in a thread unless that takes longer than the reading."""
    if sum(map(len, lines)) > _FEW_BYTES:
        return await in_json_thread(work, *arguments)
    return work(*arguments)


def _is_spec(line: bytes, spec: Message) -> bool:
    """Return whether a line is `{"spec": {...}}`; if so, set the spec's fields."""
    values = _loaded(line, "line 1")
    if values.keys() != {"spec"}:
        return False
    parse_values(values["spec"], spec, "line 1")
    return True


def _is_row(line: bytes, number: int, layout: Layout) -> bool:
    return is_row(_loaded(line, f"line {number}"), layout)


async def _rest(number: int, lines: list[bytes], others: AsyncIterator[list[bytes]]) -> AsyncIterator[bytes]:
    """Yield the lines from a row on, after an empty line for each earlier line."""
    yield b"\n" * number + b"\n".join([*lines, b""])
    async for each in others:
        yield b"\n".join([*each, b""])


def _of_several(lines: list[bytes], before: int) -> list[input_pb2.Example]:
    """Return the examples of lines that follow a number of earlier lines."""
    found = []
    for number, line in enumerate(lines, before + 1):
        found.append(input_pb2.Example())
        parse_values(_loaded(line, f"line {number}"), found[-1], f"line {number}")
    return found


async def _lines(pieces: AsyncIterator[bytes], most: int) -> AsyncGenerator[list[bytes], None]:
    """Yield the lines that end in each piece, without empty ones."""
    rest = PieceBuffer()
    async for piece in pieces:
        # Only the new piece is searched, because a line may arrive in thousands of pieces.
        first, *others = piece.split(b"\n")
        rest.add(first)
        if len(rest) > most:
            raise json_too_large(most)
        if others:
            lines = [await rest.joined(), *others[:-1]]
            rest = PieceBuffer()
            rest.add(others[-1])
            if lines := [line for line in lines if line.strip()]:
                yield lines
    line = await rest.joined()
    if line.strip():
        yield [line]


async def _of_json(
    pieces: AsyncIterator[bytes], media_type: str, spec: Message, limits: UploadLimits
) -> Examples:
    text = await read_json_body(pieces, media_type, limits)
    yield await in_json_thread(_of_document, text, json_body(media_type), spec)


def _of_document(text: bytes, where: str, spec: Message) -> list[Sized]:
    values = _loaded(text, where)
    unknown = sorted(values.keys() - {"spec", "examples"})
    listed = values.get("examples", [])
    if unknown or not isinstance(listed, list):
        problem = f"the unknown key {unknown[0][:80]!r}" if unknown else "examples that are not a list"
        raise InvalidField(f'Expected a body of {{"spec": {{...}}, "examples": [...]}}. Received: {problem}.')
    parse_values(values.get("spec", {}), spec, "spec")
    examples = []
    for place, each in enumerate(listed):
        example = input_pb2.Example()
        nbytes = parse_values(each, example, f"examples[{place}]")
        examples.append((example, nbytes or example.ByteSize()))
    return examples


def _loaded(text: bytes, where: str) -> dict[str, Any]:
    try:
        values = load_json(text)
    except ValueError as error:
        raise InvalidField(f"Cannot read {where} as JSON: {error}.") from None
    if not isinstance(values, dict):
        raise InvalidField(f"Cannot read {where}: it must be a JSON object. Received: {str(values)[:80]}.")
    return values
