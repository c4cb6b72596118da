"""What a real browser makes of the page; skipped where Chromium is missing."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from headstart_server.report.page import page
from programs import CHROMIUM
from report_samples import SAMPLES

# Added to a copy of the page, and allowed there, to tell what the page cannot tell by itself.
PROBE = """
const found = {
  width: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  sorted: [...document.querySelectorAll("table.sortable thead button")].length,
  images: [...document.images].filter((image) => image.complete && !image.naturalWidth).length,
  alerts: window.alerts || 0,
};
const table = document.querySelector("table.sortable:has(tbody tr:nth-child(2))");
if (table) {
  const button = table.querySelectorAll("thead button")[2];
  button.click();
  found.order = [...table.tBodies[0].rows].map((row) => row.cells[2].textContent);
}
document.title = "found " + JSON.stringify(found);
"""


def opened(folder: Path, width: int = 1200) -> subprocess.CompletedProcess:
    """Opens the page in the folder; gives what became of it."""
    arguments = [
        CHROMIUM.need(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--window-size={width},900",
        f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--dump-dom",
        str(folder / "page.html"),
    ]  # fmt: skip
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def probed(content: str, folder: Path, width: int) -> tuple[dict, str]:
    policy = re.search("script-src &#x27;.*?&#x27;", content)[0]
    # The copy's own script needs another rule; style and images keep theirs.
    copy = content.replace(policy, "script-src &#x27;unsafe-inline&#x27;").replace(
        "</body>", f"<script>{PROBE}</script></body>"
    )
    (folder / "page.html").write_text(copy)
    done = opened(folder, width)
    title = re.search(r"<title>found (.*?)</title>", done.stdout)
    assert title, done.stderr[-2000:]
    return json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&")), done.stderr


@pytest.mark.parametrize(
    ("name", "width"), [("ten", 1200), ("hundred", 500), ("hostile", 500), ("several", 800)]
)
def test_the_page_fits_its_window_its_tables_sort_and_nothing_is_refused(tmp_path, name, width):
    found, log = probed(page(SAMPLES[name]()), tmp_path, width)

    assert found["width"] <= 0
    assert found["images"] == 0
    assert found["sorted"] > 0
    order = [float(cell.rstrip("%")) for cell in found.get("order", []) if "%" in cell]
    assert order == sorted(order, reverse=True)
    assert "Content Security Policy" not in log
    assert "CONSOLE" not in log


def test_the_page_s_own_rules_let_its_script_run(tmp_path):
    (tmp_path / "page.html").write_text(page(SAMPLES["ten"]()))

    done = opened(tmp_path)

    assert '<button type="button">precision</button>' in done.stdout
    assert "Content Security Policy" not in done.stderr
