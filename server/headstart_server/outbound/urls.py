"""URLs that callers name: what they may be written like, and which lie within others."""

import re
from urllib.parse import SplitResult, urlsplit

MAX_BYTES = 2048
PORTS = {"http": 80, "https": 443}
#: What a URL is written with; no backslash, space or control character, which clients read differently.
_ALLOWED = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


def split_url(uri: str) -> SplitResult:
    """The parts of an http or https URL.

    Raises:
        ValueError: it is none, or one that clients may read differently; the message says what came.
    """
    if len(uri) > MAX_BYTES:
        raise ValueError(f"one of {len(uri)} characters, more than {MAX_BYTES}.")
    if not _ALLOWED.fullmatch(uri):
        raise ValueError(f"{uri[:80]!r}, which has characters that a URL is not written with.")
    url = urlsplit(uri)
    if url.scheme not in PORTS or not url.hostname:
        raise ValueError(f"{uri[:80]!r}.")
    if "@" in url.netloc:
        # Not told: it may hold a password.
        raise ValueError("one with a user name.")
    if url.fragment or re.search(r"(^|/)(\.|%2e){1,2}(/|$)|%2f|%5c", url.path, re.IGNORECASE):
        raise ValueError(f"{uri[:80]!r}, which has a fragment, or steps up in its path.")
    _ = url.port
    return url


def is_within(url: SplitResult, prefix: SplitResult) -> bool:
    """Whether a URL is within a prefix: the same host and port, and a path within its path."""
    if (url.scheme, url.hostname, url.port or PORTS[url.scheme]) != (
        prefix.scheme,
        prefix.hostname,
        prefix.port or PORTS[prefix.scheme],
    ):
        return False
    folder = prefix.path.rstrip("/")
    return url.path in (prefix.path, folder) or url.path.startswith(f"{folder}/")
