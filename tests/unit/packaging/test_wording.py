"""The count of avoided words sees prose, names and messages, and nothing else."""

import pytest

from wording import Finding, all_findings, findings, pattern_of

PATTERN = pattern_of(["told", "is none", "of its own", "picture"])


def found(path: str, text: str) -> list[tuple[str, int, str]]:
    return [(each.area, each.line, each.word) for each in findings(path, text, PATTERN)]


@pytest.mark.parametrize(
    ("path", "area"),
    [
        ("README.md", "readme"),
        ("protos/headstart/v1/job.proto", "protos"),
        ("client/headstart/job.py", "client"),
        ("client/headstart/cli/app.py", "cli"),
        ("server/headstart_server/__main__.py", "settings"),
        ("server/headstart_server/app/build.py", "server"),
        ("tests/fakes.py", "tests"),
        ("docs/understand/design.md", "docs"),
        ("k8s/base/service.yaml", "docs"),
    ],
)
def test_each_file_counts_for_its_area(path: str, area: str) -> None:
    assert found(path, "# Told.\n") == [(area, 1, "Told")]


def test_names_prose_and_words_across_lines_are_found() -> None:
    text = 'def is_told() -> None:\n    """A folder of\n    its own."""\n    # There\n    # is\n    # none.\n'

    assert found("server/headstart_server/app/build.py", text) == [
        ("server", 1, "told"),
        ("server", 2, "of its own"),
        ("server", 5, "is # none"),
    ]


def test_strings_of_the_server_are_messages_and_docstrings_are_not() -> None:
    text = '"""Told."""\nfail(f"{name} was told", \'told\')  # told\n'

    assert found("server/headstart_server/app/build.py", text) == [
        ("server", 1, "Told"),
        ("messages", 2, "told"),
        ("messages", 2, "told"),
        ("server", 2, "told"),
    ]


def test_longer_words_and_the_value_none_are_not_found() -> None:
    assert (
        found("server/headstart_server/app/build.py", "if untold is None or retold is None:\n    pass\n")
        == []
    )


def test_elements_of_html_are_not_found() -> None:
    assert found("docs/index.md", "<picture>\n</picture>\n") == []


def test_files_of_this_repository_are_read() -> None:
    assert Finding("readme", "README.md", 1, "Headstart") in all_findings(pattern_of(["Headstart"]))
