"""Adds the pages as Markdown to the site, and llms.txt, which lists them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs_site import python_page
from docs_site.staging import DOCS

_INTRODUCTION = """\
# Headstart

> Headstart is a server that fine-tunes models on demand and serves every version of them, over gRPC and
> HTTP. It fits small heads on frozen, shared Keras backbones, for images, texts and rows of numbers.
"""


def write(pages: Path, site: Path) -> None:
    """Copy each page as Markdown next to its HTML, and list them by section.

    Args:
        pages: the folder of the pages that the site was built from.
        site: the built site.
    """
    titles: dict[str, str] = {}
    for page in sorted(pages.rglob("*.md")):
        name = page.relative_to(pages).as_posix()
        text = python_page.expanded(page.read_text(encoding="utf-8"))
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
        titles[name] = _title(text) or name
    (site / "llms.txt").write_text("\n".join(_list(titles)) + "\n", encoding="utf-8")


def _title(text: str) -> str:
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _list(titles: dict[str, str]) -> Iterator[str]:
    settings: dict[str, Any] = tomllib.loads((DOCS / "zensical.toml").read_text(encoding="utf-8"))
    yield _INTRODUCTION
    for entry in settings["project"]["nav"]:
        [(section, items)] = entry.items()
        if isinstance(items, str):
            continue
        yield f"## {section}"
        yield ""
        for item in items:
            [(title, name)] = item.items()
            for page in [name] if isinstance(name, str) else sorted(_below(titles, "reference/grpc/")):
                shown = title if isinstance(name, str) else f"{title}: {titles[page]}"
                yield f"- [{shown}]({page})"
        yield ""


def _below(titles: dict[str, str], folder: str) -> list[str]:
    return [name for name in titles if name.startswith(folder)]
