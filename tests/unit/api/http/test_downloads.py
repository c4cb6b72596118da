"""The body of an export over HTTP, as the files were."""

import base64
import hashlib
import tarfile
from collections.abc import AsyncIterator, Mapping
from io import BytesIO

import pytest

from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.http.downloads import Download


def header(files: Mapping[str, bytes]) -> pb.ExportHeader:
    reported = [
        pb.ExportedFile(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    ]
    return pb.ExportHeader(model="pets", version=3, format=pb.EXPORT_FORMAT_ONNX, files=reported)


async def messages(files: Mapping[str, bytes]) -> AsyncIterator[pb.ExportVersionResponse]:
    for place, content in enumerate(files.values()):
        for start in range(0, len(content), 1000):
            chunk = pb.ExportChunk(file=place, content=content[start : start + 1000])
            yield pb.ExportVersionResponse(chunk=chunk)
            yield pb.ExportVersionResponse()


async def body(files: Mapping[str, bytes]) -> tuple[Download, bytes]:
    download = Download(header(files))
    return download, b"".join([piece async for piece in download.pieces(messages(files))])


async def test_one_file_comes_as_it_is_with_its_digest() -> None:
    content = bytes(range(256)) * 9
    download, received = await body({"model.onnx": content})
    assert received == content
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert download.headers == {
        "content-type": "application/octet-stream",
        "content-length": "2304",
        "content-disposition": 'attachment; filename="pets-3.onnx"',
        "repr-digest": f"sha-256=:{digest}:",
    }


@pytest.mark.parametrize(
    "files",
    [
        {"model.xml": b"x" * 512, "model.bin": b"y" * 513, "headstart.json": b"{}"},
        {"empty": b"", "variables/variables.index": b"1", "last": b""},
        {"empty": b"", "other": b""},
        {f"{'long' * 40}/{'name' * 20}": b"1", "b": b"2"},
    ],
    ids=["blocks", "empty", "nothing", "long name"],
)
async def test_several_files_come_as_a_tar_whose_size_is_known_before(files: dict[str, bytes]) -> None:
    download, received = await body(files)
    assert download.headers["content-disposition"] == 'attachment; filename="pets-3.tar"'
    assert download.size == len(received)
    with tarfile.open(fileobj=BytesIO(received)) as archive:
        found = {file.name: archive.extractfile(file).read() for file in archive}
    assert found == files
    # An archive that ends early is read without an error: two empty blocks say that this one does not.
    assert received[-1024:] == bytes(1024)
