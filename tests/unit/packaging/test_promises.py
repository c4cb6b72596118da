"""Each promise of the documents on security stands once, with tests that exist."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Documents whose tables end with the column `test`, and the least number of their promises.
DOCUMENTS = {"docs/understand/security-promises.md": 50, "docs/understand/threat-model.md": 25}
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of each row of the tables whose last column is `test`."""
    rows: list[list[str]] = []
    is_promises = False
    for line in text.splitlines():
        if not line.startswith("|"):
            is_promises = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[-1] == "test":
            is_promises = True
        elif is_promises and set(line) - set("|- "):
            rows.append(cells)
    return rows


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names of the tests that a file defines, at its top or in a class."""
    if not path.exists():
        return frozenset()
    body = ast.parse(path.read_text()).body
    body += [each for node in body if isinstance(node, ast.ClassDef) for each in node.body]
    return frozenset(node.name for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def problems_of(rows: list[list[str]]) -> list[str]:
    """Return what is wrong with the tests of promises."""
    found = []
    for promise, *_, tests in rows:
        named = _TEST.findall(tests)
        if not named or _TEST.sub("", tests).strip(" ,"):
            found.append(f"{promise}: Expected `tests/FILE.py::test_NAME`, ... Received: {tests!r}.")
        found += [
            f"{promise}: {file} has no {name}." for file, name in named if name not in names_in(ROOT / file)
        ]
    return found


@pytest.mark.parametrize(("document", "least"), DOCUMENTS.items())
def test_every_promise_has_tests_that_exist(document: str, least: int) -> None:
    rows = rows_of((ROOT / document).read_text())
    assert len(rows) >= least
    assert problems_of(rows) == []


def test_every_promise_stands_once() -> None:
    rows = [row for document in DOCUMENTS for row in rows_of((ROOT / document).read_text())]
    assert [promise for promise, count in Counter(row[0] for row in rows).items() if count > 1] == []
    assert all(cell for row in rows for cell in row)


@pytest.mark.parametrize(
    ("tests", "problem"),
    [
        ("", "Expected"),
        ("by hand", "Expected"),
        ("`tests/unit/packaging/test_promises.py`", "Expected"),
        ("`tests/unit/packaging/test_promises.py::test_every_promise_stands_once`, see there", "Expected"),
        ("`tests/unit/packaging/test_promises.py::test_that_was_renamed`", "has no test_that_was_renamed"),
        ("`tests/unit/packaging/test_moved.py::test_a`", "has no test_a"),
        ("`tests/unit/packaging/test_promises.py::test_every_promise_stands_once`", None),
    ],
)
def test_a_row_without_a_test_or_with_an_absent_one_is_found(tests: str, problem: str | None) -> None:
    text = (
        f"| attack | server | test |\n|---|---|---|\n| a flood | ends it | {tests} |\n\n| other | table |\n"
    )
    [row] = rows_of(text)
    found = problems_of([row])
    assert [problem in each for each in found] == [True] if problem else found == []
