"""Turns the protos in this folder into Python stubs, and checks both.

The comment of each request field ends with its limit, from the server's table of limits.
``generate`` writes the stubs into the client, and those of other servers' protocols into the server, with the
comments for the OpenAPI document. ``compare`` checks the committed stubs against the protos. ``lint`` and
``breaking`` run buf; ``baseline`` writes the descriptors that ``breaking`` compares with. A command that
finds a broken promise prints it and ends with status 1.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from google import rpc
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

from headstart_server.api.grpc.requests.limits import LIMITS

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
CLIENT = ROOT / "client"
#: Descriptors of the contract as released: `breaking` compares the protos with them.
BASELINE = PROTOS / "baseline.binpb"
PACKAGE = Path("headstart/v1")
#: Protocols of other servers: their names are given, so buf does not check them.
DIALECTS = Path("compat")
ROOM = ROOT / "server" / "headstart_server" / "api"
#: The comments of the protos, by full name of the element: stubs have none at run time.
COMMENTS = Path("http/comments.json")

#: Beginning of the line of a comment that states a limit.
_LIMIT = "// Limit:"

#: Include paths of the protos' imports: google/protobuf/*.proto and google/rpc/*.proto.
INCLUDES = (str(files("grpc_tools") / "_proto"), str(Path(next(iter(rpc.__path__))).parents[1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="contract.py", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("generate", help="write limits and stubs").set_defaults(run=lambda _: _generate())
    commands.add_parser("compare", help="compare the stubs").set_defaults(run=lambda _: compare())
    commands.add_parser("lint", help="lint the protos").set_defaults(run=lambda _: lint())
    commands.add_parser("breaking", help="compare with the baseline").set_defaults(run=lambda _: breaking())
    commands.add_parser("baseline", help="write the baseline").set_defaults(run=lambda _: write_baseline())
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except ContractError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


class ContractError(Exception):
    """The protos or their stubs are invalid."""


def write_limits() -> None:
    """Writes the limit of each request field at the end of its comment in the protos."""
    for proto, text in _with_limits().items():
        proto.write_text(text, encoding="utf-8")


def generate(target: Path, room: Path) -> None:
    """Writes messages, types and gRPC stubs of the protos below ``target``, those of dialects in ``room``."""
    _generate_dialects(room)
    protos = _protos(PROTOS)
    _protoc(PROTOS, protos, f"--python_out={target}", f"--pyi_out={target}")
    # Only files that declare services: the others would result in empty modules.
    services = [proto for proto in protos if proto.endswith("_service.proto")]
    _protoc(PROTOS, services, f"--grpc_python_out={target}")
    _generate_comments(room)


def _generate() -> None:
    write_limits()
    generate(CLIENT, ROOM)


def compare() -> None:
    """Raises ContractError unless limits and stubs are those of the server's table and of the protos."""
    expected = _with_limits()
    stale = [proto.name for proto in expected if proto.read_text(encoding="utf-8") != expected[proto]]
    if stale:
        raise ContractError(
            "The comments of the protos differ from the limits of requests/limits.py in: "
            f"{', '.join(stale)}. Run `make protos` and commit the result."
        )
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), Path(folder))
        expected = _stubs(Path(folder), Path(folder))
    found = _stubs(CLIENT, ROOM)
    differing = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if differing:
        raise ContractError(
            f"client/{PACKAGE}, or {DIALECTS} and {COMMENTS} of {ROOM.relative_to(ROOT)}, differ from the "
            f"protos in: {', '.join(differing)}. "
            "Run `make protos` and commit the result."
        )


