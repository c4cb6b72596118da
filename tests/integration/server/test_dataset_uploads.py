"""Uploads of datasets that are cut off by the network, or by the end of the server or the client."""

import random
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from headstart import AsyncClient, Client, DatasetState, FailedPrecondition
from headstart.calls.dataset_calls import MAX_BATCH_BYTES
from server_process import HOST, ServerProcess, free_port, serve_command

MIB = 1 << 20
COUNT = 40


def contents(count: int = COUNT, nbytes: int = MIB) -> list[tuple[bytes, str]]:
    """Labeled contents; nothing decodes them before a job does."""
    noise = random.Random(7)
    return [(noise.randbytes(nbytes), "ab"[place % 2]) for place in range(count)]


@pytest.fixture
def name() -> str:
    return f"set-{uuid.uuid4().hex[:8]}"


class CuttingProxy:
    """Passes connections on to a server, and cuts all of them when so many bytes went to the server."""

    def __init__(self, port: int, cut_at: int) -> None:
        self._target = (HOST, port)
        self._cut_at = cut_at
        self.nbytes = 0
        self.cuts = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                self._start(self._pass, near, far, True)
                self._start(self._pass, far, near, False)

    def _pass(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                if counts and self._is_cut(len(part)):
                    self.cut()
                    return
                target.sendall(part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, nbytes: int) -> bool:
        with self._lock:
            before = self.nbytes
            self.nbytes += nbytes
            return before < self._cut_at <= self.nbytes

    def cut(self) -> None:
        self.cuts += 1
        self._shut_down(self._sockets)

    def _shut_down(self, sockets: list[socket.socket]) -> None:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._shut_down([self._listener])
        self._shut_down(self._sockets)
        for thread in self._threads:
            thread.join(60)
        for each in (self._listener, *self._sockets):
            each.close()


def test_a_connection_that_is_lost_at_the_end_costs_one_batch(server: ServerProcess, name: str) -> None:
    with closing(CuttingProxy(server.port, cut_at=int(COUNT * MIB * 0.99))) as proxy:
        seen: list[int] = []
        with Client(f"{HOST}:{proxy.port}") as client:
            dataset = client.dataset(name).upload(contents(), on_upload=lambda sent, _: seen.append(sent))
        assert proxy.cuts == 1
        assert proxy.nbytes < COUNT * MIB + MAX_BATCH_BYTES + 2 * MIB
    assert (dataset.state, dataset.example_count) == (DatasetState.READY, COUNT)
    assert (seen[0], seen[-1]) == (0, COUNT)
    assert seen == sorted(seen)


async def test_so_it_is_asynchronously(server: ServerProcess, name: str) -> None:
    with closing(CuttingProxy(server.port, cut_at=9 * MIB)) as proxy:
        async with AsyncClient(f"{HOST}:{proxy.port}") as client:
            dataset = await client.dataset(name).upload(contents(20))
            assert [each.dataset async for each in client.datasets() if each.dataset == name] == [name]
            await client.dataset(name).delete(etag=dataset.etag)
        assert proxy.cuts == 1
        assert proxy.nbytes < 20 * MIB + MAX_BATCH_BYTES + 2 * MIB
    assert dataset.example_count == 20


_UPLOAD = """
import os, signal, sys
from headstart import Client

def stop(sent, total):
    if sent >= 16:
        os.kill(os.getpid(), signal.SIGKILL)

with Client(sys.argv[1]) as client:
    client.dataset(sys.argv[2]).upload(sys.argv[3], on_upload=stop)
"""


def test_a_new_process_continues_the_upload_of_a_killed_one(
    server: ServerProcess, name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "pets"
    for place, (content, label) in enumerate(contents(24)):
        path = folder / label / f"{place:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    command = [sys.executable, "-c", _UPLOAD, server.target, name, str(folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    with Client(server.target) as client:
        before = client.dataset(name).get()
        assert before.state is DatasetState.OPEN
        assert before.next_batch > 0
        assert 0 < before.example_count < 24
        with pytest.raises(FailedPrecondition):
            client.fine_tune(model="pets", dataset=name)
        calls: list[int] = []
        dataset = client.dataset(name).upload(folder, on_upload=lambda sent, _: calls.append(sent))
        assert calls[0] == before.example_count
        assert dataset.example_count == 24
        assert client.dataset(name).upload(folder) == dataset

        (folder / "a" / "00.jpg").write_bytes(b"another")
        with pytest.raises(ValueError, match="other examples"):
            client.dataset(name).upload(folder)
        (folder / "a" / "00.jpg").write_bytes(contents(1)[0][0])
        (folder / "b" / "99.jpg").write_bytes(b"more")
        with pytest.raises(ValueError, match="finished without"):
            client.dataset(name).upload(folder)


@pytest.fixture
def port() -> int:
    return free_port()


def started(data: Path, port: int, failpoints: str = "") -> ServerProcess:
    # A backbone that loads nothing: no content is decoded here.
    arguments = serve_command(data, "--default-backbone", "features:2", port=port)
    flags = arguments[arguments.index("serve") :]
    server = ServerProcess(data, *flags, settings={"HEADSTART_FAILPOINTS": failpoints})
    server.event("listening")
    return server


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", ["datasets.create", "datasets.append", "datasets.finish"])
def test_a_server_that_is_killed_at_a_write_loses_and_doubles_nothing(
    tmp_path: Path, port: int, write: str, moment: str
) -> None:
    examples = contents(30, nbytes=1 << 10)
    first = started(tmp_path / "data", port, f"{write}:{moment}")
    found: list[object] = []

    def upload() -> None:
        with Client(f"{HOST}:{port}") as client:
            try:
                found.append(client.dataset("pets").upload(examples))
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                found.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        assert first.wait(120) == -signal.SIGKILL
        second = started(tmp_path / "data", port)
        try:
            thread.join(120)
            with Client(f"{HOST}:{port}") as client:
                if write == "datasets.create" and moment == "before":
                    found[:] = [client.dataset("pets").upload(examples)]
                dataset = client.dataset("pets").get()
                assert found == [dataset]
                assert (dataset.example_count, dataset.next_batch) == (30, 1)
                assert client.usage().dataset_bytes == dataset.byte_count
            archives = list((tmp_path / "data" / "datasets").iterdir())
            assert sum(path.stat().st_size for path in archives) == dataset.byte_count
        finally:
            second.kill()
    finally:
        first.kill()
        thread.join(60)
