"""Pages of the repository become pages of the site."""

from pathlib import Path

import pytest

from docs_site import python_page, staging
from docs_site.staging import DOCS, ROOT, StagingError, page


@pytest.fixture(name="source")
def source_of_a_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A page in a folder of a repository with a few other files."""
    for name in ("docs/guides/canary.md", "docs/index.md", "k8s/README.md", "pyproject.toml", "k8s/x/y.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# Title\n")
    (tmp_path / "protos/headstart/v1").mkdir(parents=True)
    (tmp_path / "protos/headstart/v1/job.proto").touch()
    monkeypatch.setattr(staging, "ROOT", tmp_path)
    return tmp_path / "docs/guides/examples.md"


def staged(source: Path, text: str) -> str:
    source.write_text(text)
    return page(source, "guides/examples.md", source.parents[2] / "site")


@pytest.mark.parametrize(
    ("place", "moved"),
    [
        ("canary.md#which", "canary.md#which"),
        ("../index.md", "../index.md"),
        ("../../k8s/README.md", "../operate/manifests.md"),
        ("../../protos/headstart/v1", "../reference/grpc/index.md"),
        ("../../protos/headstart/v1/job.proto", "../reference/grpc/job.md"),
        ("https://example.com/a", "https://example.com/a"),
        ("#here", "#here"),
    ],
)
def test_links_lead_to_pages_of_the_site(source: Path, place: str, moved: str) -> None:
    assert staged(source, f"See [that]({place}).\n") == f"See [that]({moved}).\n"


def test_a_linked_file_of_the_repository_is_copied_to_the_site(source: Path) -> None:
    assert staged(source, "[layers](../../pyproject.toml)\n") == "[layers](../files/pyproject.toml.txt)\n"
    assert (source.parents[2] / "site/files/pyproject.toml.txt").read_text() == "# Title\n"


def test_images_in_html_move_like_links(source: Path) -> None:
    assert staged(source, '<img src="../../k8s/README.md">\n') == '<img src="../operate/manifests.md">\n'


@pytest.mark.parametrize("place", ["missing.md", "../../k8s/x", "../../../outside.md"])
def test_a_link_without_a_page_or_a_file_is_an_error_that_names_it(source: Path, place: str) -> None:
    with pytest.raises(StagingError, match=r"guides/examples\.md: "):
        staged(source, f"[that]({place})\n")


def test_links_and_lists_in_code_stay_as_they_are(source: Path) -> None:
    text = "```sh\n[a](missing.md)\ntext\n- no list\n```\n"
    assert staged(source, text) == text


def test_the_names_of_blocks_are_for_tests_only(source: Path) -> None:
    assert staged(source, "```sh first-model\nheadstart\n```\n") == "```sh\nheadstart\n```\n"


def test_a_list_after_text_gets_an_empty_line_and_nested_lists_four_spaces(source: Path) -> None:
    text = "Text:\n- one\n  goes on\n  - inner\n    goes on\n- two\n\nEnd\n\n"
    text += "1. first\n   - inner\n\n   More\n2. second\n"
    assert staged(source, text) == (
        "Text:\n\n- one\n    goes on\n    - inner\n        goes on\n- two\n\nEnd\n\n"
        "1. first\n    - inner\n\n    More\n2. second\n"
    )


def test_code_in_a_list_moves_with_it(source: Path) -> None:
    assert staged(source, "- one\n\n  ```py\n  if x:\n    y\n  ```\n") == (
        "- one\n\n    ```py\n    if x:\n      y\n    ```\n"
    )


def test_a_diagram_that_is_not_drawn_names_the_command(source: Path) -> None:
    with pytest.raises(StagingError, match="make illustrations"):
        staged(source, "```mermaid\nflowchart LR\n  a --> b\n```\n")


def test_every_page_is_in_the_navigation_once() -> None:
    text = (DOCS / "zensical.toml").read_text()
    pages = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")}
    pages |= {staging.ELSEWHERE[name] for name in staging.COPIED}
    assert [name for name in sorted(pages) if text.count(f'"{name}"') != 1] == []


def test_the_python_pages_have_every_public_name_once() -> None:
    import headstart

    pages = DOCS.glob("reference/python*.md")
    text = "\n".join(python_page.with_all_names(page.read_text()) for page in pages)
    counts = {
        name: text.count(f"::: headstart.{name}\n") + text.count(f"- `{name}`\n")
        for name in headstart.__all__
    }
    assert {name: count for name, count in counts.items() if count != 1} == {}
    assert "### Client.predict" in python_page.expanded(text)
    assert ROOT.joinpath("client/headstart").is_dir()