def lint() -> None:
    """Raises ContractError unless the protos keep the rules of buf.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        image = _image(PROTOS, Path(folder) / "now.binpb")
        _buf("lint", str(image))
        clashes = _java_clashes(FileDescriptorSet.FromString(image.read_bytes()))
    if clashes:
        raise ContractError(
            "In Java, the getter of a field X_count is also the size of a list X. "
            f"Rename one of the fields: {', '.join(clashes)}."
        )


def _java_clashes(image: FileDescriptorSet) -> list[str]:
    """Return the lists next to which there is a field with their name and `_count`."""
    return [
        f"{message.name}.{field.name}"
        for file in image.file
        if file.package == "headstart.v1"
        for message in file.message_type
        for field in message.field
        if field.label == field.LABEL_REPEATED
        and any(each.name == f"{field.name}_count" for each in message.field)
    ]


def write_baseline(target: Path = BASELINE) -> None:
    """Write the descriptors of the protos as the contract that later changes must keep."""
    _image(PROTOS, target, "--include_imports")


def breaking(baseline: Path = BASELINE) -> None:
    """Raise ContractError if a change of the protos breaks programs built on the baseline."""
    if not baseline.exists():
        sys.stdout.write(f"breaking: skipped, {baseline.name} is missing. Run `make baseline` to write it.\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        image = _image(PROTOS, Path(folder) / "now.binpb")
        _buf("breaking", str(image), "--against", str(baseline))


def _protos(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in (root / PACKAGE).glob("*.proto"))


def _stubs(root: Path, room: Path) -> dict[str, bytes]:
    folders = (root / PACKAGE, room / DIALECTS)
    stubs = [path for folder in folders for path in folder.glob("*_pb2*.py*")]
    return {path.name: path.read_bytes() for path in (*stubs, room / COMMENTS) if path.exists()}


def _generate_dialects(room: Path) -> None:
    """Writes messages and their types, in a pool of their own and imported from where they lie."""
    protos = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / DIALECTS).glob("*.proto"))
    _protoc(PROTOS, protos, f"--python_out={room}", f"--pyi_out={room}")
    for stub in (room / DIALECTS).glob("*_pb2.py*"):
        text = stub.read_text()
        text = text.replace("from compat import", "from headstart_server.api.compat import")
        text = text.replace(
            "from google.protobuf import descriptor_pool as _descriptor_pool\n",
            "from headstart_server.api.compat.descriptor_pool import POOL as _POOL\n",
        )
        stub.write_text(text.replace("_descriptor_pool.Default()", "_POOL"))


def _generate_comments(room: Path) -> None:
    """Writes the comment before each service, method, message, field, enum and value."""
    with tempfile.TemporaryDirectory() as folder:
        image = FileDescriptorSet.FromString(_image(PROTOS, Path(folder) / "now.binpb").read_bytes())
    ours = {str(PACKAGE / path.name) for path in (PROTOS / PACKAGE).glob("*.proto")}
    comments: dict[str, str] = {}
    for file in image.file:
        if file.name in ours:
            names = {path: f"{file.package}.{name}" for path, name in _names(file)}
            for location in file.source_code_info.location:
                name = names.get(tuple(location.path))
                if name and location.leading_comments:
                    comments[name] = _unwrapped(location.leading_comments)
    (room / COMMENTS).parent.mkdir(exist_ok=True)
    text = json.dumps(comments, indent=1, ensure_ascii=False, sort_keys=True)
    (room / COMMENTS).write_text(f"{text}\n", encoding="utf-8")


def _with_limits() -> dict[Path, str]:
    """Returns each proto of the contract with the limits of its fields."""
    with tempfile.TemporaryDirectory() as folder:
        image = FileDescriptorSet.FromString(_image(PROTOS, Path(folder) / "now.binpb").read_bytes())
    texts: dict[Path, str] = {}
    for file in image.file:
        proto = PROTOS / file.name
        if proto.parent == PROTOS / PACKAGE:
            lines = proto.read_text(encoding="utf-8").splitlines()
            starts = {tuple(each.path): each.span[0] for each in file.source_code_info.location}
            named = [(starts[path], name) for path, name in _names(file) if path in starts]
            # From the end: a line that is added moves those below it.
            for line, name in sorted(named, reverse=True):
                _set_limit(lines, line, _limit(f"{file.package}.{name}"))
            texts[proto] = "\n".join([*lines, ""])
    return texts


def _set_limit(lines: list[str], line: int, limit: str) -> None:
    """Ends the comment before a line with a limit, in place of the one that was there."""
    start = line
    while lines[start - 1].lstrip().startswith("//"):
        start -= 1
    comment = [text for text in lines[start:line] if not text.lstrip().startswith(_LIMIT)]
    if limit:
        indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
        comment.append(f"{indent}{_LIMIT} {limit}.")
    lines[start:line] = comment


def _limit(name: str) -> str:
    """Returns the limit of a field in words, those of a map's keys and values included; empty for none."""
    message, _, field = name.rpartition(".")
    entry = f"{message}.{''.join(part.capitalize() for part in field.split('_'))}Entry"
    parts = [("", name), ("keys ", f"{entry}.key"), ("values ", f"{entry}.value")]
    return "; ".join(f"{what}{LIMITS[part]}" for what, part in parts if part in LIMITS and str(LIMITS[part]))


def _unwrapped(comment: str) -> str:
    """A comment with its paragraphs in a line each."""
    paragraphs = re.split(r"\n\s*\n", comment)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """The path of each part of a file, by the numbers of descriptor.proto's fields, and its name."""
    numbers = {field.name: field.number for field in file.DESCRIPTOR.fields}
    for place, message in enumerate(file.message_type):
        yield from _names_in(message, (numbers["message_type"], place), "")
    for place, enum in enumerate(file.enum_type):
        yield from _names_in(enum, (numbers["enum_type"], place), "")
    for place, service in enumerate(file.service):
        yield from _names_in(service, (numbers["service"], place), "")


def _names_in(
    part: DescriptorProto | EnumDescriptorProto | ServiceDescriptorProto, path: tuple[int, ...], around: str
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{around}{part.name}"
    yield path, name
    numbers = {field.name: field.number for field in part.DESCRIPTOR.fields}
    for kind in ("field", "value", "method"):
        for place, member in enumerate(getattr(part, kind, ())):
            yield (*path, numbers[kind], place), f"{name}.{member.name}"
    for kind in ("nested_type", "enum_type"):
        for place, inner in enumerate(getattr(part, kind, ())):
            yield from _names_in(inner, (*path, numbers[kind], place), f"{name}.")


def _protoc(root: Path, protos: Sequence[str], *outputs: str) -> None:
    # Paths relative to the include folder, as they will stand in the descriptors.
    includes = [f"-I{folder}" for folder in (root, *INCLUDES)]
    if protoc.main(["protoc", *includes, *outputs, *protos]) != 0:
        raise ContractError("Expected protoc to accept the protos. Received the errors above.")


def _image(root: Path, target: Path, *content: str) -> Path:
    """Compile the protos below ``root`` into one descriptor set, which buf reads as an image."""
    content = content or ("--include_imports", "--include_source_info")
    _protoc(root, _protos(root), *content, f"--descriptor_set_out={target}")
    return target


def _buf(*arguments: str) -> None:
    buf = Path(sys.executable).with_name("buf")
    command = [str(buf), *arguments, "--config", str(PROTOS / "buf.yaml")]
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 (our own arguments)
        raise ContractError(f"Expected `buf {arguments[0]}` to find nothing. Received the findings above.")


if __name__ == "__main__":
    sys.exit(main())
