"""The messages of exports."""

import asyncio
from collections.abc import AsyncGenerator

from headstart.v1 import model_service_pb2 as pb
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.errors import InvalidField
from headstart_server.export.cache import OpenExport
from headstart_server.export.exporter import Exporter
from headstart_server.models.version import Selector, Version

#: Bytes of a chunk.
CHUNK_BYTES = 512 << 10
#: Seconds of quiet after which a sign of life is sent: proxies end streams that are silent for half a minute.
QUIET_SECONDS = 20.0

EXPORT_FORMS = {
    pb.EXPORT_FORMAT_KERAS: ExportFormat.KERAS,
    pb.EXPORT_FORMAT_SAVEDMODEL: ExportFormat.SAVED_MODEL,
    pb.EXPORT_FORMAT_ONNX: ExportFormat.ONNX,
    pb.EXPORT_FORMAT_OPENVINO: ExportFormat.OPENVINO,
    pb.EXPORT_FORMAT_LITERT: ExportFormat.LITERT,
}


def export_format_of(value: int) -> ExportFormat:
    """The form of an export."""
    for number, form in EXPORT_FORMS.items():
        if number == value:
            return form
    names = ", ".join(form.value for form in EXPORT_FORMS.values())
    raise InvalidField(
        f"Expected a form of 1 to {len(EXPORT_FORMS)}: {names}. Received: {value or 'none'}.", field="form"
    )


async def export_messages(
    exporter: Exporter, selector: Selector, form: ExportFormat, *, quiet_seconds: float = QUIET_SECONDS
) -> AsyncGenerator[pb.ExportVersionResponse, None]:
    """The messages of an export: signs of life, its header, and its files.

    Closed or cancelled, it leaves the export to others, and with none left stops it.
    """
    opening = asyncio.create_task(exporter.open(selector, form))
    try:
        while not opening.done():
            await asyncio.wait({opening}, timeout=quiet_seconds)
            if not opening.done():
                yield pb.ExportVersionResponse()
        version, export = opening.result()
        yield pb.ExportVersionResponse(header=_header(version, form, export))
        chunks = export.chunks(CHUNK_BYTES)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            place, content = chunk
            yield pb.ExportVersionResponse(chunk=pb.ExportChunk(file=place, content=content))
    finally:
        opening.add_done_callback(_closed)
        opening.cancel()


def _closed(opening: "asyncio.Task[tuple[Version, OpenExport]]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close()


def _header(version: Version, form: ExportFormat, export: OpenExport) -> pb.ExportHeader:
    (number,) = (number for number, each in EXPORT_FORMS.items() if each is form)
    return pb.ExportHeader(
        model=version.model,
        version=version.number,
        format=number,
        files=[
            pb.ExportedFile(name=file.name, size_bytes=file.size, sha256=file.sha256) for file in export.files
        ],
    )
