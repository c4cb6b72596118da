"""The console's files: their paths, headers, compression and caching."""

import gzip
import re
from importlib.resources import files
from pathlib import Path

import pytest

from headstart_server.api.http.console_files import Console

STATIC = Path(str(files("headstart_server.console"))) / "static"
#: Bytes that the console may have, compressed.
MAX_BYTES = 300_000


@pytest.fixture(scope="module")
def console() -> Console:
    return Console()


@pytest.mark.parametrize(
    "path", ["/", "/new", "/jobs", "/access", "/models", "/models/a%2Fb/versions", "/jobs/1"]
)
def test_each_page_of_the_console_has_the_same_document(console: Console, path: str) -> None:
    response = console.response(path, "", {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert response is not None
    assert response.media_type == "text/html; charset=utf-8"
    assert response.content == (STATIC / "index.html").read_bytes()
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/api", "/openapi.json", "/console/", "/console/../__init__.py", "/newer"]
)
def test_other_paths_are_not_part_of_it(console: Console, path: str) -> None:
    assert console.response(path, "", {}) is None


@pytest.mark.parametrize("headers", [{}, {"accept": "*/*"}, {"accept": "application/json"}], ids=str)
def test_a_program_that_leaves_out_the_version_of_the_api_gets_no_page(
    console: Console, headers: dict[str, str]
) -> None:
    for path in ("/models", "/models/pets", "/jobs", "/jobs/1"):
        assert console.response(path, "", headers) is None
    # The address of the server shows the console to anyone.
    assert console.response("/", "", headers) is not None


def test_pages_load_nothing_from_other_origins_and_run_no_script_in_markup(console: Console) -> None:
    response = console.response("/", "", {})

    assert response is not None
    rules = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert {rules["script-src"], rules["style-src"], rules["connect-src"], rules["font-src"]} == {"'self'"}
    assert "unsafe" not in response.headers["content-security-policy"]
    assert rules["frame-ancestors"] == "'none'"
    assert not re.search(rb"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", response.content)


def test_a_versioned_file_is_kept_by_browsers_and_other_files_are_checked(console: Console) -> None:
    (script,) = re.findall(r'src="(/console/app\.js)\?(v=\w+)"', (STATIC / "index.html").read_text())
    versioned = console.response(*script, {})
    plain = console.response(script[0], "", {})

    assert versioned is not None
    assert plain is not None
    assert "immutable" in versioned.headers["cache-control"]
    assert plain.headers["cache-control"] == "no-cache"
    again = console.response(script[0], "", {"if-none-match": plain.headers["etag"]})
    assert again is not None
    assert (again.code, again.content) == (304, b"")


def test_files_are_compressed_for_browsers_that_accept_it(console: Console) -> None:
    plain = console.response("/console/app.js", "", {})
    compressed = console.response("/console/app.js", "", {"accept-encoding": "gzip, br"})

    assert plain is not None
    assert compressed is not None
    assert compressed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed.content) == plain.content
    assert "content-encoding" not in plain.headers


def test_the_whole_console_is_small(console: Console) -> None:
    sizes = [
        len(response.content)
        for file in STATIC.iterdir()
        if (response := console.response(f"/console/{file.name}", "", {"accept-encoding": "gzip"}))
    ]
    assert len(sizes) == len(list(STATIC.iterdir()))
    assert sum(sizes) < MAX_BYTES
