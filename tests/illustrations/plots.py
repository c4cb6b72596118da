"""Draws the plots of the documentation from the tables that the benchmarks printed into its pages."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docs_site.staging import DOCS

PLOTS = DOCS / "images" / "plots"
_BENCHMARKS = DOCS / "understand" / "benchmarks.md"
_RECIPES = DOCS / "understand" / "recipe-benchmarks.md"
#: Headstart, then what it is compared with.
_SERIES = ("var(--ours)", "var(--other)", "var(--third)")
#: A name is above its bar, so that a small screen can enlarge the letters.
_WIDTH, _ROW, _VALUE = 720, 48, 130
_STYLE = """\
<style>
svg.plot { --text: #374151; --line: #d1d5db; --ours: #4f46e5; --other: #9ca3af; --third: #0d9488 }
svg.plot text { fill: var(--text); font-size: 13px; font-family: sans-serif }
svg.plot .title { font-weight: 600; font-size: 15px }
@media (prefers-color-scheme: dark) {
  svg.plot { --text: #d1d5db; --line: #374151; --ours: #818cf8; --other: #6b7280; --third: #2dd4bf }
}
</style>"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of a page.

    Attributes:
        header: the titles of the columns.
        rows: the cells of each row.
    """

    header: list[str]
    rows: list[list[str]]

    def column(self, title: str) -> list[str]:
        """Return the cells below a title."""
        index = self.header.index(title)
        return [row[index] for row in self.rows]


def table(page: Path, *, first: str, after: str = "") -> Table:
    """Return the first table after a text whose first title is the one given."""
    text = page.read_text(encoding="utf-8")
    lines = text[text.index(after) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    cells = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return Table(header=cells[0], rows=cells[2:])


def number(text: str) -> float:
    """Return the first number of a cell."""
    found = re.search(r"[\d,]+(?:\.\d+)?", text)
    if found is None:
        raise ValueError(f"{text!r} has no number. Correct the table, or the plot that reads it.")
    return float(found[0].replace(",", ""))


def plots() -> dict[str, str]:
    """Return the SVG of each plot by its name."""
    return {
        "throughput": _throughput(),
        "memory": _memory(),
        "training": _training(),
        "accuracy": _accuracy(),
    }


def draw() -> None:
    """Write all plots."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name, svg in plots().items():
        (PLOTS / f"{name}.svg").write_text(svg, encoding="utf-8")


def _throughput() -> str:
    peers = table(_BENCHMARKS, first="server", after="## Other model servers")
    # A server that could not be measured has no number.
    calls = {
        name: number(cell)
        for name, cell in zip(peers.column("server"), peers.column("32 callers: calls/s"), strict=True)
        if cell != "-"
    }
    return _bars(
        "Predict calls a second, 32 callers, one model", list(calls), list(calls.values()), unit="/s"
    )


def _memory() -> str:
    peers = table(_BENCHMARKS, first="server | start until all answer, against Headstart's")
    cells = peers.column("memory, against Headstart's")
    # A peer's cell is such as `24.5 times (4,546 MiB)`.
    mebibytes = [number(cell.partition("(")[2] or cell) for cell in cells]
    return _bars("Memory of 50 models, MiB", peers.column("server"), mebibytes, unit=" MiB")


def _training() -> str:
    what = table(_BENCHMARKS, first="what | target | measured")
    row = next(row for row in what.rows if row[0].startswith("p99 of Predict at 4 callers while"))
    found = re.search(r"\((\d+) to (\d+) ms", row[2])
    if found is None:
        raise ValueError("The row of p99 while a fine-tune runs has no times.")
    times = [float(found[2]), float(found[1])]
    names = ["Headstart, idle", "Headstart, in a fine-tune"]
    return _bars("p99 of Predict, 4 callers, ms", names, times, unit=" ms")


def _accuracy() -> str:
    rows = table(_RECIPES, first="set, shots for each class (N)")
    methods = {
        "Headstart, auto": "auto",
        "scikit-learn": "scikit-learn logistic",
        "Adam, 100 epochs": "Adam 100",
    }
    sets: dict[str, list[tuple[int, list[float]]]] = {}
    for row in rows.rows:
        name, _, shots = row[0].partition(" ")
        examples = int(number(shots.partition("(")[2]))
        values = [number(row[rows.header.index(method)]) for method in methods.values()]
        sets.setdefault(name, []).append((examples, values))
    return _lines("Accuracy in percent by number of examples", sets, list(methods))


def _svg(title: str, height: int, body: Iterator[str], *, kind: str = "plot") -> str:
    drawn = "\n".join(body)
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{html.escape(title)}">\n{_STYLE}\n'
        f'<text class="title" x="0" y="20">{html.escape(title)}</text>\n{drawn}\n</svg>\n'
    )


def _bars(title: str, names: Sequence[str], values: Sequence[float], *, unit: str) -> str:
    def body() -> Iterator[str]:
        widest = max(values)
        for index, (name, value) in enumerate(zip(names, values, strict=True)):
            y = 58 + index * _ROW
            width = max(2, round((_WIDTH - _VALUE) * value / widest))
            color = _SERIES[0] if name.startswith("Headstart") else _SERIES[1]
            yield f'<text x="0" y="{y - 6}">{html.escape(name)}</text>'
            yield f'<rect x="0" y="{y}" width="{width}" height="16" rx="3" fill="{color}"/>'
            yield f'<text x="{width + 8}" y="{y + 14}">{value:,.0f}{unit}</text>'

    return _svg(title, 48 + len(names) * _ROW, body())


def _lines(title: str, sets: dict[str, list[tuple[int, list[float]]]], methods: Sequence[str]) -> str:
    def body() -> Iterator[str]:
        for index, method in enumerate(methods):
            x = index * 180
            yield f'<rect x="{x}" y="34" width="14" height="4" fill="{_SERIES[index]}"/>'
            yield f'<text x="{x + 20}" y="40">{method}</text>'
        width = _WIDTH / len(sets)
        for index, (name, points) in enumerate(sets.items()):
            yield from _panel(name, points, left=index * width + 30, width=width - 52)

    return _svg(title, 300, body(), kind="plot panels")


def _panel(name: str, points: list[tuple[int, list[float]]], *, left: float, width: float) -> Iterator[str]:
    top, bottom = 80, 260

    def y_of(value: float) -> float:
        return bottom - (bottom - top) * (value - 20) / 80

    def x_of(index: int) -> float:
        return left + width * index / (len(points) - 1)

    yield f'<text x="{left}" y="66" font-weight="600">{name}</text>'
    for value in (20, 60, 100):
        yield f'<path d="M{left} {y_of(value):.0f}h{width:.0f}" stroke="var(--line)"/>'
        yield f'<text x="{left - 6}" y="{y_of(value) + 4:.0f}" text-anchor="end">{value}</text>'
    for index, (examples, _) in enumerate(points):
        yield f'<text x="{x_of(index):.0f}" y="{bottom + 18}" text-anchor="middle">{examples:,}</text>'
    # Headstart's line is drawn last, above the others.
    for method in reversed(range(len(points[0][1]))):
        places = [f"{x_of(index):.1f} {y_of(values[method]):.1f}" for index, (_, values) in enumerate(points)]
        yield f'<path d="M{"L".join(places)}" fill="none" stroke="{_SERIES[method]}" stroke-width="2.5"/>'
