"""The documentation site builds, is complete, fits a phone, loads nothing from elsewhere, and finds pages."""

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

ROOT = Path(__file__).parents[2]

# Building the site on a busy machine takes a minute.
pytestmark = pytest.mark.timeout(600)
PAGES = (
    "",
    "start/concepts/",
    "guides/migrate/",
    "reference/python/",
    "reference/grpc/prediction_service/",
    "understand/design/",
    "understand/benchmarks/",
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module", name="site")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as `make docs` does, without a fault."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "docs_site.build", "--folder", folder],
        cwd=ROOT,
        env={"PYTHONPATH": "tests", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module", name="url")
def served_site(site: Path) -> Iterator[str]:
    """Serve the site."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=site)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_each_page_has_its_markdown_next_to_it(site: Path) -> None:
    pages = [page.parent for page in site.rglob("index.html") if page.parent != site]
    missing = [
        page.relative_to(site)
        for page in pages
        if not page.with_suffix(".md").exists()
        and not (page / "index.md").exists()
        and not (page / "README.md").exists()
    ]
    assert missing == []


def test_llms_txt_lists_pages_that_exist(site: Path) -> None:
    lines = (site / "llms.txt").read_text().splitlines()
    listed = [line.rpartition("](")[2].rstrip(")") for line in lines if line.startswith("- [")]
    assert len(listed) > 40
    assert [name for name in listed if not (site / name).is_file()] == []


def test_the_pages_of_the_contract_have_methods_fields_and_limits(site: Path) -> None:
    page = (site / "reference/grpc/prediction_service.md").read_text()
    assert "## Predict\n" in page
    assert "POST /v1/models/{model}:predict" in page
    assert "| `top_k` | int32 |" in page
    assert "<br>Limit: 1 or more." in page


def test_the_python_reference_has_the_methods_of_the_client(site: Path) -> None:
    page = (site / "reference/python/index.html").read_text()
    for method in ("predict", "fine_tune", "evaluate", "report"):
        assert f'id="headstart.Client.{method}"' in page
    assert "Args:" in (site / "reference/python.md").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_pages_fit_and_load_nothing_from_elsewhere(
    chromium: Browser, url: str, width: int, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url))
    for name in PAGES:
        page.goto(url + name)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()
    assert [each for each in elsewhere if not each.startswith((url, "data:", "blob:"))] == []
    assert errors == []


def test_the_search_finds_a_page(chromium: Browser, url: str) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("rollback")
    expect(page.get_by_role("option").filter(has_text="Canary and rollback").first).to_be_visible()
    context.close()
