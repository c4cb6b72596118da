"""Files of a Label Studio: where the token is sent, and what is never read."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http.json_text import load_json
from headstart_server.api.label_studio.contents import TaskContents
from headstart_server.api.label_studio.labeling import labeling_of
from headstart_server.api.label_studio.site import LabelStudioSite
from headstart_server.datasets.uris.location import TooLargeError, UnreadableError
from headstart_server.errors import DataUnavailable, DataUnreadable, InputTooLarge, InvalidField
from headstart_server.settings.secret import Secret

IMAGE = labeling_of('<View><Image name="o" value="$x"/><Choices name="c" toName="o"/></View>')
TEXT = labeling_of('<View><Text name="o" value="$x" valueType="url"/><Choices name="c" toName="o"/></View>')
TEXT_ITSELF = labeling_of('<View><Text name="o" value="$x"/><Choices name="c" toName="o"/></View>')


class Studio:
    """Answers like a Label Studio, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str]] = []
        self.accepts = "refresh.of.user"
        studio = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                studio.requests.append(("GET", self.path, self.headers.get("authorization", "")))
                if "redirect" in self.path:
                    self.send_response(303)
                    self.send_header("location", "http://169.254.169.254/latest")
                    self.end_headers()
                    return
                self._send(b"content of " + self.path.encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                studio.requests.append(("POST", self.path, body["refresh"]))
                if body["refresh"] == studio.accepts:
                    self._send(json.dumps({"access": "a.b.c"}).encode())
                else:
                    self.send_error(401)

            def _send(self, content: bytes) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def studio() -> Iterator[Studio]:
    studio = Studio()
    thread = threading.Thread(target=studio.server.serve_forever, daemon=True)
    thread.start()
    yield studio
    studio.server.shutdown()
    studio.server.server_close()
    thread.join()


def test_a_legacy_token_is_sent_as_it_is(studio: Studio) -> None:
    site = LabelStudioSite(studio.url, Secret("0123abc"))
    content = site.read(site.url_of("/data/upload/1/a b.png"), 1000)
    assert content == b"content of /data/upload/1/a%20b.png"
    assert studio.requests == [("GET", "/data/upload/1/a%20b.png", "Token 0123abc")]


def test_a_personal_token_is_exchanged_once_in_a_while(studio: Studio) -> None:
    now = [0.0]
    site = LabelStudioSite(studio.url, Secret(studio.accepts), clock=lambda: now[0])
    for _ in range(3):
        site.read(site.url_of("/data/upload/1/a.png"), 1000)
    assert [verb for verb, _, _ in studio.requests] == ["POST", "GET", "GET", "GET"]
    assert studio.requests[-1][2] == "Bearer a.b.c"
    now[0] = 1000.0
    site.read(site.url_of("/data/upload/1/a.png"), 1000)
    assert [verb for verb, _, _ in studio.requests[4:]] == ["POST", "GET"]


def test_a_rejected_token_is_named_and_not_shown(studio: Studio) -> None:
    site = LabelStudioSite(studio.url, Secret("wrong.wrong.wrong"))
    with pytest.raises(UnreadableError, match="--label-studio-token") as caught:
        site.read(site.url_of("/data/upload/1/a.png"), 1000)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects/1/export",
        "/user/account",
        "/data/upload/../../api/projects",
        "/data/upload/%2e%2e/%2e%2e/api/projects",
        "/data/upload/..%2f..%2fapi",
        "/tasks/1/annotations",
    ],
)
def test_only_files_of_tasks_are_read_with_the_token(studio: Studio, path: str) -> None:
    site = LabelStudioSite(studio.url, Secret("0123abc"))
    with pytest.raises(ValueError, match=r"."):
        site.read(site.url_of(path), 1000)
    assert studio.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/data/upload/1/a.png",
        "/data/local-files/?d=photos/a.png",
        "/tasks/12/resolve/?fileuri=czM6Ly9iL2E=",
        "/storage-data/uploaded/?filepath=upload/1/a.png",
    ],
)
def test_every_kind_of_file_is_read(studio: Studio, path: str) -> None:
    site = LabelStudioSite(studio.url, None)
    assert site.read(site.url_of(path), 1000) == b"content of " + path.encode()


