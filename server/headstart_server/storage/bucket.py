"""A bucket over fsspec, with bounded waits and domain errors."""

import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import structlog
from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

from headstart_server.errors import HeadstartError, StorageUnavailable
from headstart_server.storage.address import BucketAddress, Scheme
from headstart_server.storage.circuit_breaker import CircuitBreaker
from headstart_server.storage.disk import is_full, storage_errors

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

#: Size of an object in bytes, and its write time in seconds since 1970.
ObjectFacts: TypeAlias = tuple[int, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectVersion:
    """The content of an object: its size, and a value that changes with the content."""

    fingerprint: str
    nbytes: int


#: An object that never exists.
_NOTHING = ".no-such-object"

#: Seconds to connect, and to wait for the next bytes; after all tries the bucket is unavailable.
CONNECT_SECONDS = 3
ANSWER_SECONDS = 10
#: Time limit of a call in seconds, regardless of its library's retries: while the bucket is
#: available, and for the probe of an unavailable bucket.
CALL_SECONDS = 15.0
PROBE_SECONDS = 5.0
#: Minimum bytes per second of a connection: large objects may take longer.
LINE_BYTES = 1 << 20
#: Time limit of a listing with any number of pages. Each page has the limit of other calls, so that a
#: hanging bucket is detected much earlier.
LIST_SECONDS = 600.0
#: Tries of the protocol layer, and of the layer above, which repeats interrupted transfers.
TRIES = 2
#: Status codes that waiting does not change, and errors of the libraries that find no credentials.
_REFUSALS = (400, 401, 403)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
#: Bytes of an upload's part: small enough for the time limit on a slow connection.
PART_BYTES = 8 << 20
#: Objects that are removed concurrently, within the connections of the library's pool.
REMOVALS = 8


class Bucket:
    """The objects of a bucket. Thread-safe.

    While the bucket is unavailable, calls fail immediately, except one at a time that probes it.
    """

    def __init__(self, files: AbstractFileSystem, name: str) -> None:
        self._files = files
        self.name = name
        self._breaker = CircuitBreaker("storage", StorageUnavailable)

    @property
    def is_available(self) -> bool:
        """Whether the last call got a response."""
        return not self._breaker.is_open

    def check(self, path: str) -> None:
        """Raise StorageUnavailable if the bucket cannot be read."""
        # A listing of an empty bucket looks like that of a missing one.
        with suppress(FileNotFoundError):
            self._call(lambda seconds: self._files.cat_file(f"{path}/{_NOTHING}", timeout=seconds))

    def read(self, path: str) -> bytes:
        """Return the content of an object; raise `FileNotFoundError` if it is missing."""
        nbytes = int(self._facts(path)["size"])
        if not nbytes:
            return b""
        # By its size, which is known: the library would request it again.
        part = {"start": 0, "end": nbytes}
        content = self._call(
            lambda seconds: self._files.cat_file(path, **part, timeout=seconds), nbytes=nbytes
        )
        return bytes(content)

    def write(self, path: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        self._call(
            lambda seconds: self._files.pipe_file(path, content, timeout=seconds),
            nbytes=len(content),
            writes=True,
        )

    def upload(self, file: Path, path: str) -> None:
        """Upload a file, whole or not at all."""
        sent = file.stat().st_size
        self._call(
            lambda seconds: self._files.put_file(str(file), path, chunksize=PART_BYTES, timeout=seconds),
            nbytes=sent,
            writes=True,
        )
        found = int(self._facts(path)["size"])
        if found != sent:
            raise StorageUnavailable(f"{self.name} has {found} of {sent} bytes of {path}")

    def download(self, path: str, file: Path) -> None:
        """Download an object into a file; raise FileNotFoundError, or StorageFull if the disk is full."""

        def get(seconds: float) -> None:
            # Only a full disk is local: any other error may be the bucket's.
            try:
                self._files.get_file(path, str(file), timeout=seconds)
            except OSError as error:
                if not is_full(error):
                    raise
                with storage_errors():
                    raise

        self._call(get, nbytes=int(self._facts(path)["size"]))

    def version(self, path: str) -> ObjectVersion:
        """Return the version of an object; raise `FileNotFoundError` if it is missing."""
        facts = self._facts(path)
        parts = [str(facts.get(name, "")) for name in ("ETag", "etag", "generation", "size", "LastModified")]
        fingerprint = sha256("|".join(parts).encode()).hexdigest()[:32]
        return ObjectVersion(fingerprint=fingerprint, nbytes=int(facts["size"]))

    def list(self, path: str) -> Mapping[str, ObjectFacts]:
        """Return the objects below a path at any depth; only for names with few files."""
        found = self._call(lambda seconds: self._files.find(path, detail=True, timeout=seconds))
        return {name: _object(facts) for name, facts in found.items()}

    def list_top(self, path: str) -> Mapping[str, ObjectFacts | None]:
        """Return the names directly below a path, with the metadata of those that are objects.

        Deeper levels are not listed: a bucket of versions has several objects for each name, and the library
        needs time quadratic in the number of names for them.
        """
        # A listing has many responses. A hanging bucket fails this short call first.
        with suppress(FileNotFoundError):
            self._facts(f"{path}/{_NOTHING}")
        try:
            found = self._call(lambda _: self._files.ls(path, detail=True, timeout=LIST_SECONDS))
        except FileNotFoundError:
            return {}
        return {
            facts["name"].rstrip("/"): None if facts["type"] == "directory" else _object(facts)
            for facts in found
        }

    def now(self, path: str) -> float:
        """Return the bucket's time in seconds since 1970, by the time of an object written for it.

        Negative infinity if the bucket reports no times.
        """
        self.write(path, b"now")
        now = _written(self._facts(path))
        return now if math.isfinite(now) else -now

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; missing ones are ignored.

        Raise StorageUnavailable if one of them may be left.
        """
        # Each by its own call: S3 answers a call for several with success even if it removes none of them,
        # and the library ignores the errors in that answer.
        with ThreadPoolExecutor(REMOVALS, thread_name_prefix="removal") as pool:
            for _ in pool.map(self._remove, paths):
                pass

    def _remove(self, path: str) -> None:
        # Another replica may have removed it.
        with suppress(FileNotFoundError):
            self._call(lambda seconds: self._files.rm_file(path, timeout=seconds))

    def _facts(self, path: str) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self._call(lambda seconds: self._files.info(path, timeout=seconds))
        return facts

    def _call(self, call: Callable[[float], Answer], *, nbytes: int = 0, writes: bool = False) -> Answer:
        missing: FileNotFoundError | None = None
        seconds = PROBE_SECONDS if self._breaker.is_open else CALL_SECONDS
        seconds += nbytes / LINE_BYTES
        with self._breaker.guard():
            try:
                return call(seconds)
            except HeadstartError:
                raise
            except FSTimeoutError as error:
                raise StorageUnavailable(f"{self.name} does not answer in time") from error
            except FileNotFoundError as error:
                if writes or _is_of_the_bucket(error):
                    raise StorageUnavailable(f"there is no bucket {self.name}", is_refused=True) from error
                missing = error
            except Exception as error:
                # The libraries have different errors, and no job causes any of them.
                # The message may contain endpoints and accounts, so it is only logged.
                raise StorageUnavailable(f"{self.name}: {error!r}", is_refused=_is_refusal(error)) from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from missing


def open_bucket(address: BucketAddress) -> Bucket:
    """Open the bucket at an address with its library; raise ModuleNotFoundError if that is not installed."""
    return Bucket(open_filesystem(address), f"{address.protocol}://{address.bucket}")


def open_filesystem(address: BucketAddress) -> AbstractFileSystem:
    """Return the library's file system of a kind of buckets, or raise ModuleNotFoundError."""
    import fsspec  # noqa: PLC0415 - a server on a directory needs none of it

    extra = address.scheme.value
    try:
        files = fsspec.filesystem(address.protocol, **_options(address.scheme))
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{address.protocol}:// needs a library that is not installed: pip install 'headstart[{extra}]'."
        ) from error
    if address.scheme is Scheme.S3:
        files.retries = TRIES
    return files


def _options(scheme: Scheme) -> dict[str, Any]:
    # Other replicas write too: a cached listing is stale.
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme is Scheme.S3:
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "retries": {"total_max_attempts": TRIES, "mode": "standard"},
        }
        # Objects are read whole, without read-ahead.
        options["default_cache_type"] = "none"
    else:
        options["requests_timeout"] = ANSWER_SECONDS
    return options


def _is_of_the_bucket(error: FileNotFoundError) -> bool:
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, Mapping) and response.get("Error", {}).get("Code") == "NoSuchBucket"


def _is_refusal(error: Exception) -> bool:
    """Return whether the bucket or its library rejected the credentials, their permissions or a name."""
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
        return True
    if isinstance(error, TimeoutError):
        # S3 reports a slow request with the status 400.
        return False
    response = getattr(error.__cause__, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, Mapping) else {}
    # gcsfs raises an OSError without a code for 403.
    status = metadata.get("HTTPStatusCode") or getattr(error, "code", None)
    return status in _REFUSALS or str(error).startswith("Forbidden: ")


def _object(facts: Mapping[str, Any]) -> ObjectFacts:
    return int(facts["size"]), _written(facts)


def _written(facts: Mapping[str, Any]) -> float:
    found = facts.get("LastModified") or facts.get("mtime") or facts.get("updated") or facts.get("created")
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    # An object without a time is not known to be old.
    return found.timestamp() if isinstance(found, datetime) else float("inf")
