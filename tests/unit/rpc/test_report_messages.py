import pytest

from headstart.v1 import model_service_pb2 as pb
from headstart_server.errors import InvalidField
from headstart_server.report.reporter import Report, ReportFormat
from headstart_server.rpc.report_messages import report_format_of, report_message


@pytest.mark.parametrize(
    ("name", "form"),
    [("UNSPECIFIED", "html"), ("HTML", "html"), ("JSON", "json"), ("TEXT", "text")],
)
def test_each_form_of_the_contract_is_known(name, form):
    assert report_format_of(pb.ReportFormat.Value(f"REPORT_FORMAT_{name}")) is ReportFormat(form)


def test_a_form_that_is_none_is_refused():
    with pytest.raises(InvalidField, match=r"Expected a format of 1 to 3, or 0 for HTML\. Received: 9\."):
        report_format_of(9)


def test_a_report_is_a_message():
    message = report_message(Report(number=3, content=b"x", media_type="text/plain"))

    assert message == pb.GetReportResponse(content=b"x", media_type="text/plain", version=3)
