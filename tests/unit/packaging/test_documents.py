"""Files, tests and headings that the documents name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "k8s/README.md", *ROOT.glob("docs/**/*.md")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_is_named_is_a_file(document: Path) -> None:
    named = re.findall(r"`(tests/[\w/.-]+)`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_it(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", document.read_text())
    for name, heading in links:
        target = document.parent / name if name else document
        assert target.exists(), name
        if heading:
            assert heading in headings(target), f"{name}#{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_kubectl_command_that_changes_a_namespace_names_it(document: Path) -> None:
    # In a block each line is a command, unless a backslash continues it; between backticks is one command.
    text = document.read_text().replace("\\\n", " ")
    codes = re.findall(r"^```\w*\n(.*?)^```|`([^`]+)`", text, re.MULTILINE | re.DOTALL)
    lines = [line for block, span in codes for line in (*block.splitlines(), span.replace("\n", " "))]
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|", line)]
    changing = re.compile(r"kubectl (annotate|apply|create|delete|exec|patch|rollout|run|scale) ")
    commands = [part for part in parts if changing.match(part)]
    named = re.compile(r" (--namespace [\w-]+|create namespace [\w-]+)\b")
    assert [command for command in commands if not named.search(command)] == []


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_each_feature_of_the_platform_has_its_tests() -> None:
    rows = re.findall(
        r"^\| (\d+) \|(.*)\|$", (ROOT / "docs/understand/platform.md").read_text(), re.MULTILINE
    )
    assert [int(number) for number, _ in rows] == list(range(1, 16))
    for number, row in rows:
        feature, link, tests, counterparts = (cell.strip() for cell in row.split("|"))
        assert feature, number
        assert re.fullmatch(r"\[[^]]+\]\((\.\./)?[\w/-]+\.md(#[\w-]+)?\)", link), number
        assert all(re.fullmatch(r"`tests/[\w/]+/test_\w+\.py`", each) for each in tests.split(", ")), number
        assert counterparts, number
