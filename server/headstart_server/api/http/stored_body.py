"""Bodies of requests on disk, because their formats can only be read as a whole."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from headstart_server.errors import DatasetTooLarge
from headstart_server.storage.disk import storage_errors

#: Bytes that are written together.
_BLOCK_BYTES = 256 << 10
#: Maximum bytes of a body in addition to the contents of its examples.
_SLACK_BYTES = 16 << 20

# The kernel delays writers while the disk is busy. Only other bodies may wait for them.
_POOL = ThreadPoolExecutor(4, "store")


@asynccontextmanager
async def stored(pieces: AsyncIterator[bytes], folder: Path, most: int) -> AsyncGenerator[IO[bytes], None]:
    """Provide a body as a file without a name, at its beginning.

    Raise DatasetTooLarge, or StorageFull or LocalStorageUnavailable if the body cannot be stored.
    """
    with storage_errors():
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below, in a thread
    try:
        await _store(pieces, file, most)
        yield file
    finally:
        # In a thread, because the space of a large file takes long to free. Shielded, so that it always runs.
        await asyncio.shield(asyncio.wrap_future(_POOL.submit(file.close)))


async def _store(pieces: AsyncIterator[bytes], file: IO[bytes], most: int) -> None:
    size, block = 0, bytearray()
    loop = asyncio.get_running_loop()
    async for piece in pieces:
        size += len(piece)
        if size > most + _SLACK_BYTES:
            raise DatasetTooLarge(
                f"The body is too large. Send examples of at most {most} bytes.",
                metadata={"subject": "bytes", "limit": str(most)},
            )
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
