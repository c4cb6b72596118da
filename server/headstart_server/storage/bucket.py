"""A bucket over fsspec: bounded waits, and errors in the words of the domain."""

import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import structlog
from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

from headstart_server.errors import HeadstartError, StorageUnavailable
from headstart_server.outage import CircuitBreaker
from headstart_server.storage.address import BucketAddress, Scheme
from headstart_server.storage.disk import is_full, storage_errors

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

#: Bytes of an object, and when it was written, in seconds since 1970.
ObjectFacts: TypeAlias = tuple[int, float]

#: An object that nobody puts.
_NOTHING = ".no-such-object"

#: Seconds to connect, and to wait for the next bytes of an answer; after all tries the bucket is away.
CONNECT_SECONDS = 3
ANSWER_SECONDS = 10
#: Seconds that a call is waited for, whatever its library still tries: while nothing is known against the
#: bucket, and when it is tried whether it is back.
CALL_SECONDS = 15.0
PROBE_SECONDS = 5.0
#: Bytes a second that a line carries at the least: what is large may take longer.
LINE_BYTES = 1 << 20
#: Seconds of a list of any number of pages. Each page is waited for as any other answer, so that a bucket
#: that hangs is noticed much earlier.
LIST_SECONDS = 600.0
#: Tries of the protocol's own layer, and of the one above, which tries again what broke off half way.
TRIES = 2
#: Bytes of an upload's part: small enough to be sent within an answer's time on a slow line.
PART_BYTES = 8 << 20


class Bucket:
    """The objects of a bucket. Safe to use from many threads.

    While it is away calls fail at once, but for one at a time that tries whether it is back.

    Args:
        files: the bucket, with nothing kept of listings.
        name: what it is called in messages.
    """

    def __init__(self, files: AbstractFileSystem, name: str) -> None:
        self._files = files
        self.name = name
        self._breaker = CircuitBreaker("storage", StorageUnavailable)

    @property
    def is_available(self) -> bool:
        """Whether the last call was answered."""
        return not self._breaker.is_open

    def check(self, path: str) -> None:
        """Check that it can be read.

        Raises:
            OSError: it does not exist, or may not be read.
            StorageUnavailable: it does not answer.
        """
        try:
            # Listing tells no difference between an empty bucket and none.
            self._call(lambda seconds: self._files.cat_file(f"{path}/{_NOTHING}", timeout=seconds))
        except FileNotFoundError:
            return
        except StorageUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError | PermissionError):
                raise OSError(f"Cannot use the bucket {self.name}: {_said(error.__cause__)}.") from error
            raise

    def read(self, path: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        nbytes = int(self._facts(path)["size"])
        if not nbytes:
            return b""
        # By its size, for that is known: the library would ask for it once more.
        part = {"start": 0, "end": nbytes}
        content = self._call(
            lambda seconds: self._files.cat_file(path, **part, timeout=seconds), nbytes=nbytes
        )
        return bytes(content)

    def write(self, path: str, content: bytes) -> None:
        """Put an object, whole or not at all."""
        self._call(
            lambda seconds: self._files.pipe_file(path, content, timeout=seconds),
            nbytes=len(content),
            writes=True,
        )

    def upload(self, file: Path, path: str) -> None:
        """Put a file, whole or not at all."""
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
        """Get an object into a file, and onto the disk.

        Raises:
            FileNotFoundError: there is none.
            StorageFull: the disk is full.
        """

        def get(seconds: float) -> None:
            # Only of a full disk: any other error may be the bucket's.
            try:
                self._files.get_file(path, str(file), timeout=seconds)
            except OSError as error:
                if not is_full(error):
                    raise
                with storage_errors():
                    raise

        self._call(get, nbytes=int(self._facts(path)["size"]))

    def fingerprint(self, path: str) -> str:
        """What changes with the content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        facts = self._facts(path)
        told = [str(facts.get(name, "")) for name in ("ETag", "etag", "generation", "size", "LastModified")]
        return sha256("|".join(told).encode()).hexdigest()[:32]

    def list(self, path: str) -> Mapping[str, ObjectFacts]:
        """Return the objects beneath a path, however deep; for the few files of a name."""
        found = self._call(lambda seconds: self._files.find(path, detail=True, timeout=seconds))
        return {name: _object(facts) for name, facts in found.items()}

    def list_top(self, path: str) -> Mapping[str, ObjectFacts | None]:
        """Return the names right beneath a path, with the facts of those that are objects.

        What lies deeper is not listed: a bucket of versions has several objects for each name, and the
        library takes a time for them that grows with the square of the number of names.
        """
        # A list has many answers. A bucket that hangs fails this short call first.
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
        """The time in seconds since 1970, by the clock of the bucket: that of an object put for it.

        Where it tells no times it is before all.
        """
        self.write(path, b"now")
        now = _written(self._facts(path))
        return now if math.isfinite(now) else -now

    def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        if paths:
            try:
                self._call(lambda seconds: self._files.rm(list(paths), timeout=seconds))
            except FileNotFoundError:
                # Another replica was at it, too. What is left is found by the next cleaning.
                return

    def _facts(self, path: str) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = self._call(lambda seconds: self._files.info(path, timeout=seconds))
        return facts

    def _call(self, call: Callable[[float], Answer], *, nbytes: int = 0, writes: bool = False) -> Answer:
        """Call with the seconds that it may take to move so many bytes."""
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
                    raise StorageUnavailable(f"there is no bucket {self.name}") from error
                missing = error
            except Exception as error:
                # Each library has errors of its own, and none of them is the fault of a job.
                # What it says, of endpoints and accounts, is for the log and not for callers.
                raise StorageUnavailable(f"{self.name}: {error!r}") from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from missing


def open_bucket(address: BucketAddress) -> Bucket:
    """The bucket at an address; its endpoint and credentials come from its library's usual environment.

    Raises:
        ModuleNotFoundError: the library for it is not installed.
    """
    return Bucket(open_filesystem(address), f"{address.protocol}://{address.bucket}")


def open_filesystem(address: BucketAddress) -> AbstractFileSystem:
    """The library's view of all buckets of a kind, with bounded waits.

    Raises:
        ModuleNotFoundError: the library for it is not installed.
    """
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
    # Other replicas write too: what was listed a moment ago says nothing.
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme is Scheme.S3:
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": ANSWER_SECONDS,
            "retries": {"total_max_attempts": TRIES, "mode": "standard"},
        }
        # Objects are read whole: nothing is to be read ahead.
        options["default_cache_type"] = "none"
    else:
        options["requests_timeout"] = ANSWER_SECONDS
    return options


def _is_of_the_bucket(error: FileNotFoundError) -> bool:
    response = getattr(error.__cause__, "response", None)
    return isinstance(response, Mapping) and response.get("Error", {}).get("Code") == "NoSuchBucket"


def _object(facts: Mapping[str, Any]) -> ObjectFacts:
    return int(facts["size"]), _written(facts)


def _written(facts: Mapping[str, Any]) -> float:
    found = facts.get("LastModified") or facts.get("mtime") or facts.get("updated") or facts.get("created")
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    # Of what tells no time, nobody knows that it is old.
    return found.timestamp() if isinstance(found, datetime) else float("inf")


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")[:200]