def test_redirects_and_large_files_are_refused(studio: Studio) -> None:
    site = LabelStudioSite(studio.url, None)
    with pytest.raises(UnreadableError, match="redirect"):
        site.read(site.url_of("/data/upload/redirect"), 1000)
    with pytest.raises(TooLargeError):
        site.read(site.url_of("/data/upload/1/a.png"), 10)


def test_a_site_below_a_path(studio: Studio) -> None:
    site = LabelStudioSite(f"{studio.url}/studio/", None)
    assert site.url_of("/data/upload/a.png") == f"{studio.url}/studio/data/upload/a.png"
    assert site.url_of("/studio/data/upload/a.png") == f"{studio.url}/studio/data/upload/a.png"
    assert site.contains(f"{studio.url}/studio/data/upload/a.png")
    assert not site.contains(f"{studio.url}/other/data/upload/a.png")
    assert site.read(site.url_of("/data/upload/a.png"), 1000)


@pytest.mark.parametrize("url", ["label-studio", "ftp://a", "http://user:word@host", "https://"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="--label-studio-url") as caught:
        LabelStudioSite(url, None)
    assert "word" not in str(caught.value)


async def test_the_content_of_a_task(studio: Studio) -> None:
    contents = TaskContents(LabelStudioSite(studio.url, Secret("0123abc")), None, 1000)
    for value in ("/data/upload/1/a.png", f"{studio.url}/data/upload/1/a.png"):
        image = await contents.input_of(IMAGE, {"x": value}, "")
        assert image.image == b"content of /data/upload/1/a.png"
    text = await contents.input_of(TEXT, {"x": "/data/upload/1/a.txt"}, "")
    assert text.text == "content of /data/upload/1/a.txt"
    image = await contents.input_of(IMAGE, {"x": "data:image/png;base64,AAEC"}, "")
    assert image.image == b"\x00\x01\x02"


async def test_a_data_uri_may_be_longer_than_a_text() -> None:
    contents = TaskContents(None, None, 5 * MAX_TEXT)
    uri = b"data:image/png;base64," + b"AAEC" * MAX_TEXT
    image = await contents.input_of(IMAGE, {"x": load_json(b'"' + uri + b'"')}, "")
    assert image.image == b"\x00\x01\x02" * MAX_TEXT
    for value, error in (
        (uri + b"AAEC" * 3 * MAX_TEXT, InputTooLarge),
        (uri + b"A", InvalidField),
        (b"http://127.0.0.1:1/" + uri, InvalidField),
    ):
        with pytest.raises(error):
            await contents.input_of(IMAGE, {"x": load_json(b'"' + value + b'"')}, "")
    with pytest.raises(InvalidField, match="at most 1048576 characters"):
        await contents.input_of(TEXT_ITSELF, {"x": load_json(b'"' + uri + b'"')}, "")


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, InvalidField),
        (7, InvalidField),
        ("", InvalidField),
        ("http://127.0.0.1:1/a.png", InvalidField),
        ("//127.0.0.1:1/data/upload/a.png", InvalidField),
        ("file:///etc/passwd", InvalidField),
        ("/api/projects", InvalidField),
        ("/data/upload/redirect", DataUnreadable),
        ("/data/upload/" + "x" * 200, InputTooLarge),
        ("data:image/png;base64,!!!", InvalidField),
        ("data:image/png;base64," + "A" * 2000, InputTooLarge),
        ("data:text/html,<script>", InvalidField),
    ],
)
async def test_what_cannot_be_read_is_named(studio: Studio, value: object, error: type[Exception]) -> None:
    contents = TaskContents(LabelStudioSite(studio.url, Secret("0123abc")), None, 100)
    with pytest.raises(error) as caught:
        await contents.input_of(IMAGE, {"x": value}, "")
    assert "0123abc" not in str(caught.value)


async def test_a_site_that_does_not_answer_is_unavailable() -> None:
    contents = TaskContents(LabelStudioSite("http://127.0.0.1:1", None), None, 100)
    with pytest.raises(DataUnavailable):
        await contents.input_of(IMAGE, {"x": "/data/upload/1/a.png"}, "")


async def test_without_a_site_the_setting_is_named() -> None:
    with pytest.raises(InvalidField, match="--label-studio-url"):
        await TaskContents(None, None, 100).input_of(IMAGE, {"x": "/data/upload/1/a.png"}, "")
