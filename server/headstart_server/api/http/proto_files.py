"""The contract as `.proto` files with all imports, for the compilers of other languages."""

import io
import zipfile
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from google.api import annotations_pb2  # noqa: F401 (without it, HTTP options are unknown fields)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from headstart import v1
from headstart_server.api.http.comments import proto_comment
from headstart_server.api.http.proto_text import proto_text

#: The name of the file that contains all descriptors.
DESCRIPTORS = "descriptors.binpb"


def write_protos(folder: Path) -> int:
    """Write the contract, its imports and a descriptor set to a folder; return the number of protos."""
    contents = _contents()
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return len(contents) - 1


def protos_archive() -> bytes:
    """Return the same files as a ZIP archive, which is the same for every server of a release."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _contents().items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _contents() -> dict[str, bytes]:
    found: dict[str, FileDescriptorProto] = {}
    for name in sorted(each.name for each in iter_modules(v1.__path__)):
        if name.endswith("_pb2"):
            _add(import_module(f"{v1.__name__}.{name}").DESCRIPTOR, found)
    contents = {name: _source(file) for name, file in found.items()}
    # Dependencies come first, as required in a descriptor set.
    contents[DESCRIPTORS] = FileDescriptorSet(file=found.values()).SerializeToString()
    return contents


def _add(file: Any, found: dict[str, FileDescriptorProto]) -> None:
    for dependency in file.dependencies:
        _add(dependency, found)
    if file.name not in found:
        found[file.name] = FileDescriptorProto.FromString(file.serialized_pb)


def _source(file: FileDescriptorProto) -> bytes:
    """Return the text of a file: googleapis' installed one if it exists, else one from the descriptors."""
    package, _, name = file.name.replace("/", ".").removesuffix(".proto").rpartition(".")
    if package.startswith("google."):
        installed = files(package) / f"{name}.proto"
        if installed.is_file():
            return installed.read_bytes()
    return proto_text(file, proto_comment).encode()
