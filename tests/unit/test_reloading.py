"""Values of files that change, are damaged, vanish, and change while they are read."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart_server.reloading import ReloadedFiles


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "file", "1")
    return tmp_path / "file"


def write(path: Path, text: str) -> None:
    """Replace a file, as a mounted secret is: by another file."""
    (part := path.with_suffix(".part")).write_text(text)
    os.replace(part, path)


class Reader:
    """Reads a number and counts the reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> int:
        self.reads += 1
        text = self.path.read_text()
        self.meanwhile()
        return int(text)


def test_a_file_is_read_again_only_after_a_change(path: Path) -> None:
    reader = Reader(path)
    files = ReloadedFiles([path], reader)
    assert [files.reload(), files.value, reader.reads] == [False, 1, 1]
    write(path, "2")
    assert [files.reload(), files.value] == [True, 2]
    assert [files.reload(), reader.reads] == [False, 2]


def test_the_first_read_passes_its_error(path: Path) -> None:
    write(path, "x")
    with pytest.raises(ValueError, match="x"):
        ReloadedFiles([path], Reader(path))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        ReloadedFiles([path], Reader(path))


def test_a_faulty_change_keeps_the_value_and_is_read_once(path: Path) -> None:
    reader = Reader(path)
    files = ReloadedFiles([path], reader)
    write(path, "x")
    with pytest.raises(ValueError, match="x"):
        files.reload()
    assert [files.reload(), files.value, reader.reads] == [False, 1, 2]
    write(path, "3")
    assert [files.reload(), files.value] == [True, 3]


def test_an_error_of_the_system_passes_without_a_change_of_the_file(path: Path) -> None:
    reader = Reader(path)
    files = ReloadedFiles([path], reader)
    write(path, "2")

    def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    reader.meanwhile = fail
    with pytest.raises(OSError, match="Too many open files"):
        files.reload()
    reader.meanwhile = lambda: None
    assert [files.reload(), files.value] == [True, 2]


def test_a_missing_file_keeps_the_value(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    files = ReloadedFiles([path, other], Reader(path))
    other.unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            files.reload()
    assert files.value == 1
    other.touch()
    assert files.reload()


def test_files_that_change_while_they_are_read_are_read_again(path: Path) -> None:
    reader = Reader(path)
    files = ReloadedFiles([path], reader)
    write(path, "2")
    reader.meanwhile = lambda: write(path, "3")
    assert [files.reload(), files.value] == [False, 1]
    reader.meanwhile = lambda: None
    assert [files.reload(), files.value] == [True, 3]


def test_one_of_many_threads_reads_a_change(path: Path) -> None:
    reader = Reader(path)
    files = ReloadedFiles([path], reader)
    write(path, "2")
    start = threading.Barrier(8)

    def reload(_: int) -> bool:
        start.wait()
        return files.reload()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(reload, range(8))) == [False] * 7 + [True]
    assert (files.value, reader.reads) == (2, 2)
