"""Features on disk: they outlive the process, and no fault of the file is ever a caller's."""

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fakes import PATIENCE
from headstart_server.embedding.feature_file import MIN_BYTES
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.feature_store import MAX_BEGINNINGS, MAX_WAITING, FeatureStore
from headstart_server.embedding.sqlite_file import parts

SIZE = 500
#: What the store may log; each line is a sentence of an operator's log, and stays what it is.
RESET, OFF, READ_ONLY = "feature_store_reset", "feature_store_disabled", "feature_store_read_only"


def vectors(number: int, size: int = SIZE) -> Vectors:
    """Read-only features that tell their number."""
    vector = np.full(size, number, np.float32)
    vector.setflags(write=False)
    return {"last": vector}


class Bench:
    """A store in a folder, opened as often as wanted."""

    def __init__(self, folder: Path, max_bytes: int = 32 * MIN_BYTES) -> None:
        self.path = folder / "features.sqlite3"
        self.max_bytes = max_bytes
        self.dropped = 0
        self.store = self.open()

    def open(self) -> FeatureStore:
        self.store = FeatureStore(self.path, self.max_bytes, self.count_dropped)
        return self.store

    def count_dropped(self, count: int) -> None:
        self.dropped += count

    def reopen(self) -> FeatureStore:
        self.store.close(PATIENCE)
        return self.open()

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.store.put("b", str(number), vectors(number))

    def found(self, *numbers: int) -> list[int]:
        """Those that the store has; each must have the right features."""
        found = self.store.get_many("b", [str(number) for number in numbers])
        assert all((views["last"] == int(digest)).all() for digest, views in found.items())
        return [number for number in numbers if str(number) in found]

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.store.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.002)

    @property
    def size(self) -> int:
        return sum(part.stat().st_size for part in parts(self.path) if part.exists())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the writer from writing, as another process with a transaction does."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.store.close(PATIENCE)


# What is kept


def test_what_was_put_is_found_at_once_and_after_a_restart(bench: Bench) -> None:
    bench.put(*range(300))
    assert bench.found(0, 150, 299, 300) == [0, 150, 299]
    bench.reopen()
    assert bench.found(*range(301)) == list(range(300))
    assert bench.dropped == 0


def test_the_same_bits_come_back_and_no_one_can_change_them(bench: Bench) -> None:
    odd = np.array([np.nan, -0.0, np.inf, 1e-45, 1.1], np.float32)
    bench.store.put("b", "x", {"last": odd, "taps": odd[::-1].copy()})
    found = bench.reopen().get_many("b", ["x"])["x"]
    assert {view: vector.tobytes() for view, vector in found.items()} == {
        "last": odd.tobytes(),
        "taps": odd[::-1].tobytes(),
    }
    assert not any(vector.flags.writeable for vector in found.values())


def test_what_waits_to_be_written_is_found(bench: Bench) -> None:
    with bench.held():
        bench.put(1, 2)
        assert bench.store.waiting == 2
        assert bench.found(1, 2) == [1, 2]
    bench.wait()
    assert bench.found(1, 2) == [1, 2]


def test_when_too_many_wait_further_ones_are_not_stored_and_counted(bench: Bench) -> None:
    with bench.held():
        bench.put(*range(MAX_WAITING), -1, -2)
        assert bench.store.waiting == MAX_WAITING
        assert bench.dropped == 2
        bench.put(0)
        assert bench.dropped == 2
        assert bench.found(-1, 0, MAX_WAITING - 1) == [0, MAX_WAITING - 1]
    bench.reopen()
    assert len(bench.found(*range(MAX_WAITING))) == MAX_WAITING


def test_a_value_that_comes_while_the_former_is_written_is_the_one_that_stays(bench: Bench) -> None:
    for number in range(200):
        bench.store.put("b", "x", vectors(number))
    found = bench.reopen().get_many("b", ["x"])["x"]["last"]
    assert found.tolist() == [199.0] * SIZE


def test_removed_features_are_gone_for_good_whether_written_or_waiting(bench: Bench) -> None:
    bench.put(1, 2, 3)
    bench.wait()
    bench.store.put("c", "1", vectors(1))
    bench.put(4, 5)
    bench.store.remove(["1", "4"])
    bench.store.remove(["2"], "c")
    assert bench.found(1, 2, 3, 4, 5) == [2, 3, 5]
    bench.reopen()
    assert bench.found(1, 2, 3, 4, 5) == [2, 3, 5]
    assert bench.store.get_many("c", ["1"]) == {}


