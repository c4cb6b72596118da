"""What is made aside in a cache that several threads, processes and machines share."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fakes import PATIENCE
from headstart_server.storage import failpoints
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


def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def fsync(descriptor: int) -> None:
        assert not (tmp_path / "made").exists()
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    with staged_folder(tmp_path / "made") as staging:
        (staging / "deep").mkdir()
        (staging / "deep" / "file").write_text("content")
        (staging / "link").symlink_to("nowhere")
    paths = (tmp_path / "made", tmp_path / "made" / "deep", tmp_path / "made" / "deep" / "file")
    assert sorted(synced) == sorted(path.stat().st_ino for path in paths)


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


def test_the_first_of_two_writers_stays_where_none_may_replace(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for word in ("last", "first"):
            stack.enter_context(staged_file(tmp_path / "file", replaces=False)).write_text(word)
    assert (tmp_path / "file").read_text() == "first"
    assert names(tmp_path) == ["file"]


def test_where_there_are_no_links_the_file_is_still_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "link", fail)
    with staged_file(tmp_path / "file", replaces=False) as staging:
        staging.write_text("content")
    assert names(tmp_path) == ["file"]


def test_what_is_staged_is_as_private_as_the_process_wants(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with staged_folder(tmp_path / "folder"), staged_file(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


#: Writes a file and a folder in a folder.
WRITER = """
import os, sys
from pathlib import Path
from headstart_server.storage import failpoints
from headstart_server.storage.atomic_files import staged_file, staged_folder
failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
root = Path(sys.argv[1])
with staged_file(root / "file", replaces=sys.argv[2] == "replaces") as staging:
    staging.write_text("new" * 1000)
with staged_folder(root / "folder") as staging:
    for name in ("a", "b"):
        (staging / name).write_text("new")
"""


@pytest.mark.parametrize("point", ["file:before", "file:after", "folder:before", "folder:after"])
@pytest.mark.parametrize("replaces", ["replaces", "keeps"])
def test_a_killed_writer_leaves_all_or_nothing(tmp_path: Path, point: str, replaces: str) -> None:
    kind, _, when = point.partition(":")
    armed = {**os.environ, failpoints.VARIABLE: f"staged.rename_{kind}:{when}"}
    ended = subprocess.run([sys.executable, "-c", WRITER, tmp_path, replaces], env=armed, check=False)
    assert ended.returncode == -signal.SIGKILL
    file, folder = tmp_path / "file", tmp_path / "folder"
    assert file.exists() == (point != "file:before")
    assert not file.exists() or file.read_text() == "new" * 1000
    assert folder.exists() == (point == "folder:after")
    assert not folder.exists() or names(folder) == ["a", "b"]
    # The next one finds its way, and what was left is removed once it is old.
    subprocess.run([sys.executable, "-c", WRITER, tmp_path, replaces], check=True)
    assert {"file", "folder"} <= set(names(tmp_path))
    for path in tmp_path.glob("*.part*"):
        for each in (*path.rglob("*"), path):
            os.utime(each, (0, 0))
    remove_abandoned(tmp_path)
    assert names(tmp_path) == ["file", "folder"]
