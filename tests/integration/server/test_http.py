"""The calls over HTTP: by urllib and curl, on a real server."""

import json
import re
import subprocess
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from headstart.release import installed_version
from headstart_server.api.http.openapi import openapi
from integration.server.calls import Api, digit, digits
from programs import CURL
from server_process import ServerProcess, running


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"http://{server.event('http_listening')}"


def ask(
    url: str, data: bytes | None = None, media_type: str = "application/json", verb: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Code, content and headers of an answer."""
    request = urllib.request.Request(url, data, {"content-type": media_type}, method=verb)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, _read(answer), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error), dict(error.headers)


def _read(answer: Any) -> Any:
    content = answer.read()
    return json.loads(content) if answer.headers["content-type"] == "application/json" else content


def ended(url: str, job: dict[str, Any]) -> dict[str, Any]:
    _, status, _ = ask(f"{url}/v1/jobs/{job['jobId']}?waitDuration=60s")
    assert status["job"]["state"] == "JOB_STATE_SUCCEEDED", status
    return status["job"]


def photos(folder: Path, *, per_class: int = 3) -> list[Path]:
    for label in (0, 1):
        (folder / str(label)).mkdir(parents=True)
        for place in range(per_class):
            (folder / str(label) / f"{place}.png").write_bytes(digit(label, place))
    return sorted(folder.glob("*/*.png"))


def test_an_image_is_predicted_as_it_is(url: str, digits_model: str):
    code, answer, headers = ask(f"{url}/v1/models/{digits_model}:predict?topK=1", digit(1, 40), "image/png")

    assert code == 200
    assert headers["x-content-type-options"] == "nosniff"
    (prediction,) = answer["results"][0]["predictions"]
    assert len(prediction["classes"]) == 1
    assert answer["results"][0]["version"] == "1"


def test_answers_are_those_of_grpc(url: str, api: Api, digits_model: str):
    over_grpc = api.predict(digits_model, digit(0, 41)).results[0].predictions[0].classes
    _, answer, _ = ask(f"{url}/v1/models/{digits_model}/versions/1:predict", digit(0, 41), "image/png")

    over_http = answer["results"][0]["predictions"][0]["classes"]
    assert [each["name"] for each in over_http] == [each.name for each in over_grpc]
    assert over_http[0]["probability"] == pytest.approx(over_grpc[0].probability, rel=1e-6)


def test_curl_sends_a_folder_as_a_form_and_an_archive(url: str, model: str, tmp_path: Path):
    files = photos(tmp_path / "photos")
    form = [part for file in files for part in ("-F", f"{file.parent.name}=@{file}")]
    target = f"{url}/v1/models/{model}:fineTune?alias=stable&tags.team=a"
    output = subprocess.run(
        [CURL.need(), "-sS", *form, target], capture_output=True, check=True, timeout=60
    ).stdout
    job = ended(url, json.loads(output)["job"])
    assert (job["exampleCount"], job["classCount"], job["spec"]["tags"]) == ("6", 2, {"team": "a"})

    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in files:
            opened.write(file, file.relative_to(tmp_path))
    _, answer, _ = ask(f"{url}/v1/models/{model}:fineTune", archive.read_bytes(), "application/zip")
    again = ended(url, answer["job"])
    assert (again["datasetDigest"], again["version"]) == (job["datasetDigest"], "2")
    assert not list((tmp_path / "scratch").glob("*"))

    code, answer, _ = ask(f"{url}/v1/models/{model}/aliases/stable:predict", digit(1, 42), "image/png")
    assert (code, answer["results"][0]["version"]) == (200, "1")


def test_lines_are_streamed_and_a_job_is_followed_by_events(url: str, model: str):
    lines = [json.dumps({"spec": {"backbone": "features:1"}})]
    for value, label in (("AAAAAA==", "a"), ("AACAPw==", "b")) * 2:
        tensor = {"dataType": "DATA_TYPE_FLOAT32", "shape": [1], "data": value}
        lines.append(json.dumps({"label": {"className": label}, "input": {"tensor": tensor}}))
    _, answer, _ = ask(f"{url}/v1/models/{model}:fineTune", "\n".join(lines).encode(), "application/jsonl")
    job_id = answer["job"]["jobId"]

    code, events, headers = ask(f"{url}/v1/jobs/{job_id}/events")

    assert (code, headers["content-type"]) == (200, "text/event-stream")
    received = [json.loads(line[6:]) for line in events.decode().splitlines() if line.startswith("data: ")]
    assert [event["number"] for event in received] == [str(number) for number in range(1, len(received) + 1)]
    assert received[-1]["state"] == "JOB_STATE_SUCCEEDED"
    assert ask(f"{url}/v1/jobs/{job_id}/events?afterEvent={len(received)}")[0] == 204


def test_models_aliases_reports_and_evaluations_are_there(url: str, digits_model: str):
    model = f"{url}/v1/models/{digits_model}"
    assert digits_model in {each["model"] for each in ask(f"{url}/v1/models?pageSize=1000")[1]["models"]}
    assert ask(model)[1]["model"]["newestVersion"] == "1"
    assert ask(f"{model}/versions")[1]["versions"][0]["version"] == "1"
    alias = ask(f"{model}/aliases/http", b'{"version": 1}', verb="PUT")[1]["alias"]
    code, error, _ = ask(f"{model}/aliases/http", b'{"version": 1, "etag": "other"}', verb="PUT")
    assert (code, error["details"][0]["reason"]) == (409, "ETAG_MISMATCH")
    report = ask(f"{model}/aliases/http/report")
    assert report[2]["content-type"] == "text/html; charset=utf-8"
    assert report[1].startswith(b"<!doctype html>")
    assert ask(f"{model}/report?format=json")[1]
    assert ask(f"{model}/evaluation")[1]["evaluation"]["metrics"]["exampleCount"]
    assert ask(f"{model}/aliases/http?etag={alias['etag']}", verb="DELETE")[0] == 200
    assert ask(f"{model}/aliases/http/report")[0] == 404
    assert ask(f"{url}/v1/backbones")[1]["backbones"]
    assert ask(f"{url}/v1/health")[:2] == (200, {"status": "SERVING"})


def test_a_version_is_measured_on_a_form(url: str, digits_model: str, tmp_path: Path):
    form = [part for file in photos(tmp_path) for part in ("-F", f"{file.parent.name}=@{file}")]
    command = [CURL.need(), "-sS", *form, f"{url}/v1/models/{digits_model}:evaluate"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    assert json.loads(output)["evaluation"]["metrics"]["exampleCount"] == "6"


@pytest.mark.parametrize(
    ("path", "body", "media_type", "code", "reason"),
    [
        ("/v1/models/nix:predict", b"GIF89a", "image/gif", 404, "MODEL_NOT_FOUND"),
        ("/v1/models/digits:predict", b"no image", "image/png", 400, "UNDECODABLE_INPUT"),
        ("/v1/models/digits:predict", b"{", "application/json", 400, "INVALID_FIELD"),
        ("/v1/models/digits:predict", bytes(9 << 20), "image/png", 400, "INPUT_TOO_LARGE"),
        ("/v1/models/digits:predict", bytes(17 << 20), "image/png", 413, "MESSAGE_TOO_LARGE"),
        ("/v1/models/digits:predict?topK=-1", b"", "image/png", 400, "INVALID_FIELD"),
        ("/v1/models/-:fineTune", b"{}", "application/json", 400, "INVALID_FIELD"),
        ("/v1/models/x:fineTune", b"{}", "application/json", 400, "EMPTY_DATASET"),
        ("/v1/models/x:fineTune", b"no archive", "application/zip", 400, "INVALID_FIELD"),
    ],
)
def test_errors_are_those_of_grpc(
    url: str, digits_model: str, path: str, body: bytes, media_type: str, code: int, reason: str
):
    found, answer, _ = ask(f"{url}{path}", body, media_type)

    assert (found, answer["details"][0]["reason"]) == (code, reason)
    # A sentence that names what is wrong.
    assert re.fullmatch(r"[A-Z].{10,}\.", answer["message"])


def test_calls_are_counted_with_those_of_grpc(url: str, server: ServerProcess):
    labels = {
        "grpc_type": "unary",
        "grpc_service": "headstart.v1.FineTuningService",
        "grpc_method": "Status",
        "grpc_code": "NOT_FOUND",
    }
    before = server.metrics().value("grpc_server_handled_total", **labels)
    assert ask(f"{url}/v1/jobs/nix")[0] == 404
    assert server.metrics().value("grpc_server_handled_total", **labels) == before + 1


def test_pages_of_other_sites_are_refused(url: str):
    request = urllib.request.Request(f"{url}/v1/models", headers={"origin": "https://elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request, timeout=60):
        pass
    with caught.value as error:
        assert error.code == 403


def test_the_document_is_served(url: str):
    assert ask(f"{url}/openapi.json")[1] == json.loads(openapi(installed_version()))
    assert b"/v1/jobs/{job_id}" in ask(f"{url}/api")[1]


def test_a_job_is_cancelled(url: str, model: str, api: Api):
    job_id = api.fine_tune(digits((0, 1), 8), model=model).job_id
    assert ask(f"{url}/v1/jobs/{job_id}:cancel", b"")[0] == 200
    # It may have ended before.
    _, answer, _ = ask(f"{url}/v1/jobs/{job_id}?waitDuration=60s")
    assert answer["job"]["state"] in ("JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED")


def test_an_http_host_that_other_machines_reach_is_in_the_warning_at_the_start(tmp_path: Path):
    flags = ("--http-port", "0", "--host", "0.0.0.0", "--plaintext")
    with running(tmp_path / "data", *flags) as server:
        server.event("listening")
        (warning,) = (
            entry
            for entry in map(json.loads, server.log.splitlines())
            if entry["event"] == "authentication_disabled"
        )
    assert warning["level"] == "warning"
    assert "every caller that reaches --host 0.0.0.0 may do everything" in warning["message"]