def test_the_writer_continues_after_everything_that_waited_was_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(store: FeatureStore) -> bool:
        store.remove(["1"])
        return False

    # The writer calls it while features rest.
    monkeypatch.setattr(FeatureStore, "_is_urgent", remove)
    bench.put(1)
    bench.wait()
    monkeypatch.undo()
    bench.put(2)
    bench.wait()
    assert bench.reopen().get_many("b", ["1"]) == {}
    assert bench.found(1, 2) == [2]


def test_closing_waits_no_longer_than_it_may(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with bench.held():
        bench.put(*range(10))
        started = time.monotonic()
        bench.store.close(0.1)
        assert time.monotonic() - started < PATIENCE / 10
        assert bench.dropped == 10
    assert "feature_store_flush_failed" in capsys.readouterr().out


def test_a_closed_store_has_nothing_and_takes_nothing(bench: Bench) -> None:
    bench.put(1)
    bench.store.close()
    bench.put(2)
    assert bench.found(1, 2) == []
    assert bench.dropped == 1
    bench.open()
    assert bench.found(1, 2) == [1]


def test_uses_are_noted_so_that_what_is_used_stays(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MIN_BYTES)
    bench.put(1, 2)
    for start in range(1000, 2200, 100):
        assert bench.found(1) == [1]
        bench.put(*range(start, start + 100))
        bench.wait()
    assert bench.found(1, 2) == [1]
    bench.store.close()


def test_a_bound_that_was_lowered_holds_from_the_start(bench: Bench) -> None:
    bench.put(*range(1500))
    bench.wait()
    assert bench.size > MIN_BYTES
    bench.max_bytes = MIN_BYTES
    bench.reopen()
    bench.store.close(PATIENCE)
    assert bench.size <= MIN_BYTES


# Many threads


def test_threads_at_once_find_nothing_wrong_and_stay_within_the_bound(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MIN_BYTES)
    wrong: list[str] = []
    sizes: list[int] = []
    over = threading.Event()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for number in rng.integers(0, 800, 600).tolist():
            backbone, digest = f"b{number % 2}", str(number)
            chance = rng.random()
            if chance < 0.02:
                bench.store.remove([digest], None if chance < 0.01 else backbone)
            elif chance < 0.5:
                bench.store.put(backbone, digest, vectors(number))
            else:
                requested = [str((number + 2 * step) % 800) for step in range(8)]
                for found, views in bench.store.get_many(backbone, requested).items():
                    if not (views["last"] == int(found)).all():
                        wrong.append(found)

    def watch() -> None:
        while not over.wait(0.005):
            sizes.append(bench.size)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    watcher = threading.Thread(target=watch)
    for thread in (*threads, watcher):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    watcher.join()
    bench.store.close(PATIENCE)
    assert not wrong
    assert max(sizes) <= MIN_BYTES
    assert bench.dropped == 0


def test_what_is_removed_while_it_is_written_does_not_come_back(bench: Bench) -> None:
    for attempt in range(30):
        numbers = range(attempt * 10, attempt * 10 + 10)
        bench.put(*numbers)
        bench.store.remove([str(number) for number in numbers])
        assert bench.found(*numbers) == []
    bench.reopen()
    assert bench.found(*range(300)) == []


# Kills

WRITER = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from unit.embedding.test_feature_store import vectors
from headstart_server.embedding.feature_store import FeatureStore
store = FeatureStore(Path(sys.argv[1]), 1 << 20)
number = int(sys.argv[3])
while True:
    store.put("b", str(number % 2000), vectors(number % 2000))
    number += 1
    if number % 700 == 50:
        while store.waiting:
            time.sleep(0.001)
        print("written", flush=True)
"""


@pytest.mark.timeout(120)
def test_a_process_that_is_killed_while_it_writes_leaves_nothing_wrong(tmp_path: Path) -> None:
    path, tests = tmp_path / "features.sqlite3", str(Path(__file__).parents[2])
    for kill, seconds in enumerate((0.05, 0.1, 0.3)):
        command = [sys.executable, "-c", WRITER, str(path), tests, str(kill * 700)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"written\n"
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
        bench = Bench(tmp_path, MIN_BYTES)
        assert bench.found(*range(2000))
        assert bench.size <= MIN_BYTES
        bench.store.close(PATIENCE)


# Faults of the file


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of a store that was killed: its log is there, too."""
    folder = tmp_path_factory.mktemp("filled")
    bench = Bench(folder, MIN_BYTES)
    bench.put(*range(300))
    bench.wait()
    bench.put(*range(300, 310))
    bench.wait()
    copy = tmp_path_factory.mktemp("copy")
    for part in parts(bench.path):
        shutil.copy(part, copy / part.name)
    bench.store.close()
    return copy


DAMAGE = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.floats(0, 1), st.binary(max_size=40)),
    min_size=1,
    max_size=6,
)


