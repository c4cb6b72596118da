import json

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from headstart.v1 import model_service_pb2 as keeping
from headstart.v1 import version_selector_pb2
from integration.server.calls import Api, digits, refused


def report(api: Api, model: str, form: str, **selector) -> keeping.GetReportResponse:
    target = version_selector_pb2.VersionSelector(model=model, **selector)
    return api.models.GetReport(
        keeping.GetReportRequest(target=target, format=f"REPORT_FORMAT_{form}"), timeout=60
    )


def test_a_version_has_a_page_with_images_of_its_examples(api: Api, digits_model: str):
    page = report(api, digits_model, "HTML")

    content = page.content.decode()
    assert page.media_type == "text/html; charset=utf-8"
    assert page.version == 1
    assert content.startswith("<!doctype html>")
    assert "data:image/jpeg;base64," in content
    target = {"model": digits_model, "version": 1}
    default = api.models.GetReport(keeping.GetReportRequest(target=target), timeout=60)
    assert content == default.content.decode()


def test_a_version_whose_examples_were_not_kept_has_no_images(api: Api, model: str):
    api.published(digits((0, 1), 6), model=model, discard_examples=True)

    assert b"data:image" not in report(api, model, "HTML").content


def test_a_report_in_json_has_the_figures_of_the_version(api: Api, digits_model: str):
    document = json.loads(report(api, digits_model, "JSON").content)
    request = keeping.GetEvaluationRequest(target={"model": digits_model})

    assert ParseDict(document, keeping.GetEvaluationResponse()) == api.models.GetEvaluation(
        request, timeout=60
    )


def test_a_report_in_text_begins_with_the_model(api: Api, digits_model: str):
    text = report(api, digits_model, "TEXT").content.decode()

    assert text.startswith(f"{digits_model}, version 1")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"target": {"model": "missing"}}, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
        ({"target": {}}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"target": {"model": "x"}, "format": 9}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
def test_what_cannot_be_reported_is_refused(api: Api, fields, code, reason):
    refusal = refused(lambda: api.models.GetReport(keeping.GetReportRequest(**fields)))

    assert (refusal.code, refusal.reason) == (code, reason)
