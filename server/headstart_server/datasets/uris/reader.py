"""Reads the examples in a manifest at a URI concurrently, within limits of bytes and time."""

import os
import stat
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets.uris.location import (
    DatasetLocation,
    Kind,
    SourceUnavailableError,
    TooLargeError,
    UnreadableError,
    is_uri,
)
from headstart_server.datasets.uris.policy import FIELD, DatasetUriPolicy
from headstart_server.errors import (
    DatasetTooLarge,
    DataUnavailable,
    DataUnreadable,
    DeadlineExceeded,
    InputTooLarge,
    InvalidField,
)
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from headstart_server.outbound.target import TargetRefusedError
from headstart_server.storage.address import Scheme
from headstart_server.storage.disk import storage_fault
from headstart_server.storage.objects import (
    BucketUnavailableError,
    ObjectReader,
    ObjectTooLargeError,
    ObjectUnreadableError,
    open_objects,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One example of a manifest."""

    line: int  # number of its last line, from 1
    path: str  # path of its content relative to the manifest, or a URI; empty without one
    text: str  # text content; empty without one
    features: NDArray[np.float64] | None  # feature content; None without one
    target: Target
    id: str  # its ID; may be empty
    held_out: bool  # whether it is held out of training
    weight: float  # its weight


#: Reads a manifest, given its name, content and task; raises ValueError, naming the line, if it is invalid.
ReadManifest: TypeAlias = Callable[[str, bytes, Task | None], Iterator[ManifestRow]]


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK, because opening a pipe would block.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_beneath(folder: str, parts: Sequence[str], max_bytes: int) -> bytes:
    """Return the content of a file below a folder.

    Each folder in the path is opened relative to its parent without following links, so that concurrent
    changes of the path cannot redirect the read.

    Args:
        folder: the allowed folder, which may itself be a link.
        parts: the names in the path from the folder to the file.

    Raises:
        UnreadableError: the file is missing, not readable, too large, not a file, or behind a link.
        LocalStorageUnavailable: the disk, or this process, cannot read it now.
    """
    try:
        opened = os.open(folder, _FOLDER)
        try:
            for part in parts[:-1]:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=opened)
                os.close(opened)
                opened = inner
            file = os.open(parts[-1], _FILE, dir_fd=opened)
        finally:
            os.close(opened)
        try:
            return _read(file, max_bytes)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise UnreadableError("it is not there") from None
    except PermissionError:
        raise UnreadableError("this server may not read it") from None
    except OSError as error:
        fault = storage_fault(error)
        if fault is not None:
            raise fault from error
        # ELOOP or ENOTDIR: the path contains a link, or a file instead of a folder.
        reason = "its path contains a link, or a file as a folder" if error.errno else "it cannot be read"
        raise UnreadableError(reason) from None


def _read(file: int, max_bytes: int) -> bytes:
    facts = os.fstat(file)
    if not stat.S_ISREG(facts.st_mode):
        raise UnreadableError("it is not a file")
    if facts.st_size > max_bytes:
        raise TooLargeError(f"it has {facts.st_size} bytes, more than {max_bytes}")
    pieces, left = [], max_bytes + 1
    while left and (piece := os.read(file, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise TooLargeError(f"it has more than {max_bytes} bytes")
    return b"".join(pieces)


#: Maximum bytes of a manifest.
MAX_MANIFEST_BYTES = 32 << 20
#: Maximum seconds to read a whole dataset.
READ_SECONDS = 600.0
#: Maximum concurrent reads of all calls, and of one call.
THREADS = 16
WINDOW = 8

_SCHEMES = {Kind.S3: Scheme.S3, Kind.GCS: Scheme.GCS}


@dataclass(frozen=True, slots=True)
class _Reading:
    """An example whose content is being read."""

    listed: ManifestRow
    content: "Future[Content]"


class DatasetReader:
    """Reads datasets by their URI."""

    def __init__(
        self,
        policy: DatasetUriPolicy,
        read_manifest: ReadManifest,
        *,
        max_input_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._read_manifest = read_manifest
        self._max_input_bytes = max_input_bytes
        self._clock = clock
        # Opened now, so that a missing package is reported at the start rather than to a caller.
        self._objects: dict[Kind, ObjectReader] = {
            kind: open_objects(_SCHEMES[kind]) for kind in policy.kinds if kind in _SCHEMES
        }

    def check(self, uri: str, tenant: str = "") -> None:
        """Check that a tenant may read a manifest at a URI, without reading it."""
        self._policy.place(uri, tenant)

    def content(self, uri: str, tenant: str = "") -> bytes:
        """Return the content at a URI on behalf of a tenant, which may be empty."""
        place = self._policy.place(uri, tenant)
        try:
            return self._content(place, tenant, self._max_input_bytes)
        except TooLargeError as error:
            raise InputTooLarge(f"{place} is too large: {error}.", field=FIELD) from None
        except UnreadableError as error:
            raise DataUnreadable(f"{place} cannot be read: {error}.", field=FIELD) from None

    def examples(
        self, uri: str, checkpoint: Callable[[], None], tenant: str = "", task: Task | None = None
    ) -> Generator[Example, None, None]:
        """Yield the examples of a manifest, in its order.

        Args:
            checkpoint: called before each example; may raise to stop.
            tenant: the caller's tenant; empty without one.
            task: the kind of task; None if the caller does not specify it.
        """
        until = self._clock() + READ_SECONDS
        place = self._policy.place(uri, tenant)
        under_way: deque[_Reading] = deque()
        listed = self._listed(place, tenant, task)
        try:
            while True:
                while len(under_way) < WINDOW and (entry := next(listed, None)) is not None:
                    under_way.append(_Reading(entry, self._begin(place, entry, tenant)))
                if not under_way:
                    return
                checkpoint()
                if self._clock() > until:
                    raise DeadlineExceeded(
                        f"The dataset was not read within {READ_SECONDS:.0f} seconds: line "
                        f"{under_way[0].listed.line} was not reached. Use fewer examples or a faster source."
                    )
                reading = under_way.popleft()
                yield _example(reading.listed, reading.content.result())
        finally:
            for reading in under_way:
                reading.content.cancel()

    def _listed(self, place: DatasetLocation, tenant: str, task: Task | None) -> Iterator[ManifestRow]:
        try:
            content = self._content(place, tenant, MAX_MANIFEST_BYTES)
        except TooLargeError as error:
            raise DatasetTooLarge(
                f"The list {place} is too large: {error}.",
                metadata={"limit": str(MAX_MANIFEST_BYTES), "subject": "list_bytes"},
            ) from None
        except UnreadableError as error:
            raise DataUnreadable(f"The list {place} cannot be read: {error}.", field=FIELD) from None
        try:
            yield from self._read_manifest(place.name, content, task)
        except ValueError as error:
            raise InvalidField(f"Expected a list of examples. Received: {error}", field=FIELD) from None

    def _begin(self, listing: DatasetLocation, entry: ManifestRow, tenant: str) -> "Future[Content]":
        if not entry.path:
            known: Future[Content] = Future()
            known.set_result(entry.text if entry.features is None else entry.features)
            return known
        try:
            place = self._named(listing, entry.path, tenant)
        except (InvalidField, ValueError) as error:
            reason = (
                error.message if isinstance(error, InvalidField) else f"Expected a path. Received: {error}"
            )
            raise InvalidField(f"{listing.name}, line {entry.line}: {reason}", field=FIELD) from None
        return self._pool.submit(self._input, f"{listing.name}, line {entry.line}: {place}", place, tenant)

    def _named(self, manifest: DatasetLocation, path: str, tenant: str) -> DatasetLocation:
        if is_uri(path):
            return self._policy.place(path, tenant)
        place = manifest.sibling(path)
        self._policy.prefix(place, tenant)
        return place

    def _input(self, what: str, place: DatasetLocation, tenant: str) -> Content:
        try:
            content = self._content(place, tenant, self._max_input_bytes)
            return content.decode() if place.name.endswith(".txt") else content
        except TooLargeError as error:
            raise InputTooLarge(f"{what} is too large: {error}.", field=FIELD) from None
        except UnreadableError as error:
            raise DataUnreadable(f"{what} cannot be read: {error}.", field=FIELD) from None
        except UnicodeDecodeError:
            raise InvalidField(f"{what} is not valid UTF-8. Encode it in UTF-8.", field=FIELD) from None

    def _content(self, place: DatasetLocation, tenant: str, max_bytes: int) -> bytes:
        try:
            if place.kind is Kind.FILE:
                return self._file(place, tenant, max_bytes)
            if place.kind is Kind.WEB:
                # Resolved for each read, because the addresses of a name may have changed.
                from headstart_server.datasets.uris.web import read_web  # noqa: PLC0415 - needs an extra

                return read_web(self._policy.target(place), max_bytes)
            return self._objects[place.kind].read(f"{place.root}/{'/'.join(place.parts)}", max_bytes)
        except ObjectTooLargeError as error:
            raise TooLargeError(str(error)) from None
        except (ObjectUnreadableError, TargetRefusedError) as error:
            raise UnreadableError(str(error).rstrip(".")) from None
        except (SourceUnavailableError, BucketUnavailableError, OSError):
            raise DataUnavailable(f"{place.kind.value}://{place.root}") from None

    def _file(self, place: DatasetLocation, tenant: str, max_bytes: int) -> bytes:
        prefix = self._policy.prefix(place, tenant)
        # The prefix may be a file itself.
        known = len(prefix.parts) - (prefix == place)
        return read_beneath(f"/{'/'.join(place.parts[:known])}", place.parts[known:], max_bytes)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, "dataset-uris")


def _example(listed: ManifestRow, content: Content) -> Example:
    return Example(
        content=content,
        target=listed.target,
        id=listed.id,
        held_out=listed.held_out,
        weight=listed.weight,
    )
