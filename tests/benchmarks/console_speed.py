"""Measures the web console in Chromium: `make bench-console`.

`ARGS=--write` puts the table into the documentation. Exits with 1 if a measurement misses its target.
"""

import argparse
import gzip
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, redirect_stdout
from datetime import date
from io import StringIO
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser

from browser.chromium import Console, browser
from browser.scenes import COLORS, folders, image
from browser.speed import first_answer, first_paint, long_list
from headstart import Client
from report import machine, print_table
from server_process import FIRST_START_SECONDS, ServerProcess, running

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/understand/benchmarks.md"
BEGIN, END = "<!-- console: written by make bench-console ARGS=--write -->\n", "<!-- end of console -->\n"
STATIC = ROOT / "server/headstart_server/console/static"
LONG = 100_000


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="make bench-console", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a list of 5,000 examples instead of 100,000")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name}")
    options = parser.parse_args()
    count = LONG // 20 if options.quick else LONG
    with browser() as opened:
        rows = [*_from_empty(opened), *_long(opened, count), _size()]
    printed = StringIO()
    with redirect_stdout(printed):
        print(f"Machine: {machine()}, on {date.today().isoformat()}\n")
        print_table("The web console in Chromium", ["what", "target", "measured", "reached"], rows)
    print(printed.getvalue().rstrip())
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
        PAGE.write_text(text[:before] + printed.getvalue().rstrip() + "\n" + text[after:], encoding="utf-8")
    return 0 if all(row[-1] == "yes" for row in rows) else 1


def _from_empty(opened: Browser) -> list[Sequence[str]]:
    with tempfile.TemporaryDirectory(prefix="headstart-console-") as folder:
        photos = folders(Path(folder) / "photos", {"ant": "red", "bee": "blue"})
        (new := Path(folder) / "new.png").write_bytes(image(COLORS["blue"], 7))
        with _server(Path(folder) / "data") as server:
            console = _console(opened, server)
            answer = first_answer(console, photos, new, "bee")
            paint = first_paint(console, "/")
            console.close()
            server.terminate()
    return [
        _row("first paint of a page", "≤ 200 ms", f"{paint:.0f} ms", paint <= 200),
        _row(
            "from dropping two folders of 20 images on an empty server to the first live answer",
            "≤ 3 s",
            f"{answer:.1f} s",
            answer <= 3,
        ),
    ]


def _long(opened: Browser, count: int) -> list[Sequence[str]]:
    with (
        tempfile.TemporaryDirectory(prefix="headstart-console-") as folder,
        _server(Path(folder) / "data", "--max-examples", str(count)) as server,
    ):
        random = np.random.default_rng(3)
        labels = random.integers(0, 3, count)
        rows = random.standard_normal((3, 4))[labels] * 4 + random.standard_normal((count, 4))
        with Client(server.target) as client:
            client.fine_tune(
                rows.astype("float32"), [f"class {each}" for each in labels], model="long"
            ).result()
        console = _console(opened, server)
        found = long_list(console, "long", count)
        console.close()
        server.terminate()
    examples = f"{count:,} examples"
    jump, frames, mapped = found.jump_seconds, found.frames, found.map_seconds
    return [
        _row(f"{examples}: jump to the last one, with its content", "≤ 1 s", f"{jump:.2f} s", jump <= 1),
        _row(f"{examples}: scrolling", "≥ 30 frames/s", f"{frames:.0f} frames/s", frames >= 30),
        _row(f"{examples}: the data map is drawn", "≤ 3 s", f"{mapped:.1f} s", mapped <= 3),
    ]


def _size() -> Sequence[str]:
    files = [path for path in STATIC.iterdir() if path.suffix in {".html", ".js", ".css", ".svg", ".woff2"}]
    size = sum(len(gzip.compress(path.read_bytes())) for path in files) / 1000
    return _row("all files of the console, compressed", "≤ 300 KB", f"{size:.0f} KB", size <= 300)


def _server(data: Path, *flags: str) -> AbstractContextManager[ServerProcess]:
    return running(data, "--http-port", "0", *flags)


def _console(opened: Browser, server: ServerProcess) -> Console:
    server.wait_until_serving(FIRST_START_SECONDS)
    return Console(opened, f"http://{server.event('http_listening')}")


def _row(what: str, target: str, measured: str, reached: bool) -> Sequence[str]:
    return what, target, measured, "yes" if reached else "**no**"


if __name__ == "__main__":
    sys.exit(main())
