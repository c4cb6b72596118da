"""The messages of reports."""

from headstart.protojson import to_json
from headstart.v1 import model_service_pb2
from headstart_server.api.grpc.messages.evaluations import evaluation_message
from headstart_server.api.grpc.messages.findings import findings_message
from headstart_server.api.grpc.messages.models import version_message
from headstart_server.errors import InvalidField
from headstart_server.learning.analysis.dataset_findings import DatasetFindings
from headstart_server.learning.metrics.evaluation import Evaluation
from headstart_server.models.version import Version
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
    """The message of a report."""
    return model_service_pb2.GetReportResponse(
        content=report.content, media_type=report.media_type, version=report.number
    )
