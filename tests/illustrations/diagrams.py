"""Draws the Mermaid diagrams of the documentation, so that the site needs no script for them."""

import html
import re
import subprocess
import tempfile
from pathlib import Path

import programs
from docs_site.staging import DIAGRAMS, diagram_file, diagrams

#: The package of npm that draws.
MERMAID = "mermaid@12.3.0"
#: Colors of the drawing, and the variables of the site's style that take their place.
COLORS = {
    "#f0f1f2": "var(--diagram-node)",
    "#a0a1a2": "var(--diagram-border)",
    "#101112": "var(--diagram-text)",
    "#707172": "var(--diagram-line)",
    "#e0e1e2": "var(--diagram-group)",
    "#fdfcfb": "var(--diagram-label)",
}
_NODE, _BORDER, _TEXT, _LINE, _GROUP, _LABEL = COLORS
_PAGE = """\
<!doctype html><meta charset="utf-8"><body style="font: 15px sans-serif"><pre id="out"></pre>
<script src="mermaid.min.js"></script>
<script>
mermaid.initialize({{
  startOnLoad: false, theme: "base", look: "classic", htmlLabels: false,
  flowchart: {{htmlLabels: false, curve: "basis"}},
  themeVariables: {{
    primaryColor: "{node}", primaryBorderColor: "{border}", primaryTextColor: "{text}", lineColor: "{line}",
    clusterBkg: "{group}", clusterBorder: "{border}", titleColor: "{text}", edgeLabelBackground: "{label}",
    textColor: "{text}", fontFamily: "inherit", fontSize: "15px",
  }},
}});
mermaid.render("{name}", {source}).then(({{svg}}) => {{
  document.getElementById("out").textContent = svg;
}}, error => {{ document.getElementById("out").textContent = "ERROR " + error; }});
</script>
"""


def draw() -> None:
    """Draw every diagram that changed, and remove the images of those that are gone."""
    wanted = {diagram_file(text): text for text in diagrams()}
    for file in DIAGRAMS.glob("*.svg"):
        if file not in wanted:
            file.unlink()
    missing = {file: text for file, text in wanted.items() if not file.exists()}
    if not missing:
        return
    DIAGRAMS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headstart-diagrams-") as folder:
        work = Path(folder)
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=work, check=True, capture_output=True)
        archive = next(work.glob("*.tgz"))
        subprocess.run(["tar", "-xf", archive, "package/dist/mermaid.min.js"], cwd=work, check=True)
        (work / "package/dist/mermaid.min.js").rename(work / "mermaid.min.js")
        for file, text in missing.items():
            file.write_text(_svg(text, f"d{file.stem}", work) + "\n", encoding="utf-8")


def _svg(text: str, name: str, work: Path) -> str:
    """Return a diagram as SVG whose colors are those of the page."""
    page = work / "page.html"
    source = repr(text)
    colors = {
        "node": _NODE,
        "border": _BORDER,
        "text": _TEXT,
        "line": _LINE,
        "group": _GROUP,
        "label": _LABEL,
    }
    page.write_text(_PAGE.format(name=name, source=source, **colors), encoding="utf-8")
    done = subprocess.run(
        [
            programs.CHROMIUM.find() or "chromium",
            "--headless",
            "--no-sandbox",
            "--virtual-time-budget=20000",
            f"--user-data-dir={work / 'chromium'}",
            "--dump-dom",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    svg = html.unescape(found[1]) if found else ""
    if not svg.startswith("<svg"):
        raise RuntimeError(f"Mermaid could not draw this diagram: {svg}\n{text}")
    for color, variable in COLORS.items():
        svg = re.sub(re.escape(color), variable, svg, flags=re.IGNORECASE)
    return svg
