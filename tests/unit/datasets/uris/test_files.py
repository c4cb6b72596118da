"""Files beneath a folder, and what somebody may put there instead of one."""

import os
from pathlib import Path

import pytest

from headstart_server.datasets.uris.location import TooLargeError, UnreadableError
from headstart_server.datasets.uris.reader import read_beneath


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "sets"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_bytes(b"12345")
    return folder


def test_a_file_is_read_up_to_its_bound(folder: Path) -> None:
    assert read_beneath(str(folder), ["inner", "a"], 5) == b"12345"
    with pytest.raises(TooLargeError, match="5 bytes, more than 4"):
        read_beneath(str(folder), ["inner", "a"], 4)


def test_the_allowed_folder_itself_may_be_a_link(folder: Path) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert read_beneath(str(link), ["inner", "a"], 5) == b"12345"


def test_no_link_beneath_it_is_followed(folder: Path) -> None:
    (folder / "out").symlink_to(folder.parent)
    (folder / "file").symlink_to(folder.parent / "secret")
    (folder / "within").symlink_to(folder / "inner")
    for parts in (["out", "secret"], ["file"], ["within", "a"], ["inner", "a", "b"]):
        with pytest.raises(UnreadableError, match="link"):
            read_beneath(str(folder), parts, 100)


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    for parts in (["pipe"], ["inner"]):
        with pytest.raises(UnreadableError, match="not a file"):
            read_beneath(str(folder), parts, 100)
    with pytest.raises(UnreadableError, match="not there"):
        read_beneath(str(folder), ["none"], 100)


def test_a_file_of_no_known_size_is_bounded_too() -> None:
    with pytest.raises(TooLargeError, match="more than 10 bytes"):
        read_beneath("/proc/self", ["limits"], 10)
