"""What is made aside in a cache that several threads, processes and machines share."""

import os
import stat
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes import PATIENCE
from headstart_server.storage.atomic_files import (
    ABANDONED_SECONDS,
    remove_abandoned,
    staged_file,
    staged_folder,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_threads_make_one_folder_and_the_first_one_stays(tmp_path: Path) -> None:
    folder, both = tmp_path / "deep" / "made", threading.Barrier(2)

    def make(word: str) -> None:
        with staged_folder(folder) as aside:
            (aside / "file").write_text(word)
            both.wait(PATIENCE)
            assert (aside / "file").read_text() == word

    threads = [threading.Thread(target=make, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (folder / "file").read_text() in {"one", "two"}
    assert names(folder.parent) == ["made"]


def test_two_who_download_one_file_do_not_write_into_each_others(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(staged_file(tmp_path / "file"))
        second = stack.enter_context(staged_file(tmp_path / "file"))
        first.write_text("whole")
        second.write_text("whole")
        assert first != second
    assert names(tmp_path) == ["file"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    for aside in (staged_folder, staged_file):
        with pytest.raises(ZeroDivisionError), aside(tmp_path / "made"):
            raise ZeroDivisionError
    assert names(tmp_path) == []


def test_others_may_read_what_was_made(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "folder"), staged_file(tmp_path / "file"):
        pass
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    long_ago = time.time() - 2 * ABANDONED_SECONDS
    for name in ("old.part", "busy.part", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "file.part").touch()
    for path in ("old.part/file", "old.part", "busy.part", "kept/file", "kept", "file.part"):
        os.utime(tmp_path / path, (long_ago, long_ago))
    remove_abandoned(tmp_path)
    assert names(tmp_path) == ["busy.part", "kept"]