@given(DAMAGE, st.booleans())
# Damage of an index that only the last rows meet.
@example([(0, 0.5594045111177949, b"\x00")], False)
@settings(max_examples=50)
def test_a_damaged_file_gives_no_wrong_features_and_no_error(
    filled: Path,
    tmp_path_factory: pytest.TempPathFactory,
    damage: list[tuple[int, float, bytes]],
    at_the_head: bool,
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(filled, folder, dirs_exist_ok=True)
    for which, place, change in damage:
        part = parts(folder / "features.sqlite3")[which]
        raw = bytearray(part.read_bytes())
        # The head and the first pages say how to read the others.
        at = int(place * (min(len(raw), 8192) if at_the_head else len(raw)))
        if change:
            raw[at : at + len(change)] = change
        else:
            del raw[at:]
        part.write_bytes(raw)
    bench = Bench(folder, MIN_BYTES)
    bench.found(*range(310))
    bench.put(*range(300, 400))
    bench.store.remove(["399"])
    bench.found(*range(400))
    bench.reopen()
    assert 399 not in bench.found(*range(400))
    bench.put(*range(400, 450))
    bench.reopen()
    # By now every fault that can be seen has been seen: it works.
    assert bench.found(*range(445, 450)) == list(range(445, 450))
    bench.store.close(PATIENCE)
    shutil.rmtree(folder)


def test_a_file_that_is_overwritten_while_it_is_open_is_reset(bench: Bench) -> None:
    bench.put(*range(500))
    bench.reopen()
    bench.store.close()
    store = bench.open()
    # Captured output is lost if another thread prints while it is read.
    with capture_logs() as logs:
        bench.path.write_bytes(b"x" * bench.path.stat().st_size)
        assert bench.found(*range(500)) == []
        # The writer, which reads a file that it opens, may reset it too.
        deadline = time.monotonic() + PATIENCE
        while RESET not in [entry["event"] for entry in logs]:
            assert time.monotonic() < deadline, logs
            time.sleep(0.002)
    bench.put(1, 2)
    bench.wait()
    assert bench.found(1, 2) == [1, 2]
    assert store is bench.store
    bench.reopen()
    assert bench.found(1, 2) == [1, 2]


def test_a_file_that_is_damaged_again_and_again_under_many_readers_harms_none_of_them(bench: Bench) -> None:
    over = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        try:
            while not over.is_set():
                bench.found(*range(100))
        except BaseException as error:  # noqa: BLE001 - reported by the test
            faults.append(error)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        bench.put(*range(100))
        bench.wait()
        # A reader that finds the damage of the last round may be replacing the file.
        with suppress(FileNotFoundError), ExitStack() as opened:
            # Opened first: the files that one of the readers replaces meanwhile stay as they are.
            for file in [opened.enter_context(part.open("r+b")) for part in parts(bench.path)[:2]]:
                file.truncate(0)
                file.write(b"x" * 10_000)
        # Now the file is replaced, or all of it is written again before anybody looks.
        bench.put(*range(100))
        bench.wait()
    over.set()
    for reader in readers:
        reader.join()
    assert not faults
    bench.reopen()
    # A reader may have come upon the damage after the last of them was written: then all starts again.
    assert set(bench.found(*range(100))) <= set(range(100))
    bench.put(*range(100))
    bench.wait()
    assert bench.found(*range(100)) == list(range(100))


def test_a_file_is_replaced_after_its_last_read(bench: Bench) -> None:
    """Otherwise the end of the read would delete the log of the new file, which has the same name."""
    bench.put(*range(100))
    bench.wait()
    file = bench.store._file
    assert file is not None
    with ThreadPoolExecutor(1) as pool:
        with file._file.reader():
            for part in parts(bench.path)[:2]:
                part.write_bytes(b"x" * 10_000)
            found = pool.submit(bench.found, 1)
            with pytest.raises(TimeoutError):
                found.result(0.2)
        assert found.result(PATIENCE) == []
    bench.put(1, 2)
    bench.reopen()
    assert bench.found(1, 2) == [1, 2]


def test_when_one_file_after_another_is_damaged_the_store_goes_off(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(MAX_BEGINNINGS + 1):
        bench.put(*range(10))
        bench.wait()
        for part in parts(bench.path)[:2]:
            with part.open("r+b") as file:
                file.write(b"x" * part.stat().st_size)
        bench.found(*range(10))
    said = capsys.readouterr().out
    assert (said.count(RESET), said.count(OFF)) == (MAX_BEGINNINGS, 1)
    bench.put(1)
    assert bench.found(1) == []


def write_text(path: Path) -> None:
    path.write_text("dear diary " * 1000)


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE features (mine TEXT)")


@pytest.mark.parametrize("write", [write_text, write_database])
def test_a_file_of_something_else_is_reset_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: object
) -> None:
    assert callable(write)
    write(tmp_path / "features.sqlite3")
    bench = Bench(tmp_path)
    assert RESET in capsys.readouterr().out
    bench.put(1)
    bench.reopen()
    assert bench.found(1) == [1]
    assert capsys.readouterr().out == ""
    bench.store.close()


def test_a_path_that_cannot_be_a_file_switches_the_store_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "features.sqlite3" / "folder").mkdir(parents=True)
    bench = Bench(tmp_path)
    assert OFF in capsys.readouterr().out
    bench.put(1, 2)
    assert bench.found(1) == []
    assert (bench.dropped, bench.store.nbytes, bench.store.waiting) == (2, 0, 0)
    bench.store.remove(["1"])
    bench.store.close()


