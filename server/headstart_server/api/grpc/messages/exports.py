"""The messages of reports and exports."""

import asyncio
from collections.abc import AsyncGenerator

from headstart.protojson import to_json
from headstart.v1 import model_service_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.messages.evaluations import evaluation_message
from headstart_server.api.grpc.messages.findings import findings_message
from headstart_server.api.grpc.messages.models import version_message
from headstart_server.backbones.worker.export_request import ExportFormat
from headstart_server.errors import InvalidField
from headstart_server.export.cache import OpenExport
from headstart_server.export.exporter import Exporter
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.models.version import Selector, Version
from headstart_server.report.facts import ReportFacts
from headstart_server.report.reporter import Report, ReportFormat

REPORT_FORMATS = {
    model_service_pb2.REPORT_FORMAT_HTML: ReportFormat.HTML,
    model_service_pb2.REPORT_FORMAT_JSON: ReportFormat.JSON,
    model_service_pb2.REPORT_FORMAT_TEXT: ReportFormat.TEXT,
}


def report_format_of(message: model_service_pb2.GetReportRequest) -> ReportFormat:
    """Return the format of a report that a request names, HTML by default."""
    if not message.HasField("format"):
        return ReportFormat.HTML
    for number, form in REPORT_FORMATS.items():
        if number == message.format:
            return form
    raise InvalidField(
        f"Expected a format of 1 to {len(REPORT_FORMATS)}. Received: {message.format}.",
        field="format",
    )


def evaluation_response(
    version: Version, evaluation: Evaluation | None, findings: DatasetFindings | None
) -> model_service_pb2.GetEvaluationResponse:
    """Return the message of a version with its evaluation and findings."""
    return model_service_pb2.GetEvaluationResponse(
        version=version_message(version),
        evaluation=None if evaluation is None else evaluation_message(evaluation),
        findings=None if findings is None else findings_message(findings),
    )


def report_document(facts: ReportFacts) -> str:
    """Return the JSON report: the response of GetEvaluation in the JSON of protobuf."""
    return to_json(evaluation_response(facts.version, facts.evaluation, facts.findings), indent=2) + "\n"


def report_message(report: Report) -> model_service_pb2.GetReportResponse:
    """Return the message of a report."""
    return model_service_pb2.GetReportResponse(
        content=report.content, media_type=report.media_type, version=report.number
    )


#: Maximum bytes of a chunk.
CHUNK_BYTES = 512 << 10
#: Seconds after which an empty keepalive is sent: proxies end idle streams after half a minute.
QUIET_SECONDS = 20.0

EXPORT_FORMS = {
    pb.EXPORT_FORMAT_KERAS: ExportFormat.KERAS,
    pb.EXPORT_FORMAT_SAVEDMODEL: ExportFormat.SAVED_MODEL,
    pb.EXPORT_FORMAT_ONNX: ExportFormat.ONNX,
    pb.EXPORT_FORMAT_OPENVINO: ExportFormat.OPENVINO,
    pb.EXPORT_FORMAT_LITERT: ExportFormat.LITERT,
}


def export_format_of(value: int) -> ExportFormat:
    """Return the format of an export that a request names."""
    for number, form in EXPORT_FORMS.items():
        if number == value:
            return form
    names = ", ".join(form.value for form in EXPORT_FORMS.values())
    raise InvalidField(
        f"Expected a form of 1 to {len(EXPORT_FORMS)}: {names}. Received: {value}.", field="form"
    )


async def export_messages(
    exporter: Exporter, selector: Selector, form: ExportFormat, *, quiet_seconds: float = QUIET_SECONDS
) -> AsyncGenerator[pb.ExportVersionResponse, None]:
    """Yield the messages of an export: keepalives, its header, and its files.

    A closed or cancelled generator leaves the export to its other callers; the last one stops it.
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
