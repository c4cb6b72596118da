"""The file of features: within its bound, the ones used last, and no other's file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headstart_server.embedding.feature_file import MIN_BYTES, FeatureFile
from headstart_server.embedding.feature_rows import Vectors
from headstart_server.embedding.sqlite_file import is_damage, parts

#: Numbers of a row of about 4 KB.
SIZE = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.sqlite3"


@pytest.fixture
def file(path: Path) -> Iterator[FeatureFile]:
    file = FeatureFile(path, MIN_BYTES)
    yield file
    file.close()


def vectors(number: int, size: int = SIZE) -> Vectors:
    return {"last": np.full(size, number, np.float32)}


def put(file: FeatureFile, numbers: Sequence[int], size: int = SIZE) -> None:
    file.put({("b", str(number)): vectors(number, size) for number in numbers})


def numbers(file: FeatureFile, requested: Sequence[int]) -> list[int]:
    """Return which of the requested numbers the file has; each must have the right features."""
    found, damaged = file.get_many("b", [str(number) for number in requested])
    assert not damaged
    assert all((vectors["last"] == int(digest)).all() for digest, vectors in found.items())
    return [number for number in requested if str(number) in found]


def size_on_disk(path: Path) -> int:
    return sum(part.stat().st_size for part in parts(path) if part.exists())


def test_what_was_put_is_found_on_its_backbone_only(file: FeatureFile) -> None:
    file.put({("b", "x"): vectors(1), ("other", "x"): vectors(2)})
    assert file.get_many("b", ["x", "y"])[0]["x"]["last"][0] == 1
    assert file.get_many("other", ["x"])[0]["x"]["last"][0] == 2
    assert file.get_many("no-one", ["x"]) == ({}, [])


def test_features_that_are_put_again_take_the_place_of_the_former(file: FeatureFile) -> None:
    file.put({("b", "x"): vectors(1)})
    file.put({("b", "x"): vectors(2, 5)})
    assert file.get_many("b", ["x"])[0]["x"]["last"].tolist() == [2.0] * 5


def test_it_never_takes_more_than_its_bound_and_uses_most_of_it(file: FeatureFile, path: Path) -> None:
    for start in range(0, 600, 20):
        put(file, range(start, start + 20))
        assert file.nbytes == size_on_disk(path) <= MIN_BYTES
    assert len(numbers(file, range(600))) * SIZE * 4 > MIN_BYTES * 0.5


def test_rows_of_any_size_stay_within_the_bound(file: FeatureFile, path: Path) -> None:
    sizes = np.random.default_rng(0).integers(0, 30_000, 300).tolist()
    for number, size in enumerate(sizes):
        put(file, [number], size)
        assert size_on_disk(path) <= MIN_BYTES
    assert numbers(file, range(290, 300))


def test_the_rows_used_longest_ago_leave_first(file: FeatureFile) -> None:
    put(file, range(10))
    put(file, range(10, 20))
    file.touch([("b", str(number)) for number in range(5)])
    for number in range(100, 1000):
        put(file, [number])
        left = numbers(file, range(20))
        if len(left) < 20:
            break
    oldest_first = [*range(5, 20), *range(5)]
    gone = oldest_first[: 20 - len(left)]
    assert 0 < len(gone) < 10
    assert left == sorted(set(range(20)) - set(gone))


def test_a_touched_row_outlives_many_times_what_the_file_holds(file: FeatureFile) -> None:
    put(file, range(3))
    for start in range(100, 1000, 10):
        file.touch([("b", "1")])
        put(file, range(start, start + 10))
    assert numbers(file, range(3)) == [1]


def test_the_order_of_use_outlives_a_restart(file: FeatureFile, path: Path) -> None:
    put(file, range(10))
    file.touch([("b", "3")])
    file.close()
    with closing(FeatureFile(path, MIN_BYTES)) as again:
        for number in range(100, 1000):
            put(again, [number])
            left = numbers(again, range(10))
            if len(left) < 5:
                break
        assert 3 in left


def test_a_lowered_bound_gives_the_disk_back_with_the_next_put(path: Path) -> None:
    with closing(FeatureFile(path, 4 * MIN_BYTES)) as large:
        put(large, range(700))
        assert large.nbytes > 2 * MIN_BYTES
    with closing(FeatureFile(path, MIN_BYTES)) as small:
        put(small, [1000])
        assert size_on_disk(path) <= MIN_BYTES
        assert numbers(small, [1000, 699]) == [1000, 699]


def test_removed_rows_are_gone_on_one_backbone_or_on_all(file: FeatureFile) -> None:
    file.put({(backbone, digest): vectors(1) for backbone in ("b", "c") for digest in ("x", "y")})
    file.remove(["x"], "b")
    assert list(file.get_many("b", ["x", "y"])[0]) == ["y"]
    assert list(file.get_many("c", ["x", "y"])[0]) == ["x", "y"]
    file.remove(["y", "z"])
    assert file.get_many("b", ["y"]) == ({}, [])
    assert list(file.get_many("c", ["x", "y"])[0]) == ["x"]


def test_a_row_that_is_larger_than_the_log_is_left_out_and_the_others_are_kept(file: FeatureFile) -> None:
    file.put({("b", "1"): vectors(1), ("b", "2"): vectors(2, MIN_BYTES), ("b", "3"): vectors(3)})
    assert numbers(file, [1, 2, 3]) == [1, 3]


def test_a_damaged_row_is_reported_and_no_other_one(file: FeatureFile, path: Path) -> None:
    put(file, range(3))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE features SET row = zeroblob(4000) WHERE digest = '1'")
    found, damaged = file.get_many("b", ["0", "1", "2"])
    assert list(found) == ["0", "2"]
    assert damaged == ["1"]


def test_a_bound_that_is_too_small_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 1048576 bytes.*Received: 1000\."):
        FeatureFile(path, 1000)


def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE features (digest, backbone, used, row)")
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="expected a file with the marks") as caught:
        FeatureFile(path, MIN_BYTES)
    assert is_damage(caught.value, reading=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("newest", [-1, 1 << 62, "text"])
def test_a_count_of_uses_that_cannot_be_is_damage(file: FeatureFile, path: Path, newest: object) -> None:
    put(file, [1])
    file.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE features SET used = ?", (newest,))
    with pytest.raises(sqlite3.DatabaseError, match="expected a count of uses") as caught:
        FeatureFile(path, MIN_BYTES)
    assert is_damage(caught.value, reading=False)


def test_a_closed_file_is_not_made_again_by_a_late_reader(file: FeatureFile, path: Path) -> None:
    file.close()
    for part in parts(path):
        part.unlink(missing_ok=True)
    with pytest.raises(sqlite3.ProgrammingError):
        file.get_many("b", ["x"])
    assert not path.exists()
