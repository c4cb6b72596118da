"""What every benchmark prints: the machine, the software, and tables in Markdown; pages take them over."""

import argparse
import os
import platform
import re
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path

import psutil

PAGE = Path(__file__).parents[2] / "docs" / "understand" / "benchmarks.md"
WRITE_HELP = "write the tables into docs/understand/benchmarks.md"
#: Columns of a page.
WIDTH = 100

#: The tables that were printed, by their titles.
_printed: dict[str, str] = {}


def machine() -> str:
    """This machine, in a line."""
    cores = len(os.sched_getaffinity(0))
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{cores} cores of {model}, {psutil.virtual_memory().total / (1 << 30):.0f} GiB"


def software() -> str:
    """The versions that matter, in a line."""
    names = ("headstart", "openvino", "tensorflow", "keras", "grpcio", "numpy")
    return (
        ", ".join(f"{name} {package_version(name)}" for name in names)
        + f", Python {platform.python_version()}"
    )


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table in Markdown."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
    _printed[title] = "\n".join(lines)
    print(f"**{title}**\n\n{_printed[title]}\n", flush=True)


def write_section(target: str, setting: str, page: Path = PAGE) -> None:
    """Write what was printed into the section of a page that begins with a command of this project.

    Args:
        target: command without its arguments, which are those of this process.
        setting: machine and software; replaces the paragraph that begins with ``Machine:``.
        page: the page.

    Raises:
        ValueError: the page has no such section.
    """
    text = written(page.read_text(encoding="utf-8"), command(target, sys.argv[1:]), setting, _printed)
    page.write_text(text, encoding="utf-8")


def command(target: str, given: Sequence[str]) -> str:
    """Return a command as a reader runs it, without the arguments that only say where results go."""
    arguments = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    arguments.add_argument("--write", action="store_true")
    arguments.add_argument("--add", action="store_true")
    arguments.add_argument("--json")
    kept = arguments.parse_known_args(list(given))[1]
    return f"{target} ARGS='{' '.join(kept)}'" if kept else target


def written(text: str, run: str, setting: str, tables: Mapping[str, str]) -> str:
    """Return the text of a page with other tables in one section; see `write_section`."""
    target = run.partition(" ARGS")[0]
    heading = re.search(rf"^(## .*\n)`{re.escape(target)}(?: ARGS[^`]*)?`, on [\d-]+", text, re.M)
    if heading is None:
        raise ValueError(f"The page has no section '## …' followed by '`{target}`, on DATE'. Add it.")
    following = re.compile(r"^## ", re.M).search(text, heading.end())
    end = following.start() if following else len(text)
    section = text[heading.end() : end]
    paragraph = textwrap.fill(setting, WIDTH, break_long_words=False, break_on_hyphens=False)
    section = re.sub(r"^Machine: .*?(?=\n\n)", lambda _: paragraph, section, count=1, flags=re.M | re.S)
    found = re.search(r"^Machine: .*?\n\n", section, re.M | re.S)
    place = found.end() if found else len(section)
    for title, table in tables.items():
        words = r"\s+".join(map(re.escape, title.split()))
        old = re.search(rf"^\*\*{words}\*\*\n\n(?:\|.*\n)+", section, re.M)
        bold = textwrap.fill(f"**{title}**", WIDTH, break_long_words=False, break_on_hyphens=False)
        new = f"{bold}\n\n{table}\n"
        # A table that the page lacks comes after the one before.
        start, stop = old.span() if old else (place, place)
        section = section[:start] + (new if old else f"{new}\n") + section[stop:]
        place = start + len(new) + 1
    date = time.strftime("%Y-%m-%d")
    return f"{text[: heading.start()]}{heading[1]}`{run}`, on {date}{section}{text[end:]}"
