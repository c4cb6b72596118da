"""Bodies of requests on disk, because their formats can only be read as a whole."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from headstart_server.api.grpc.caller import tenant
from headstart_server.api.grpc.executors import CallPool
from headstart_server.errors import DatasetTooLarge, TenantQuotaExceeded
from headstart_server.jobs.quotas import PendingUploads, UploadQuota
from headstart_server.storage.disk import storage_errors

#: Bytes that are written together.
_BLOCK_BYTES = 256 << 10
#: Maximum bytes of a body in addition to the contents of its examples.
_SLACK_BYTES = 16 << 20

# The kernel delays writers while the disk is busy. Only other bodies may wait for them.
_POOL = CallPool(4, "store")


class BodyStorage:
    """Stores bodies on disk until their examples are read. Used by one event loop.

    Args:
        folder: the folder of their files, which have no names.
        limit_of: returns the maximum bytes of a tenant's bodies together; 0 for no limit.
    """

    def __init__(self, folder: Path, limit_of: Callable[[str], int] = lambda _: 0) -> None:
        self._folder = folder
        self._limit_of = limit_of
        self._pending = PendingUploads()

    @asynccontextmanager
    async def stored(self, pieces: AsyncIterator[bytes], most: int) -> AsyncGenerator[IO[bytes], None]:
        """Provide a body of the current caller as a file, at its beginning.

        Args:
            most: maximum bytes of the examples.

        Raises:
            DatasetTooLarge: the body has more bytes.
            TenantQuotaExceeded: the bodies of the caller's tenant have more bytes than it may store.
            StorageFull or LocalStorageUnavailable: the body cannot be stored.
        """
        limit = self._limit_of(tenant())
        quota = UploadQuota(self._pending, tenant(), limit or None, lambda _: _too_many_bytes(limit))
        with storage_errors():
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed below, in a thread
        try:
            await _store(_checked(pieces, most, quota), file)
            yield file
        finally:
            quota.release()
            # In a thread, because the space of a large file takes long to free. Shielded, so that it always
            # runs.
            await asyncio.shield(asyncio.wrap_future(_POOL.submit(_close, file)))


async def _checked(pieces: AsyncIterator[bytes], most: int, quota: UploadQuota) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > most + _SLACK_BYTES:
            raise DatasetTooLarge(
                f"The body is too large. Send examples of at most {most} bytes.",
                metadata={"subject": "bytes", "limit": str(most)},
            )
        quota.reserve(size)
        yield piece


async def _store(pieces: AsyncIterator[bytes], file: IO[bytes]) -> None:
    block = bytearray()
    loop = asyncio.get_running_loop()
    async for piece in pieces:
        block += piece
        if len(block) >= _BLOCK_BYTES:
            await loop.run_in_executor(_POOL, _write, file, block)
            block = bytearray()
    await loop.run_in_executor(_POOL, _write, file, block)
    file.seek(0)


def _write(file: IO[bytes], block: bytearray) -> None:
    with storage_errors():
        file.write(block)
        # Otherwise the reader would write the rest.
        file.flush()


def _close(file: IO[bytes]) -> None:
    # After a failed write, this writes the rest again, which must not replace the reported error.
    with suppress(OSError):
        file.close()


def _too_many_bytes(limit: int) -> TenantQuotaExceeded:
    return TenantQuotaExceeded(
        f"The tenant may store at most {limit} bytes, and the bodies of its requests have more. Send fewer "
        "examples at a time, or wait until its other requests end.",
        metadata={"subject": "stored bytes of the tenant", "limit": str(limit)},
    )
