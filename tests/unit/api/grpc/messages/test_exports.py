"""The messages of an export, and signs of life while it is made."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fakes import make_manifest
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.messages.exports import EXPORT_FORMS, export_format_of, export_messages
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.errors import InvalidField
from headstart_server.export.cache import ExportCache, OpenExport
from headstart_server.models.version import Selector, Version

VERSION = Version(
    model="pets", number=3, artifact="a", size_bytes=1, created=0.0, expires=None, manifest=make_manifest()
)


class Exports:
    """Gives an export once it is let to."""

    def __init__(self, export: OpenExport) -> None:
        self.may_end = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._export = export

    async def open(self, selector: Selector, form: ExportFormat) -> tuple[Version, OpenExport]:
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return VERSION, self._export


@pytest.fixture
def exports(tmp_path: Path) -> Iterator[Exports]:
    cache = ExportCache(tmp_path, max_bytes=100, max_seconds=60.0)
    folder = cache.new_folder()
    (folder / "model.xml").write_bytes(b"abc")
    cache.add(("a", ExportFormat.OPENVINO), folder)
    found = cache.open(("a", ExportFormat.OPENVINO))
    assert found is not None
    yield Exports(found)
    found.close()


async def test_signs_of_life_then_a_header_then_chunks(exports: Exports) -> None:
    messages = []
    async with aclosing(
        export_messages(exports, Selector(model="pets"), ExportFormat.OPENVINO, quiet_seconds=0.001)
    ) as stream:
        async for message in stream:
            messages.append(message)
            exports.may_end.set()
    assert messages[0] == pb.ExportVersionResponse()
    (header, chunk) = [message for message in messages if message.WhichOneof("part")]
    assert (header.header.version, header.header.format) == (3, pb.EXPORT_FORMAT_OPENVINO)
    assert [file.name for file in header.header.files] == ["model.xml"]
    assert chunk.chunk == pb.ExportChunk(file=0, content=b"abc")


async def test_who_leaves_waits_no_more(exports: Exports) -> None:
    stream = export_messages(exports, Selector(model="pets"), ExportFormat.ONNX, quiet_seconds=0.001)
    assert await anext(stream) == pb.ExportVersionResponse()
    await stream.aclose()
    await asyncio.wait_for(exports.cancelled.wait(), 60.0)


def test_each_form_of_the_contract_is_one() -> None:
    assert set(EXPORT_FORMS.values()) == set(ExportFormat)
    assert set(EXPORT_FORMS) | {pb.EXPORT_FORMAT_UNSPECIFIED} == set(pb.ExportFormat.values())
    for value in (pb.EXPORT_FORMAT_UNSPECIFIED, 6, -1):
        with pytest.raises(
            InvalidField, match="Expected a form of 1 to 5: keras, savedmodel, onnx, openvino, litert"
        ):
            export_format_of(value)
