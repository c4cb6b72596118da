import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from browser.chromium import Console, browser
from server_process import ServerProcess, running


# Of a module: while Playwright runs, its event loop is in the way of asynchronous tests of the same process.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests of the console, warm."""
    with running(tmp_path_factory.mktemp("console") / "data", "--http-port", "0") as started:
        started.wait_until_serving()
        yield started


@pytest.fixture(scope="session")
def url(server: ServerProcess) -> str:
    return f"http://{server.event('http_listening')}"


@pytest.fixture
def console(chromium: Browser, url: str) -> Iterator[Callable[..., Console]]:
    """Open pages of the console; at the end none may have failed."""
    opened: list[Console] = []

    def open_page(**options: Any) -> Console:
        opened.append(Console(chromium, options.pop("url", url), **options))
        return opened[-1]

    yield open_page
    for each in opened:
        each.close()


@pytest.fixture
def access_server(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server with authentication: its URL, and a token for each principal."""
    rights = {"reader": ["predict"], "owner": ["predict", "train", "admin"]}
    rights |= {"guest": rights["owner"]}
    tokens = {name: f"{name}-{'x' * 40}" for name in rights}
    lines = []
    for name, token in tokens.items():
        digest = hashlib.sha256(token.encode()).hexdigest()
        # The guest has another tenant, and so other models.
        lines += ["[[principals]]", f'name = "{name}"', f'token_sha256 = ["{digest}"]']
        lines += ['tenant = "guests"'] if name == "guest" else []
        lines += [f'grants = [{{ models = ["*"], rights = {rights[name]!r} }}]']
    (tmp_path / "access.toml").write_text("\n".join(lines))
    flags = ("--http-port", "0", "--access-file", str(tmp_path / "access.toml"))
    with running(tmp_path / "data", *flags) as started:
        started.wait_until_serving()
        yield f"http://{started.event('http_listening')}", tokens
