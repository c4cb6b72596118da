"""Bodies on disk: written and closed outside of the event loop, also when their callers leave."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headstart_server.api.grpc.caller import acting_as
from headstart_server.api.http.body_storage import BodyStorage
from headstart_server.auth.permissions import Principal
from headstart_server.errors import DatasetTooLarge, StorageFull, TenantQuotaExceeded
from headstart_server.storage import disk
from headstart_server.storage.circuit_breaker import FullDisks


class NotedFile:
    """A file that records in which threads it is written and closed."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.threads: list[tuple[str, threading.Thread]] = []
        #: Set by a write, which then waits until it may go on.
        self.is_writing, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in ("write", "flush", "close"):
            return found

        def noted(*arguments: Any) -> Any:
            self.threads.append((name, threading.current_thread()))
            if name == "write":
                self.is_writing.set()
                assert self.may_go_on.wait(60)
            return found(*arguments)

        return noted


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[NotedFile]:
    """The files that are made."""
    made: list[NotedFile] = []
    make = tempfile.TemporaryFile

    def noted(*arguments: Any, **named: Any) -> Any:
        made.append(NotedFile(make(*arguments, **named)))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    return made


async def pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def test_a_body_is_written_and_closed_outside_of_the_event_loop(
    tmp_path: Path, files: list[NotedFile]
) -> None:
    given = [bytes([place]) * 100_000 for place in range(7)]
    async with BodyStorage(tmp_path).stored(pieces(*given), 1 << 20) as file:
        assert file.read() == b"".join(given)
    (noted,) = files
    assert noted.closed
    assert {name for name, _ in noted.threads} == {"write", "flush", "close"}
    assert threading.current_thread() not in {thread for _, thread in noted.threads}


async def test_pieces_of_a_byte_are_written_together(tmp_path: Path, files: list[NotedFile]) -> None:
    async with BodyStorage(tmp_path).stored(pieces(*[b"a"] * 5000), 1 << 20) as file:
        assert file.read() == b"a" * 5000
    assert [name for name, _ in files[0].threads].count("write") == 1


async def test_a_body_that_is_too_large_is_closed(tmp_path: Path, files: list[NotedFile]) -> None:
    with pytest.raises(DatasetTooLarge):
        async with BodyStorage(tmp_path).stored(pieces(*[bytes(1 << 20)] * 18), 1000):
            pass
    assert files[0].closed


@pytest.mark.parametrize("sizes", [[100], [8000], [1 << 20], [1 << 20, 100]])
async def test_a_full_disk_is_reported_as_such_and_the_file_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    made: list[Any] = []

    def full(**_: Any) -> Any:
        made.append(open("/dev/full", "w+b"))  # noqa: SIM115
        return made[-1]

    monkeypatch.setattr(disk, "FULL_DISKS", FullDisks())
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StorageFull):
        async with BodyStorage(tmp_path).stored(pieces(*map(bytes, sizes)), 1 << 21):
            pass
    assert made[0].closed


async def test_the_file_of_a_caller_who_leaves_during_a_write_is_closed_after_it(
    tmp_path: Path, files: list[NotedFile]
) -> None:
    begun = asyncio.Event()

    async def given() -> AsyncIterator[bytes]:
        files[0].may_go_on.clear()
        begun.set()
        yield bytes(1 << 20)

    async def store() -> None:
        async with BodyStorage(tmp_path).stored(given(), 1 << 21):
            pass

    task = asyncio.create_task(store())
    await begun.wait()
    # The event loop is free while the write waits.
    await asyncio.to_thread(files[0].is_writing.wait, 60)
    task.cancel()
    files[0].may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files[0].closed


async def test_the_bodies_of_a_tenant_together_are_no_larger_than_its_storage(tmp_path: Path) -> None:
    storage = BodyStorage(tmp_path, {"red": 1000, "blue": 0}.__getitem__)

    async def store(tenant: str, *sizes: int) -> None:
        with acting_as(Principal(name="x", tenant=tenant)):
            async with storage.stored(pieces(*map(bytes, sizes)), 10_000):
                pass

    await store("red", 500, 500)
    with pytest.raises(TenantQuotaExceeded, match="at most 1000 bytes"):
        await store("red", 500, 501)
    with acting_as(Principal(name="x", tenant="red")):
        async with storage.stored(pieces(bytes(600)), 10_000):
            with pytest.raises(TenantQuotaExceeded):
                await store("red", 401)
            await store("red", 400)
            await store("blue", 5000)
    await store("red", 1000)
