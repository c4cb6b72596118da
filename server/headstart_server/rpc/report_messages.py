"""The messages of reports."""

from headstart.v1 import model_service_pb2
from headstart_server.errors import InvalidField
from headstart_server.report.reporter import Report, ReportFormat

REPORT_FORMATS = {
    model_service_pb2.REPORT_FORMAT_HTML: ReportFormat.HTML,
    model_service_pb2.REPORT_FORMAT_JSON: ReportFormat.JSON,
    model_service_pb2.REPORT_FORMAT_TEXT: ReportFormat.TEXT,
}


def report_format_of(message: model_service_pb2.GetReportRequest) -> ReportFormat:
    """Return the format of a report that a request names, HTML by default.

    Raises:
        InvalidField: there is no such format.
    """
    if not message.HasField("format"):
        return ReportFormat.HTML
    for number, form in REPORT_FORMATS.items():
        if number == message.format:
            return form
    raise InvalidField(
        f"Expected a format of 1 to {len(REPORT_FORMATS)}. Received: {message.format}.",
        field="format",
    )


def report_message(report: Report) -> model_service_pb2.GetReportResponse:
    """The message of a report."""
    return model_service_pb2.GetReportResponse(
        content=report.content, media_type=report.media_type, version=report.number
    )