def test_a_damaged_row_is_a_miss_and_is_dropped_and_the_others_stay(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.put(1, 2, 3)
    bench.wait()
    with closing(sqlite3.connect(bench.path)) as connection, connection:
        connection.execute("UPDATE features SET row = 'text' WHERE digest = '2'")
    assert bench.found(1, 2, 3) == [1, 3]
    assert "feature_rows_corrupted" in capsys.readouterr().out
    assert bench.found(1, 2, 3) == [1, 3]
    assert capsys.readouterr().out == ""
    bench.put(2)
    bench.reopen()
    assert bench.found(1, 2, 3) == [1, 2, 3]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process can grow beyond some bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_when_the_disk_is_full_nothing_more_is_written_and_the_rest_stays(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.put(*range(20))
    bench.wait()
    with full_disk(bench.size):
        for start in range(100, 1000, 100):
            bench.put(*range(start, start + 100))
            bench.wait()
        assert capsys.readouterr().out.count(READ_ONLY) == 1
        dropped = bench.dropped
        assert 500 < dropped <= 900
        assert bench.found(*range(20)) == list(range(20))
    bench.put(1000)
    assert bench.dropped == dropped + 1
    bench.reopen()
    assert bench.found(*range(20)) == list(range(20))
    bench.put(1000)
    bench.reopen()
    assert bench.found(1000) == [1000]


def test_what_cannot_be_removed_is_not_found_again_anyway(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.put(*range(100))
    bench.wait()
    # The log cannot grow, but a new file has room.
    with full_disk(parts(bench.path)[1].stat().st_size):
        bench.store.remove(["7"])
    assert RESET in capsys.readouterr().out
    assert bench.found(7) == []
    bench.reopen()
    assert bench.found(7) == []


def test_a_store_without_its_file_removes_it_with_everything_that_is_to_be_removed(bench: Bench) -> None:
    bench.put(1, 2)
    bench.store.close()
    bench.store.remove(["1"])
    bench.open()
    assert bench.found(1) == []
