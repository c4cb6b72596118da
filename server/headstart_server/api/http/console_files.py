"""The files of the web console, which the HTTP port serves."""

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

from headstart_server.api.http.response import HttpResponse

#: The console's pages. Its script shows the view of a path.
_PAGE = re.compile(r"/(?:(?:new|jobs|access|models)(?:/.*)?)?")
_MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "woff2": "font/woff2",
}
_COMPRESSED = frozenset({"html", "js", "css", "svg", "txt"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
#: Headers of the pages: they load only from this server, run no inline scripts, and cannot be framed.
_PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """A file of the console."""

    content: bytes
    compressed: bytes | None  # the bytes, compressed with gzip; None if that does not make them smaller
    media_type: str
    etag: str  # the ETag, which changes with the content


class Console:
    """Answer the requests for the console's pages and files."""

    def __init__(self) -> None:
        self._files = dict(_built_files())

    def response(self, path: str, query: str, headers: Mapping[str, str]) -> HttpResponse | None:
        """Return the response to a GET request; None if the path is not part of the console.

        Args:
            query: the query of the request; files that are requested with one never change.
            headers: the headers of the request, by lowercase name.
        """
        # Programs that leave out /v1 get an error instead of the document, which has the status 200.
        is_page = path == "/" or (_is_shown(headers) and _PAGE.fullmatch(path) is not None)
        file = self._files.get("/console/index.html" if is_page else path)
        if file is None:
            return None
        is_versioned = not is_page and query.startswith("v=")
        answer = {
            "etag": file.etag,
            "vary": "accept, accept-encoding",
            "cache-control": "public, max-age=31536000, immutable" if is_versioned else "no-cache",
            **_PAGE_HEADERS,
        }
        if file.etag in headers.get("if-none-match", ""):
            return HttpResponse(code=304, headers=answer)
        content = file.content
        if file.compressed is not None and "gzip" in headers.get("accept-encoding", ""):
            content, answer["content-encoding"] = file.compressed, "gzip"
        return HttpResponse(content=content, media_type=file.media_type, headers=answer)


def _is_shown(headers: Mapping[str, str]) -> bool:
    """Return whether the client is a browser that opens a page."""
    return "text/html" in headers.get("accept", "")


def _built_files() -> Iterator[tuple[str, ConsoleFile]]:
    for each in sorted(files("headstart_server.console").joinpath("static").iterdir(), key=str):
        content, ending = each.read_bytes(), each.name.rpartition(".")[2]
        compressed = gzip.compress(content, 9, mtime=0) if ending in _COMPRESSED else None
        etag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        yield f"/console/{each.name}", ConsoleFile(content, compressed, _MEDIA_TYPES[ending], etag)
