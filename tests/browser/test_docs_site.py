"""The documentation site in Chromium: it loads nothing from elsewhere, fits a phone, and finds pages."""

import functools
import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from docs_site.build import build

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
def served_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the site, and serve it."""
    folder = build(tmp_path_factory.mktemp("docs"))
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_pages_fit_and_load_nothing_from_elsewhere(
    chromium: Browser, site: str, width: int, scheme: str
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: elsewhere.append(request.url))
    for name in PAGES:
        page.goto(site + name)
        expect(page.locator("h1")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()
    assert [url for url in elsewhere if not url.startswith((site, "data:", "blob:"))] == []
    assert errors == []


def test_the_search_finds_a_page(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(site)
    page.get_by_role("button", name="Search").first.click()
    page.keyboard.type("rollback")
    expect(page.get_by_role("option").filter(has_text="Canary and rollback").first).to_be_visible()
    context.close()
