"""Files of weights: local, or downloaded into the cache once and pinned."""

import hashlib
import importlib.util
import shutil
import urllib.request
from collections.abc import Iterable
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

from headstart_server.backbones.networks.declaration import Declaration
from headstart_server.backbones.sources.pytorch.checkpoint import file_digest
from headstart_server.backbones.sources.source import SourceError
from headstart_server.errors import BackboneNotFound
from headstart_server.storage.atomic_files import staged_file


def file_in_package(distribution: str, pattern: str) -> Path:
    """Return the single file of an installed package that matches a pattern, without running code."""
    package = distribution.replace("-", "_")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(path for folder in folders for path in Path(folder).glob(pattern))
    if len(files) != 1:
        raise BackboneNotFound(
            f"Expected one file {pattern} in package {distribution}. Received: {len(files)}. "
            f"Install it with: pip install {distribution}"
        )
    return files[0]


#: Seconds without a byte after which a download fails.
_TIMEOUT = 60.0
#: Maximum characters of a file's name, without its digest.
_NAME_LENGTH = 80


def local_file(declaration: Declaration, cache: Path) -> Path:
    """Return the file at a declaration's location, downloading it first if it is a URL.

    Args:
        declaration: its location is a path, or an HTTP or HTTPS URL, which requires a digest.
        cache: folder of downloads, named by their digest.

    Raises:
        SourceError: the file is missing, a URL has no digest, or the download has another one.
    """
    return file_at(declaration.location, declaration.digest, cache)


def file_at(location: str, digest: str | None, cache: Path) -> Path:
    """Return a local file, or download and pin it; see `local_file`."""
    if location.startswith(("https://", "http://")):
        return _downloaded(location, digest, cache)
    path = Path(location)
    if not path.is_file():
        raise SourceError(f"{location} is not a file. Name a file.")
    return path


def known_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, read once in this process unless the file changes."""
    status = path.stat()
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=1024)
def _digest(path: Path, *_: int) -> str:
    return file_digest(path)


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over paths and contents of all files in a folder; `SourceError` if empty."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        raise SourceError(f"Expected a folder with files. Received: {folder}, which has none.")
    return files_digest(folder, files)


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 over the relative paths and contents of files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder).as_posix()} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def _downloaded(url: str, digest: str | None, cache: Path) -> Path:
    if digest is None:
        raise SourceError(f"The digest of {url} is missing. Add the SHA-256 of the file to the declaration.")
    path = cache / "downloads" / f"{digest}-{_name_at(url)}"
    if path.is_file() and known_digest(path) == digest:
        return path
    # Missing, or damaged: downloads are not synced, so a power failure may truncate them.
    with staged_file(path) as staging:
        _download(url, staging)
        received = file_digest(staging)
        if received != digest:
            raise SourceError(
                f"Expected a file with digest {digest} at {url}. Received: {received}. The file was changed, "
                "or the declared digest is of another file."
            )
    return path


def _name_at(url: str) -> str:
    """Return the file name in a URL, whose suffix determines the kind of file."""
    return Path(urlsplit(url).path).name[-_NAME_LENGTH:] or "file"


def _download(url: str, path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, path.open("wb") as file:  # noqa: S310 - http
            shutil.copyfileobj(answer, file)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            # Otherwise the error would keep the connection open.
            error.close()
        raise SourceError(f"Expected a file at {url}. Received: {error}.") from error
