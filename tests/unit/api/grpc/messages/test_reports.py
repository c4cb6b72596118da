import json

import pytest
from google.protobuf.json_format import ParseDict

from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.messages.exports import (
    evaluation_response,
    report_document,
    report_format_of,
    report_message,
)
from headstart_server.errors import InvalidField
from headstart_server.report.reporter import Report, ReportFormat
from report_samples import SAMPLES


@pytest.mark.parametrize(("name", "form"), [("HTML", "html"), ("JSON", "json"), ("TEXT", "text")])
def test_each_format_of_the_contract_is_known(name: str, form: str) -> None:
    request = pb.GetReportRequest(format=f"REPORT_FORMAT_{name}")
    assert report_format_of(request) is ReportFormat(form)


def test_the_default_is_a_page_and_an_unknown_format_is_refused() -> None:
    assert report_format_of(pb.GetReportRequest()) is ReportFormat.HTML
    for number in (0, 9):
        with pytest.raises(InvalidField, match=rf"Expected a format of 1 to 3\. Received: {number}\."):
            report_format_of(pb.GetReportRequest(format=number))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_json_report_is_the_response_of_get_evaluation(name: str) -> None:
    facts = SAMPLES[name]()
    document = json.loads(report_document(facts))
    message = ParseDict(document, pb.GetEvaluationResponse())
    assert message == evaluation_response(facts.version, facts.evaluation, facts.findings)
    assert document["version"]["model"] == facts.version.model
    # Fields that always have a value are there, too.
    assert "displayName" in document["version"]


def test_a_report_is_a_message():
    message = report_message(Report(number=3, content=b"x", media_type="text/plain"))

    assert message == pb.GetReportResponse(content=b"x", media_type="text/plain", version=3)
