"""Checks the built site: every link leads somewhere, and nothing is loaded from elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes that make a browser load something, by tag.
_LOADING = {"img": "src", "script": "src", "source": "srcset", "iframe": "src", "video": "src"}


@dataclass(kw_only=True)
class _Page(HTMLParser):
    """What a page links to and loads, and the anchors that it has."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if (name := _LOADING.get(tag)) and name in values:
            self.loads.append(values[name].split(" ")[0])
        if tag == "link" and values.get("rel") in {"stylesheet", "icon", "preload", "preconnect", "prefetch"}:
            self.loads.append(values["href"])


def faults(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere and each file from another origin."""
    pages = sorted(site.rglob("*.html"))
    return [fault for page in pages for fault in _faults(page, site)]


def _faults(page: Path, site: Path) -> Iterator[str]:
    name = page.relative_to(site).as_posix()
    read = _read(page)
    for address in read.loads:
        if urlsplit(address).netloc:
            yield f"{name}: loads {address} from another origin."
    for address in [*read.links, *read.loads]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        there = _target(unquote(parts.path), page, site)
        if not there.is_file():
            yield f"{name}: {address} does not exist."
        elif there.suffix == ".html" and unquote(parts.fragment) not in {"", *_read(there).anchors}:
            yield f"{name}: {address} has no such heading."


def _target(path: str, page: Path, site: Path) -> Path:
    if not path:
        return page
    there = (site / path.lstrip("/") if path.startswith("/") else page.parent / path).resolve()
    return there / "index.html" if there.is_dir() else there


@cache
def _read(page: Path) -> _Page:
    parser = _Page()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser
