"""Lines for files that are full, and for pipes without a reader or with one that does not read."""

import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from headstart_server.observability.line_writer import LineWriter, LogStream
from headstart_server.observability.telemetry import configure_logs

#: Bytes of a pipe, the smallest that Linux allows.
CAPACITY = select.PIPE_BUF


class Pipe:
    """A small pipe."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, CAPACITY)
        os.set_blocking(self.reader, False)

    def read(self) -> bytes:
        return os.read(self.reader, 1 << 20)

    def close_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1

    def close(self) -> None:
        for each in (self.reader, self.writer):
            if each >= 0:
                os.close(each)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as pipe:
        yield pipe


def test_a_line_for_a_reader_that_does_not_read_is_an_error_and_the_next_one_is_whole(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writer, wait_seconds=0.0)
    line = b"x" * CAPACITY + b"\n"
    assert writer.write(line) == CAPACITY
    with pytest.raises(BlockingIOError):
        writer.write(b"lost\n")
    assert pipe.read() == b"x" * CAPACITY
    assert writer.write(b"next\n") == 5
    assert pipe.read() == b"\nnext\n"
    assert writer.write(b"last\n") == 5
    assert pipe.read() == b"last\n"


def test_a_long_line_passes_through_a_pipe_that_is_read(pipe: Pipe, tmp_path: Path) -> None:
    # A file has no capacity, so its line takes one write.
    with (tmp_path / "file").open("wb") as file:
        assert LineWriter(file.fileno()).write(b"y" * (3 * CAPACITY)) == 3 * CAPACITY
    assert (tmp_path / "file").stat().st_size == 3 * CAPACITY


@pytest.mark.parametrize("is_disk", [True, False])
def test_a_log_that_cannot_be_written_counts_its_lines(pipe: Pipe, is_disk: bool) -> None:
    with open("/dev/full" if is_disk else os.dup(pipe.writer), "w") as file:
        pipe.close_reader()
        stream = LogStream(file)
        for _ in range(2):
            stream.write("lost\n")
    assert stream.dropped == 2


def test_the_next_line_has_the_number_of_dropped_ones(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.dup(pipe.writer), "w") as file:
        monkeypatch.setattr("sys.stderr", file)
        try:
            configure_logs(level="info", json=True)
            log = structlog.get_logger()
            os.write(pipe.writer, b"x" * CAPACITY)
            for _ in range(3):
                log.info("lost")
            pipe.read()
            log.info("written")
            first = json.loads(pipe.read())
            log.info("written_again")
            second = json.loads(pipe.read())
        finally:
            structlog.reset_defaults()
    assert (first["event"], first["dropped_lines"]) == ("written", 3)
    assert (second["event"], "dropped_lines" in second) == ("written_again", False)


def fill(descriptor: int) -> None:
    """Fill a pipe or a socket, as another process does."""
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"x")
    except BlockingIOError:
        pass
    finally:
        os.set_blocking(descriptor, True)


@pytest.mark.parametrize("is_pipe", [True, False])
def test_a_pipe_that_another_process_fills_after_it_was_ready_does_not_block(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, is_pipe: bool
) -> None:
    class Poll:
        def __init__(self) -> None:
            self._poll = whole()
            self.register = self._poll.register

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            ready = self._poll.poll(milliseconds)
            if ready:
                fill(descriptor)
            return ready

    def write() -> None:
        try:
            writer.write(b"lost\n")
        except OSError as error:
            errors.append(error)

    whole = select.poll
    errors: list[OSError] = []
    near, far = socket.socketpair()
    with near, far:
        descriptor = pipe.writer if is_pipe else near.fileno()
        monkeypatch.setattr(select, "poll", Poll)
        writer = LineWriter(descriptor, wait_seconds=0.05)
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(10)
        is_blocked = thread.is_alive()
        pipe.close_reader()
        far.close()
        thread.join()
    assert not is_blocked
    assert isinstance(errors[0], BlockingIOError)
