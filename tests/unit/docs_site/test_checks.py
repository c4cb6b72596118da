"""The check of the built site finds links that lead nowhere and files from other origins."""

from pathlib import Path

import pytest

from docs_site.checks import faults


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b/#here">', None),
        ('<a href="b/index.html">', None),
        ('<a href="/b/#here">', None),
        ('<a href="#top" id="top">', None),
        ('<a href="https://example.com/x">', None),
        ('<a href="mailto:a@example.com">', None),
        ('<img src="data:image/png;base64,AA">', None),
        ('<a href="b/#gone">', "no such heading"),
        ('<a href="c/">', "does not exist"),
        ('<a href="#gone">', "no such heading"),
        ('<img src="gone.png">', "does not exist"),
        ('<img src="https://example.com/a.png">', "another origin"),
        ('<script src="//example.com/a.js"></script>', "another origin"),
        ('<link rel="stylesheet" href="https://example.com/a.css">', "another origin"),
        ('<picture><source srcset="gone.png 2x"></picture>', "does not exist"),
    ],
)
def test_a_fault_names_the_page_and_the_address(tmp_path: Path, body: str, fault: str | None) -> None:
    (tmp_path / "index.html").write_text(body)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/index.html").write_text('<h2 id="here">')
    found = faults(tmp_path)
    if fault is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("index.html: ")
        assert fault in found[0]
