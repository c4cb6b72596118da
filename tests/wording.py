"""Counts the words that this project avoids: `make wording`, and `make wording ARGS=--list` to see each.

`[tool.headstart.wording]` of pyproject.toml has the words and the largest count of each area. Write what a
reader of Python's or gRPC's documentation expects instead.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Generated files, files that others wrote, and the lists of the words themselves.
EXCLUDED = re.compile(
    r"(_pb2\w*\.pyi?|comments\.json|\.lock|\.txt|\.png|\.svg|\.binpb)$|^LICENSE|package-lock|^pyproject\.toml|"
    r"^tests/(wording|unit/packaging/test_(wording|log_events))\.py$"
)
#: The first area whose pattern matches the start of a path has the file; messages are taken from the server.
AREAS = {
    "readme": r"README\.md",
    "protos": r"protos/",
    "cli": r"client/headstart/cli/",
    "client": r"client/",
    "settings": r"server/headstart_server/(__main__|app/config_command|app/start_checks|settings)(\.py|/)",
    "server": r"server/",
    "tests": r"tests/",
    "docs": r"",
}
MESSAGES = "messages"


@dataclass(frozen=True, slots=True)
class Finding:
    """An avoided word.

    Attributes:
        area: the part of the project that it counts for.
        path: the file, relative to the repository.
        line: from 1.
        word: as it is written there.
    """

    area: str
    path: str
    line: int
    word: str


def pattern_of(words: list[str]) -> re.Pattern[str]:
    """Return a pattern that finds the words in prose and in names such as `is_told`, in either first letter.

    Later letters must agree, because `is None` is Python.
    """
    forms = (
        f"[{word[0].upper()}{word[0]}]{re.escape(word[1:])}".replace(r"\ ", r"[\s_-]+#?\s*") for word in words
    )
    # An element of HTML has the name of a word.
    return re.compile(rf"(?<![A-Za-z<])(?<!</)({'|'.join(forms)})(?![A-Za-z])")


def findings(path: str, text: str, pattern: re.Pattern[str]) -> Iterator[Finding]:
    """Yield each avoided word of a file."""
    area = next(name for name, start in AREAS.items() if re.match(start, path))
    messages = _message_places(text) if area == "server" and path.endswith(".py") else []
    for found in pattern.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        is_message = any(start <= found.start() < end for start, end in messages)
        yield Finding(MESSAGES if is_message else area, path, line, " ".join(found[0].split()))


def _message_places(text: str) -> list[tuple[int, int]]:
    """Return the start and end of each string that is not a docstring."""
    docstrings = {
        node.body[0].value.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    kinds = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return [
        (starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1])
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type in kinds and token.start[0] not in docstrings
    ]


def all_findings(pattern: re.Pattern[str]) -> list[Finding]:
    """Return the avoided words of all files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: list[Finding] = []
    for path in filter(None, listed.split("\0")):
        if EXCLUDED.search(path) or not (ROOT / path).is_file():
            continue
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += findings(path, text, pattern)
    return found


def main() -> int:
    """Print the count of each area; return 1 if one is above its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print each place")
    parser.add_argument("--area", help="only this one")
    options = parser.parse_args()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["headstart"]["wording"]
    found = all_findings(pattern_of(settings["words"]))
    failed = False
    for area, budget in settings["budget"].items():
        if options.area not in (None, area):
            continue
        here = [finding for finding in found if finding.area == area]
        if options.list or len(here) > budget:
            for finding in here:
                print(f"{finding.path}:{finding.line}: {finding.word}")
        note = "" if len(here) == budget else " too many" if len(here) > budget else " - lower the budget"
        print(f"{area}: {len(here)} of {budget}{note}")
        failed |= len(here) > budget
    if failed:
        print("Use other words: CONTRIBUTING.md, Wording.", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
