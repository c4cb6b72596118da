"""Pages take over the tables that benchmarks print."""

import pytest

import report

PAGE = """# Benchmarks

## Headstart
`make bench ARGS=--quick`, on 2020-01-01.

Machine: an old one. Software:
old.

Text that stays.

**Predict, one image a call, with a long title that
wraps**

| a | b |
| --- | --- |
| 1 | 2 |
| 3 | 4 |

More text.

**Other**

| c |
| --- |
| 5 |

## Others
`make bench-peers`, on 2020-01-01.

Machine: another one.

**Other**

| c |
| --- |
| 6 |
"""
TITLE = "Predict, one image a call, with a long title that wraps"


def test_the_tables_and_the_machine_of_one_section_are_replaced() -> None:
    tables = {TITLE: "| a |\n| --- |\n| \\1 |", "Other": "| c |\n| --- |\n| 7 |"}
    text = report.written(PAGE, "make bench ARGS='--seconds 9'", "Machine: new. Software: new.", tables)
    assert "`make bench ARGS='--seconds 9'`, on 20" in text
    assert "a long title that wraps**\n\n| a |\n| --- |\n| \\1 |\n\nMore" in text
    assert "Machine: new. Software: new.\n\nText that stays." in text
    assert "| 5 |" not in text
    # The other section keeps its table of the same title, and its machine.
    assert text.endswith(PAGE[PAGE.index("## Others") :])


def test_a_command_is_named_without_paths() -> None:
    given = ["--quick", "--json", "/somewhere/a.json", "--add", "--write", "--variants", "1", "3"]
    assert report.command("make bench-peers", given) == "make bench-peers ARGS='--quick --variants 1 3'"
    assert report.command("make bench", ["--write"]) == "make bench"


def test_a_second_writing_changes_nothing() -> None:
    tables = {TITLE: "| a |\n| --- |\n| 1 |"}
    once = report.written(PAGE, "make bench", "Machine: new.", tables)
    assert report.written(once, "make bench", "Machine: new.", tables) == once


def test_a_missing_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="followed by '`make demo`, on DATE'"):
        report.written(PAGE, "make demo", "Machine: new.", {})


@pytest.mark.parametrize("first", [True, False])
def test_a_table_that_the_page_lacks_comes_after_the_one_before(first: bool) -> None:
    tables = {"Other": "| c |\n| --- |\n| 5 |"}
    tables = {"New": "| n |", **tables} if first else {**tables, "New": "| n |"}
    text = report.written(PAGE, "make bench", "Machine: new.", tables)
    before = "Machine: new.\n\n" if first else "| 5 |\n\n"
    assert f"{before}**New**\n\n| n |\n\n{'Text that' if first else '## Others'}" in text
    assert report.written(text, "make bench", "Machine: new.", tables) == text
