"""Thumbnails: made once, within a limit, across restarts and after a kill."""

import errno
import os
from pathlib import Path

import pytest

from headstart_server.errors import LocalStorageUnavailable
from headstart_server.storage.thumbnail_store import ThumbnailStore

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class Maker:
    """Makes thumbnails of a size, and counts them."""

    def __init__(self, size: int = 10) -> None:
        self.count, self.size = 0, size

    def __call__(self) -> bytes:
        self.count += 1
        return bytes(self.size)


@pytest.fixture
def maker() -> Maker:
    return Maker()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_thumbnail_is_made_once_even_across_restarts(tmp_path: Path, maker: Maker) -> None:
    for _ in range(2):
        store = ThumbnailStore(tmp_path / "thumbnails", max_bytes=100)
        assert [len(store.get(A, 64, maker)) for _ in range(3)] == [10, 10, 10]
    assert maker.count == 1
    store.get(A, 128, maker)
    assert maker.count == 2


def test_beyond_the_limit_those_used_longest_ago_go(tmp_path: Path, maker: Maker) -> None:
    store = ThumbnailStore(tmp_path, max_bytes=25)
    for digest in (A, B, A, C):
        store.get(digest, 64, maker)
    assert names(tmp_path) == [f"{A}-64.jpg", f"{C}-64.jpg"]
    assert store.nbytes == 20
    smaller = ThumbnailStore(tmp_path, max_bytes=15)
    assert smaller.nbytes == 10
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("limit", [0, 9])
def test_a_thumbnail_beyond_the_limit_is_not_stored(tmp_path: Path, maker: Maker, limit: int) -> None:
    store = ThumbnailStore(tmp_path, max_bytes=limit)
    assert len(store.get(A, 64, maker)) == 10
    assert names(tmp_path) == []


def test_removal_takes_all_sizes_of_a_content_and_no_other(tmp_path: Path, maker: Maker) -> None:
    store = ThumbnailStore(tmp_path, max_bytes=1000)
    for digest in (A, B):
        for side in (64, 512):
            store.get(digest, side, maker)
    store.remove([A, C])
    assert names(tmp_path) == [f"{B}-512.jpg", f"{B}-64.jpg"]
    assert store.nbytes == 20


def test_the_leftovers_of_a_killed_server_are_removed_at_the_start(tmp_path: Path, maker: Maker) -> None:
    for name in ("0123.part", "notes.txt", f"{A}-64.jpg.part", f"{B}-64.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"{C}-64.jpg").touch()
    store = ThumbnailStore(tmp_path, max_bytes=100)
    assert names(tmp_path) == [f"{B}-64.jpg"]
    assert store.get(B, 64, maker) == b"x"


def test_a_thumbnail_that_cannot_be_removed_is_reported_and_removed_later(
    tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ThumbnailStore(tmp_path, max_bytes=1000)
    for digest in (A, B):
        for side in (64, 128):
            store.get(digest, side, maker)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == f"{A}-64.jpg":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(LocalStorageUnavailable):
            store.remove([A, B])
    assert names(tmp_path) == [f"{A}-64.jpg"]
    # So a cleaning finds it.
    assert store.images == {A}
    assert store.nbytes == 10
    store.remove(store.images)
    assert names(tmp_path) == []


def test_a_file_that_is_gone_is_made_again(tmp_path: Path, maker: Maker) -> None:
    store = ThumbnailStore(tmp_path, max_bytes=100)
    store.get(A, 64, maker)
    (tmp_path / f"{A}-64.jpg").unlink()
    assert len(store.get(A, 64, maker)) == 10
    assert maker.count == 2


def test_a_folder_that_cannot_be_written_still_gives_the_thumbnail(tmp_path: Path, maker: Maker) -> None:
    store = ThumbnailStore(tmp_path / "thumbnails", max_bytes=100)
    (tmp_path / "thumbnails").rmdir()
    (tmp_path / "thumbnails").write_text("not a folder")
    assert len(store.get(A, 64, maker)) == 10
