"""Makes the pages of the documentation ready for the site."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from docs_site import python_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DIAGRAMS = DOCS / "images" / "diagrams"
#: Pages whose source is outside docs, and where the site has them.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "understand/changelog.md",
    "CONTRIBUTING.md": "understand/contributing.md",
    "k8s": "operate/manifests.md",
    "k8s/README.md": "operate/manifests.md",
    "protos/headstart/v1": "reference/grpc/index.md",
    "docs/lab": "lab/README.md",
}
#: Of these, pages that are copied; the others are made, or are pages of docs.
COPIED = ("CHANGELOG.md", "CONTRIBUTING.md", "k8s/README.md")
#: Where the site has the files of the repository that pages link to.
FILES = "files"

_FENCE = re.compile(r"^( *)(`{3,})(.*)$")
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)#\s]*)(#[^)\s]*)?\)")
_SOURCE = re.compile(r"""\b(src|srcset|href)="([^":#]+)(#[^"]*)?\"""")
#: A drawing with the colors of the page, in a paragraph that has nothing else.
_PLOT = re.compile(r"^!\[[^\]]*\]\(([\w./-]*images/(?:plots/[\w-]+|concepts)\.svg)\)$", re.MULTILINE)
_ITEM = re.compile(r"^( *)(?:[-*]|\d+\.) +")


class StagingError(Exception):
    """A page cannot become a page of the site; the message names the page and the remedy."""


def stage(target: Path) -> None:
    """Write the pages and all files that they use to an empty folder."""
    for file in sorted(DOCS.rglob("*")):
        name = file.relative_to(DOCS).as_posix()
        if file.suffix == ".md":
            _write(target / name, page(file, name, target))
        elif file.is_file() and file.suffix != ".toml" and DIAGRAMS not in file.parents:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / name)
    for source in COPIED:
        _write(target / ELSEWHERE[source], page(ROOT / source, ELSEWHERE[source], target))


def page(source: Path, name: str, target: Path) -> str:
    """Return the Markdown of a page for the site.

    Args:
        source: the file in the repository.
        name: the page in the site, such as `guides/canary.md`.
        target: the folder of the site's sources; files that the page links to are copied there.
    """
    blocks = _blocks(source.read_text(encoding="utf-8"))
    written = []
    for is_code, text in blocks:
        if is_code:
            written.append(_code(text, name))
        else:
            drawn = _PLOT.sub(lambda match: _figure((source.parent / match[1]).resolve()), text)
            linked = _LINK.sub(lambda match: _link(match, source, name, target), drawn)
            written.append(_SOURCE.sub(lambda match: _source(match, source, name, target), linked))
    return python_page.with_all_names(_lists("".join(written)))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _blocks(text: str) -> list[tuple[bool, str]]:
    """Return the parts of a page, and for each whether it is fenced code."""
    parts: list[tuple[bool, str]] = []
    lines: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line)
        if not fence and found:
            parts.append((False, "".join(lines)))
            fence, lines = found[2], [line]
        elif fence and found and found[2] == fence and not found[3].strip():
            parts.append((True, "".join([*lines, line])))
            fence, lines = "", []
        else:
            lines.append(line)
    return [*parts, (bool(fence), "".join(lines))]


def _code(text: str, name: str) -> str:
    """Return a block of code without the name that tests find it by, and a diagram as its image."""
    first, _, rest = text.partition("\n")
    if first.strip() == "```mermaid":
        return _diagram(rest.rpartition("```")[0], name)
    return re.sub(r"^( *`{3,}\w*) .*$", r"\1", first) + "\n" + rest


def diagram_file(text: str) -> Path:
    """Return the file of a diagram, which `make illustrations` draws from its text."""
    return DIAGRAMS / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.svg"


def diagrams() -> list[str]:
    """Return the text of each diagram of the documentation."""
    pages = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in COPIED)]
    return [
        block.partition("\n")[2].rpartition("```")[0]
        for file in pages
        for is_code, block in _blocks(file.read_text(encoding="utf-8"))
        if is_code and block.startswith("```mermaid\n")
    ]


def _diagram(text: str, name: str) -> str:
    file = diagram_file(text)
    if not file.exists():
        raise StagingError(
            f"{name}: its diagram is not drawn yet. Run: make illustrations ARGS='--only diagrams'"
        )
    return _figure(file) + "\n"


def _figure(file: Path) -> str:
    """Return a drawing as part of the page, so that it has the page's colors."""
    return f'<figure class="diagram">{file.read_text(encoding="utf-8").strip()}</figure>'


def _link(match: re.Match[str], source: Path, name: str, target: Path) -> str:
    text, place, anchor = match[1], match[2], match[3] or ""
    return f"{text}({_moved(place, source, name, target)}{anchor})" if place else match[0]


def _source(match: re.Match[str], source: Path, name: str, target: Path) -> str:
    return f'{match[1]}="{_moved(match[2], source, name, target)}{match[3] or ""}"'


def _moved(place: str, source: Path, name: str, target: Path) -> str:
    """Return where the site has a file or page, relative to the page that links to it."""
    if re.match(r"\w+:|/", place):
        return place
    there = Path(os.path.normpath(source.parent / place))
    if not there.exists():
        raise StagingError(f"{name}: {place} does not exist. Correct the link.")
    within = there.relative_to(ROOT).as_posix()
    if within in ELSEWHERE:
        moved = ELSEWHERE[within]
    elif found := re.fullmatch(r"protos/headstart/v1/(\w+)\.proto", within):
        moved = f"reference/grpc/{found[1]}.md"
    elif within.startswith("docs/"):
        moved = within.removeprefix("docs/")
    else:
        moved = _file(there, within, name, target)
    return os.path.relpath(moved, Path(name).parent.as_posix())


def _file(there: Path, within: str, name: str, target: Path) -> str:
    """Copy a file of the repository that a page links to, and return where the site has it."""
    if there.is_dir():
        raise StagingError(f"{name}: {within} is a folder. Link to one of its files, or to a page.")
    moved = f"{FILES}/{within}.txt"
    (target / moved).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(there, target / moved)
    return moved


def _lists(text: str) -> str:
    """Return a page with lists as Python-Markdown reads them: after an empty line, and indented by four."""
    lines: list[str] = []
    #: Where the contents of each list around a line begin.
    levels: list[int] = []
    for is_code, block in _blocks(text):
        for number, line in enumerate(block.splitlines(keepends=True)):
            if line.strip() and not (is_code and number):
                if _starts_list(line, levels, lines):
                    lines.append("\n")
                _close(levels, line, follows_text=bool(lines and lines[-1].strip()))
            lines.append(_indented(line, levels))
            if not is_code and (item := _ITEM.match(line)):
                levels.append(len(item[0]))
    return "".join(lines)


def _starts_list(line: str, levels: list[int], lines: list[str]) -> bool:
    return bool(_ITEM.match(line) and not levels and lines and lines[-1].strip())


def _close(levels: list[int], line: str, *, follows_text: bool) -> None:
    """Remove the lists that end before a line."""
    spaces = len(line) - len(line.lstrip(" "))
    if _ITEM.match(line) or not follows_text or (not spaces and line[0] in "#`|<"):
        while levels and levels[-1] > spaces:
            levels.pop()


def _indented(line: str, levels: list[int]) -> str:
    spaces = len(line) - len(line.lstrip(" "))
    within = [level for level in levels if level <= spaces]
    return " " * (4 * len(within) + spaces - (within[-1] if within else 0)) + line.lstrip(" ")
