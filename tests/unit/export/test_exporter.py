"""Exports: made once for all who ask, stopped when all have left, bounded in number, and kept for a time."""

import asyncio
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from fakes import ManualClock, Publisher
from full_disk import FullDisk
from headstart_server.backbones.worker.export_request import ExportFormat, ExportRequest
from headstart_server.errors import (
    ExportFailed,
    ExportQueueFull,
    LocalStorageUnavailable,
    StorageFull,
    VersionNotFound,
)
from headstart_server.export.cache import MAX_OPEN, RETRY_SECONDS, ExportCache, Key, OpenExport
from headstart_server.export.exporter import Exporter
from headstart_server.models import rows
from headstart_server.models.version import Selector

#: Seconds for what takes milliseconds.
SOON = 30.0
ONNX, KERAS = ExportFormat.ONNX, ExportFormat.KERAS


class Network:
    """Exports once it is let to, and counts."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = threading.Event()
        self.requests: list[ExportRequest] = []
        self.stopped = 0
        self.error: Exception | None = None

    def __call__(
        self, backbone: str, request: ExportRequest, folder: Path, checkpoint: Callable[[], None]
    ) -> None:
        self.requests.append(request)
        self.begun.set()
        try:
            while not self.may_end.wait(0.001):
                checkpoint()
        except Exception:
            self.stopped += 1
            self.ended.set()
            raise
        if self.error is not None:
            raise self.error
        (folder / "variables").mkdir()
        (folder / "variables" / "a").write_bytes(b"abc")
        (folder / "empty").write_bytes(b"")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, ManualClock())
    publisher.publish()
    yield publisher
    publisher.close()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.may_end.set()


@pytest.fixture
def cache(tmp_path: Path, clock: ManualClock) -> ExportCache:
    return ExportCache(tmp_path / "exports", max_bytes=5, max_seconds=60.0, clock=clock)


@pytest.fixture
def exporter(publisher: Publisher, network: Network, cache: ExportCache) -> Exporter:
    return Exporter(publisher.registry, network, cache, max_queued=1)


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, SOON)


async def content(exporter: Exporter, form: ExportFormat = ONNX, model: str = "pets") -> list[bytes]:
    _, found = await exporter.open(Selector(model=model), form)
    pieces = [piece for _, piece in found.chunks(2)]
    found.close()
    return pieces


async def test_an_export_is_made_once_for_all_who_ask(exporter: Exporter, network: Network) -> None:
    asking = [asyncio.create_task(content(exporter)) for _ in range(3)]
    await until(network.begun)
    network.may_end.set()
    assert await asyncio.gather(*asking) == [[b"ab", b"c"]] * 3
    assert await content(exporter) == [b"ab", b"c"]
    (request,) = network.requests
    assert request.form is ONNX
    assert request.facts["class_names"] == ["class 0", "class 1", "class 2"]


async def test_how_its_tenant_is_called_does_not_go_out_with_it(
    publisher: Publisher, exporter: Exporter, network: Network
) -> None:
    publisher.publish("red/pets")
    network.may_end.set()
    await content(exporter, model="red/pets")
    assert network.requests[0].facts["model"] == "pets"


async def test_it_lists_its_files(exporter: Exporter, network: Network) -> None:
    network.may_end.set()
    version, found = await exporter.open(Selector(model="pets"), ONNX)
    assert version.number == 1
    assert [(file.name, file.size) for file in found.files] == [("empty", 0), ("variables/a", 3)]
    assert found.files[1].sha256.startswith("ba7816bf")
    found.close()


async def test_it_goes_on_while_somebody_waits_and_stops_when_all_have_left(
    exporter: Exporter, network: Network
) -> None:
    first, second = (asyncio.create_task(content(exporter)) for _ in range(2))
    await until(network.begun)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert network.stopped == 0
    second.cancel()
    await until(network.ended)
    assert network.stopped == 1


async def test_who_asks_after_all_have_left_gets_another(exporter: Exporter, network: Network) -> None:
    first = asyncio.create_task(content(exporter))
    await until(network.begun)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(content(exporter))
    await until(network.ended)
    network.may_end.set()
    assert await second == [b"ab", b"c"]


async def test_more_than_may_wait_are_refused(
    exporter: Exporter, network: Network, publisher: Publisher
) -> None:
    publisher.publish("birds")
    publisher.publish("cars")
    running = asyncio.create_task(content(exporter))
    await until(network.begun)
    waiting = asyncio.create_task(content(exporter, KERAS))
    while len(exporter._running) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(ExportQueueFull, match="2 exports are running or queued"):
        await content(exporter, model="cars")
    network.may_end.set()
    assert await asyncio.gather(running, waiting) == [[b"ab", b"c"]] * 2
    assert await content(exporter, model="cars") == [b"ab", b"c"]


async def test_more_open_exports_than_may_hold_files_are_refused_until_one_is_closed(
    exporter: Exporter, network: Network, cache: ExportCache
) -> None:
    network.may_end.set()
    pets = Selector(model="pets")
    opened = [(await exporter.open(pets, ONNX))[1] for _ in range(MAX_OPEN)]
    for form in (ONNX, KERAS):
        with pytest.raises(ExportQueueFull, match=f"{MAX_OPEN} exports are being read") as refused:
            await exporter.open(pets, form)
        assert refused.value.retry_after == RETRY_SECONDS
    assert len(network.requests) == 1
    opened.pop().close()
    assert await content(exporter) == [b"ab", b"c"]
    for each in opened:
        each.close()


async def test_an_export_whose_caller_left_while_it_was_opened_is_closed(
    exporter: Exporter, network: Network, cache: ExportCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.may_end.set()
    await content(exporter)
    open_export, begun, go_on = cache.open, threading.Event(), threading.Event()
    found: list[OpenExport] = []

    def open_slowly(key: Key) -> OpenExport | None:
        begun.set()
        go_on.wait(SOON)
        export = open_export(key)
        assert export is not None
        found.append(export)
        return export

    monkeypatch.setattr(cache, "open", open_slowly)
    calling = asyncio.create_task(exporter.open(Selector(model="pets"), ONNX))
    await until(begun)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    go_on.set()
    async with asyncio.timeout(SOON):
        while not found or not found[0].is_closed:
            await asyncio.sleep(0.001)


async def test_a_failure_is_raised_to_all_callers_and_leaves_nothing(
    exporter: Exporter, network: Network, tmp_path: Path
) -> None:
    network.error = ExportFailed("Expected an export. Received: signal 9.")
    network.may_end.set()
    for _ in range(2):
        with pytest.raises(ExportFailed):
            await content(exporter)
    assert not list((tmp_path / "exports").iterdir())


async def test_it_is_created_again_when_too_old_and_removed_with_its_version(
    exporter: Exporter, network: Network, clock: ManualClock, publisher: Publisher, tmp_path: Path
) -> None:
    network.may_end.set()
    await content(exporter)
    clock.advance(61)
    await content(exporter)
    assert len(network.requests) == 2
    exporter.sweep()
    assert len(list((tmp_path / "exports").iterdir())) == 1
    publisher.registry.delete_model("pets", force=True)
    exporter.sweep()
    assert not list((tmp_path / "exports").iterdir())


@pytest.mark.parametrize("others", [0, 6])
async def test_a_sweep_reads_no_other_version(
    exporter: Exporter, network: Network, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    for place in range(others):
        publisher.publish(f"birds{place}")
    network.may_end.set()
    await content(exporter)
    decode = mock.Mock(wraps=rows.version_of)
    monkeypatch.setattr(rows, "version_of", decode)
    exporter.sweep()
    assert decode.call_count <= 1
    assert await content(exporter) == [b"ab", b"c"]
    assert len(network.requests) == 1


async def test_beyond_the_bound_the_one_used_longest_ago_goes_and_stays_readable(
    exporter: Exporter, network: Network, cache: ExportCache
) -> None:
    network.may_end.set()
    _, first = await exporter.open(Selector(model="pets"), ONNX)
    await content(exporter, KERAS)
    assert cache.nbytes == 3
    assert [piece for _, piece in first.chunks(9)] == [b"abc"]
    first.close()
    await content(exporter, KERAS)
    assert [request.form for request in network.requests] == [ONNX, KERAS]


async def test_a_version_that_is_not_there_is_not_found(exporter: Exporter) -> None:
    with pytest.raises(VersionNotFound):
        await exporter.open(Selector(model="pets", number=9), ONNX)


async def test_a_version_that_another_replica_has_just_published_is_exported(
    publisher: Publisher, exporter: Exporter, network: Network
) -> None:
    publisher.registry = publisher.reopened()
    publisher.publish("cars")
    network.may_end.set()
    assert await content(exporter, model="cars") == [b"ab", b"c"]


async def test_an_export_that_does_not_fit_on_the_disk_is_a_full_disk(
    exporter: Exporter, network: Network, tmp_path: Path
) -> None:
    network.may_end.set()
    with FullDisk(tmp_path / "exports") as disk:
        disk.full_while = lambda: True
        with pytest.raises(StorageFull):
            await content(exporter)
    assert not list((tmp_path / "exports").iterdir())
    assert await content(exporter) == [b"ab", b"c"]


async def test_an_error_of_the_disk_is_an_error_of_the_storage(
    exporter: Exporter, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    network.may_end.set()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", fail)
        with pytest.raises(LocalStorageUnavailable, match="EIO"):
            await content(exporter)
    _, found = await exporter.open(Selector(model="pets"), ONNX)
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", fail)
        with pytest.raises(LocalStorageUnavailable, match="EIO"):
            await content(exporter)
    assert b"".join(piece for _, piece in found.chunks(2)) == b"abc"
    found.close()
