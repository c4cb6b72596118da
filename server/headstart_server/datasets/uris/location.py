"""Locations of URIs. Their names are not decoded."""

import os
import re
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import quote

from headstart_server.outbound.target import MAX_BYTES, PORTS, split_url


class UnreadableError(Exception):
    """The data is missing or not readable; the message continues "it cannot be read:"."""


class TooLargeError(UnreadableError):
    """The data has more bytes than allowed."""


class SourceUnavailableError(Exception):
    """The storage of the data does not answer; a later attempt may succeed."""


#: Valid bucket names, without characters that would direct a library to another host.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
#: Placeholder for the caller's tenant in prefixes, and the name that replaces it for parsing.
TENANT = "{tenant}"
_ANY_NAME = "name-of-the-callers-tenant"
#: Maximum bytes of a name in a file system.
_MAX_NAME = 255


class Kind(Enum):
    """The kinds of locations, by the scheme of their URIs."""

    FILE = "file"
    S3 = "s3"
    GCS = "gs"
    WEB = "https"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLocation:
    """The location of a file, an object or a web resource."""

    kind: Kind
    root: str  # the bucket, or host and port; empty for files of this machine
    parts: tuple[str, ...]  # the names in its path; for a URL in percent-encoding

    @property
    def name(self) -> str:
        """The last name of its path; empty for an empty path."""
        return self.parts[-1] if self.parts else ""

    def is_within(self, other: "DatasetLocation") -> bool:
        """Return whether this location equals the other, or is inside of it."""
        return (self.kind, self.root) == (other.kind, other.root) and (
            self.parts[: len(other.parts)] == other.parts
        )

    def real(self) -> "DatasetLocation":
        """Return the location of a file with all links resolved; other locations are unchanged."""
        if self.kind is not Kind.FILE:
            return self
        return replace(self, parts=path_parts(os.path.realpath(f"/{'/'.join(self.parts)}")))

    def sibling(self, path: str) -> "DatasetLocation":
        """Return the location of a path in this one's folder; raise ValueError if it is elsewhere."""
        parts = _parts(path, kind=self.kind)
        if self.kind is Kind.WEB:
            # A path is not a URL, so all its characters are parts of names.
            parts = tuple(quote(part, safe="") for part in parts)
        return DatasetLocation(kind=self.kind, root=self.root, parts=(*self.parts[:-1], *parts))

    def __str__(self) -> str:
        return f"{self.kind.value}://{self.root}/{'/'.join(self.parts)}"


def path_parts(path: str) -> tuple[str, ...]:
    """Return the names in a trusted path, such as a path of the server."""
    return tuple(name for name in path.split("/") if name)


def is_uri(text: str) -> bool:
    """Return whether a text is a URI rather than a path."""
    return "://" in text


def parse_location(uri: str) -> DatasetLocation:
    """Return the location of a URI; raise ValueError, which describes the URI, if it is invalid."""
    if len(uri.encode(errors="replace")) > MAX_BYTES:
        raise ValueError(f"a URI of more than {MAX_BYTES} bytes.")
    scheme, separator, rest = uri.partition("://")
    kind = next((each for each in Kind if each.value == scheme), None) if separator else None
    if kind is None:
        # The message omits the URI, which may contain a password.
        raise ValueError("a URI with an unknown scheme.")
    if kind is Kind.WEB:
        return _web_location(uri)
    root, _, path = rest.partition("/")
    if kind is Kind.FILE:
        if root:
            raise ValueError("a file of another machine. Write file:/// with three slashes.")
    elif not _BUCKET.fullmatch(root) or ".." in root:
        raise ValueError("an invalid bucket name.")
    if _ENCODED.search(path):
        raise ValueError("a name in percent-encoding. Write names of files and objects literally.")
    return DatasetLocation(kind=kind, root=root, parts=_parts(path, kind=kind, is_uri=True) if path else ())


def parse_prefix(text: str) -> DatasetLocation:
    """Return the location that an operator allows: a URI for `parse_location`, or the path of a folder.

    One of its names may be `TENANT`, which stands for the name of the caller's tenant. Raise ValueError if
    the text is invalid, or allows all files of the machine.
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
        # The message omits the query, because a signature in it is a credential.
        raise ValueError("a URL with a query, which may contain a secret. Grant the server read access.")
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
    # Bucket libraries may read the text after these characters as an object version.
    reserved = "\\?#" if is_uri or kind in (Kind.S3, Kind.GCS) else "\\"
    if not path.isprintable() or any(each in path for each in reserved):
        raise ValueError(
            f"{path[:80]!r}, which has characters that names must not contain: {' '.join(reserved)}."
        )
    return parts
