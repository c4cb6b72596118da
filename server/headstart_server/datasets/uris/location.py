"""Places that URIs name: the parts of each, and which lie within others. Nothing in them is decoded."""

import os
import re
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import quote

from headstart_server.outbound.target import MAX_BYTES, PORTS, split_url


class UnreadableError(Exception):
    """It is not there, or may not be read; the message goes on from "it cannot be read:"."""


class TooLargeError(UnreadableError):
    """It has more bytes than may be read."""


class SourceUnavailableError(Exception):
    """What keeps it does not answer; a later try may succeed."""


#: What buckets are called: no sign that would lead a library to another host.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
#: What an operator writes for the name of the caller's tenant, and what is read in its place.
TENANT = "{tenant}"
_ANY_NAME = "name-of-the-callers-tenant"
#: Bytes of a name in any file system.
_MAX_NAME = 255


class Kind(Enum):
    """The kinds of places, by the scheme of their URIs."""

    FILE = "file"
    S3 = "s3"
    GCS = "gs"
    WEB = "https"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLocation:
    """Where something lies."""

    kind: Kind
    root: str  # the bucket, or host and port; empty for files of this machine
    parts: tuple[str, ...]  # the names on the way to it; of a URL as they are written there

    @property
    def name(self) -> str:
        """The last of its names; empty if it has none."""
        return self.parts[-1] if self.parts else ""

    def is_within(self, other: "DatasetLocation") -> bool:
        """Whether it is the other, or lies in it as in a folder."""
        return (self.kind, self.root) == (other.kind, other.root) and (
            self.parts[: len(other.parts)] == other.parts
        )

    def real(self) -> "DatasetLocation":
        """Of a file the place that all links on the way to it lead to; else itself."""
        if self.kind is not Kind.FILE:
            return self
        return replace(self, parts=path_parts(os.path.realpath(f"/{'/'.join(self.parts)}")))

    def sibling(self, path: str) -> "DatasetLocation":
        """Return the location of a path in this one's folder; raise ValueError if it is elsewhere."""
        parts = _parts(path, kind=self.kind)
        if self.kind is Kind.WEB:
            # A path is no URL: whatever it has is a part of a name.
            parts = tuple(quote(part, safe="") for part in parts)
        return DatasetLocation(kind=self.kind, root=self.root, parts=(*self.parts[:-1], *parts))

    def __str__(self) -> str:
        return f"{self.kind.value}://{self.root}/{'/'.join(self.parts)}"


def path_parts(path: str) -> tuple[str, ...]:
    """The names in a path that is the server's own, such as an absolute one."""
    return tuple(name for name in path.split("/") if name)


def is_uri(text: str) -> bool:
    """Whether a text is meant as a URI and not as a path."""
    return "://" in text


def parse_location(uri: str) -> DatasetLocation:
    """The place that a URI names. Raise ValueError if it is invalid; the message says what came."""
    if len(uri.encode(errors="replace")) > MAX_BYTES:
        raise ValueError(f"one of more than {MAX_BYTES} bytes.")
    scheme, separator, rest = uri.partition("://")
    kind = next((each for each in Kind if each.value == scheme), None) if separator else None
    if kind is None:
        # Not repeated: it may contain a password.
        raise ValueError("a URI with another beginning.")
    if kind is Kind.WEB:
        return _web_location(uri)
    root, _, path = rest.partition("/")
    if kind is Kind.FILE:
        if root:
            raise ValueError("a file of another machine: file:/// has three slashes.")
    elif not _BUCKET.fullmatch(root) or ".." in root:
        raise ValueError("an invalid bucket name.")
    if _ENCODED.search(path):
        raise ValueError("a name in percent-encoding: names of files and objects are written as they are.")
    return DatasetLocation(kind=kind, root=root, parts=_parts(path, kind=kind, is_uri=True) if path else ())


def parse_prefix(text: str) -> DatasetLocation:
    """The place that an operator allows: a URI as `parse_location` takes, or the path of a folder.

    One of its names may be `TENANT`, which stands for that of the caller's tenant. Raise ValueError if it is
    neither, or all files of the machine.
    """
    given = text.replace(TENANT, _ANY_NAME).rstrip("/")
    try:
        place = parse_location(given if is_uri(text) and not given.endswith(":") else f"file://{given}")
        if not is_uri(text) and not text.startswith("/"):
            raise ValueError(f"{text[:80]!r}.")
        if place.kind is Kind.FILE and not place.parts:
            raise ValueError("the root of all files.")
        parts = tuple(TENANT if part == _ANY_NAME else part for part in place.parts)
        if any(_ANY_NAME in part for part in (place.root, *parts)):
            raise ValueError(f"{TENANT} as a part of a name.")
    except ValueError as error:
        raise ValueError(
            "Expected --allow-dataset-uri as the absolute path of a folder, or as s3://BUCKET/PREFIX, "
            f"gs://BUCKET/PREFIX or https://HOST/PREFIX. Received: {error}"
        ) from None
    return replace(place, parts=parts)


def _web_location(uri: str) -> DatasetLocation:
    url = split_url(uri)
    if url.query:
        # Not repeated: a signature in it is as good as a password.
        raise ValueError("one with a query, which may hold a secret: let the server have the right to read.")
    port = url.port or PORTS["https"]
    host = str(url.hostname)
    host = f"[{host}]" if ":" in host else host
    path = url.path.strip("/")
    if "//" in path:
        raise ValueError(f"{uri[:80]!r}, which has an empty name in its path.")
    return DatasetLocation(
        kind=Kind.WEB,
        root=host if port == PORTS["https"] else f"{host}:{port}",
        parts=tuple(path.split("/")) if path else (),
    )


def _parts(path: str, *, kind: Kind, is_uri: bool = False) -> tuple[str, ...]:
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _MAX_NAME for part in parts):
        raise ValueError(f"{path[:80]!r}, which has a name that is empty, too long, '.' or '..'.")
    # What follows them a library of buckets may read as the number of an object's version.
    signs = "\\?#" if is_uri or kind in (Kind.S3, Kind.GCS) else "\\"
    if not path.isprintable() or any(sign in path for sign in signs):
        raise ValueError(f"{path[:80]!r}, which has signs that no name may have: {' '.join(signs)}.")
    return parts
