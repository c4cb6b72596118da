"""The plots show the numbers of the tables in the documentation."""

import re
from pathlib import Path

import pytest

from illustrations import plots


def test_the_plots_are_those_of_the_tables() -> None:
    stale = [
        name
        for name, svg in plots.plots().items()
        if (plots.PLOTS / f"{name}.svg").read_text(encoding="utf-8") != svg
    ]
    assert stale == [], "Run: make illustrations ARGS='--only plots'"


def test_a_bar_has_the_length_and_the_text_of_its_number() -> None:
    svg = plots._bars("Calls", ["Headstart", "Peer <a>"], [300, 150], unit="/s")
    assert "Peer &lt;a&gt;" in svg
    assert "300/s" in svg
    widths = [int(part.split('"')[0]) for part in svg.split('width="')[1:]]
    assert widths[0] == 2 * widths[1]


def test_a_table_is_found_by_its_first_title_after_a_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n## Later\n\n| a | c |\n|---|---|\n| 3 | 1,004.5 ms |\n\nEnd\n"
    )
    assert plots.table(page, first="a", after="## Later").column("c") == ["1,004.5 ms"]
    assert plots.number("1,004.5 ms") == 1004.5
    with pytest.raises(ValueError, match="no number"):
        plots.number("none")


def test_the_figures_of_readme_and_of_the_summary_are_those_of_the_tables() -> None:
    page = plots._BENCHMARKS.read_text(encoding="utf-8")
    targets = {
        row[0]: row[2] for row in plots.table(plots._BENCHMARKS, first="what | target | measured").rows
    }

    def measured(beginning: str, *, figure: str) -> str:
        row = next(cell for name, cell in targets.items() if name.startswith(beginning))
        return re.findall(figure, row)[0]

    first = measured("FineTune call to first Predict, 100", figure=r"[\d.]+ s")
    speed = measured("compared with the common Keras", figure=r"\d+ times")
    start = measured("process start", figure=r"[\d.]+ s")
    readme = (plots.DOCS.parent / "README.md").read_text(encoding="utf-8")
    for text in (readme, page[: page.index("## Headstart")]):
        assert f"| {first};" in text
        assert f"| {speed} faster;" in text
        assert f"| {start}, " in text
