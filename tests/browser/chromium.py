"""A page of the console in Debian's Chromium."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from programs import CHROMIUM, Requirement

WEB = Path(__file__).resolve().parents[2] / "server/headstart_server/console/web"
AXE = Requirement(title="axe-core", remedy="make check-console", in_ci=False)
#: Milliseconds that something may take on a shared machine.
PATIENCE = 60_000
#: Returns the names of the models whose unsent examples the browser stores.
STORED_DRAFTS = """() => new Promise(resolve => {
    const request = indexedDB.open('headstart-drafts');
    request.onsuccess = () => {
        const all = request.result.transaction('drafts').objectStore('drafts').getAll();
        all.onsuccess = () => {
            request.result.close();
            resolve(all.result.map(each => each.model));
        };
    };
})"""

expect.set_options(timeout=PATIENCE)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, with a camera that shows a test image."""
    program = CHROMIUM.need()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        yield opened
        opened.close()


def refuse(route: Route) -> None:
    """Answer a call as a server does whose database is unavailable."""
    route.fulfill(status=503, json={"code": 14, "message": "The database is unavailable."})


class Console:
    """One page of the console, and what went wrong in it.

    Args:
        opened: the browser.
        url: of the server.
        width: of the window, in pixels.
        scheme: `light` or `dark`.
    """

    def __init__(self, opened: Browser, url: str, *, width: int = 1280, scheme: Any = "light") -> None:
        self.url = url
        self._context = opened.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self._context.set_default_timeout(PATIENCE)
        self.page: Page = self._context.new_page()
        self.problems: list[str] = []
        self.other_origins: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", self._check_origin)

    def open(self, path: str = "/") -> Page:
        """Go to a page, and wait until it shows its title."""
        self.page.goto(self.url + path)
        self.page.wait_for_selector("h1")
        return self.page

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong, each as its rule with the elements."""
        script = WEB / "node_modules/axe-core/axe.min.js"
        if not script.exists():
            AXE.refuse()
        # Through the debugger, which the content security policy does not concern.
        self.page.evaluate(script.read_text() + "; undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {json.dumps([node['html'][:160] for node in each['nodes'][:5]])}"
            for each in found["violations"]
        ]

    def close(self) -> None:
        """Close the page; fail if its script failed, or if it sent a request to another origin."""
        self._context.close()
        assert self.problems == [], self.problems
        assert self.other_origins == [], self.other_origins

    def _note(self, message: Any) -> None:
        # Responses with an error are reported by the page itself, where they matter.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def _check_origin(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.other_origins.append(request.url)
