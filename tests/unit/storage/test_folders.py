"""A directory and a bucket keep files alike: no one above can distinguish them."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from full_disk import FullDisk
from headstart_server.database.database import Database
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.errors import (
    ArtifactDamaged,
    LocalStorageUnavailable,
    StorageFull,
    StorageUnavailable,
)
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.storage import bucket as bucket_module
from headstart_server.storage import copies as copies_module
from headstart_server.storage.directory import Folder, old_entries
from headstart_server.storage.storage_roots import open_storage_roots
from s3 import Fault, S3Server


def folder_of(place: str, tmp_path: Path, request: pytest.FixtureRequest, **settings: int) -> Folder:
    if place == "directory":
        return open_storage_roots(None, tmp_path / "data", copies_bytes=0).datasets
    server: S3Server = request.getfixturevalue("s3")
    patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in server.environment.items():
        patch.setenv(name, value)
    artifacts = f"s3://{server.bucket()}/some/prefix"
    return open_storage_roots(
        artifacts, tmp_path / "data", copies_bytes=settings.get("copies", 1 << 20)
    ).datasets


@pytest.fixture(params=["directory", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return folder_of(request.param, tmp_path, request)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FullDisk]:
    with FullDisk(tmp_path) as disk:
        yield disk


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return folder_of("bucket", tmp_path, request)


def put(folder: Folder, name: str, content: bytes, *, shared: bool = True) -> None:
    folder.staging_path(name).write_bytes(content)
    folder.commit(name, shared=shared)


def content(folder: Folder, name: str) -> bytes:
    with closing(folder.open(name)) as file:
        return file.read()


def names(folder: Folder) -> list[str]:
    return sorted(entry.name for entry in folder.entries())


def test_several_files_of_a_name_come_back(folder: Folder) -> None:
    folder.write("job.1", {"a": b"1" * 100, "b": b""})
    assert folder.read("job.1", "a") == b"1" * 100
    assert folder.read("job.1", "b") == b""
    [entry] = folder.entries()
    assert (entry.name, entry.nbytes) == ("job.1", 100)
    assert abs(entry.written - time.time()) < 60


def test_what_is_not_there_is_an_error_of_files(folder: Folder) -> None:
    folder.write("job.1", {"a": b"1"})
    for read in (
        lambda: folder.read("job.1", "b"),
        lambda: folder.read("job", "a"),
        lambda: folder.open("job.zip"),
    ):
        with pytest.raises(FileNotFoundError, match="No such file"):
            read()


def test_a_name_written_again_has_the_new_content(folder: Folder) -> None:
    folder.write("job.1", {"a": b"1"})
    folder.write("job.1", {"a": b"2"})
    assert folder.read("job.1", "a") == b"2"
    put(folder, "job.zip", b"old")
    assert content(folder, "job.zip") == b"old"
    put(folder, "job.zip", b"new")
    assert content(folder, "job.zip") == b"new"


def test_what_is_written_aside_is_there_only_once_it_is_taken(folder: Folder) -> None:
    folder.staging_path("job.zip").write_bytes(b"content")
    with pytest.raises(FileNotFoundError):
        folder.open("job.zip")
    folder.commit("job.zip")
    assert content(folder, "job.zip") == b"content"
    assert names(folder) == ["job.zip"]
    assert not folder.staging_path("job.zip").exists()


def test_a_file_that_is_open_outlives_its_name(folder: Folder) -> None:
    put(folder, "job.zip", b"content")
    with closing(folder.open("job.zip")) as file:
        folder.remove("job.zip")
        assert file.read() == b"content"
    with pytest.raises(FileNotFoundError):
        folder.open("job.zip")


def test_a_name_is_removed_with_all_its_files_and_nothing_else(folder: Folder) -> None:
    for name in ("job.1", "job.10", "job"):
        folder.write(name, {"a": b"1", "b": b"2"})
    folder.remove("job.1")
    folder.remove("job.1")
    folder.remove("unknown")
    assert names(folder) == ["job", "job.10"]


class Removals:
    """Removals of files that the system refuses by name."""

    def __init__(self, patch: pytest.MonkeyPatch, refused: dict[str, int]) -> None:
        self._unlink = os.unlink
        self._refused = refused
        patch.setattr(os, "unlink", self.unlink)

    def unlink(self, path: str | Path, *, dir_fd: int | None = None) -> None:
        number = self._refused.get(Path(path).name)
        if number is not None:
            raise OSError(number, os.strerror(number))
        self._unlink(path, dir_fd=dir_fd)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EBUSY])
def test_a_file_of_a_name_that_cannot_be_removed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = open_storage_roots(None, tmp_path, copies_bytes=0).versions
    folder.write("job.1", {"a": b"1", "b": b"2"})
    with monkeypatch.context() as patch:
        Removals(patch, {"b": number})
        with pytest.raises(LocalStorageUnavailable):
            folder.remove("job.1")
        with pytest.raises(LocalStorageUnavailable):
            folder.write("job.1", {"a": b"3"})
    assert names(folder) == ["job.1"]
    folder.remove("job.1")
    assert names(folder) == []


def test_a_file_that_nfs_keeps_for_its_readers_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_storage_roots(None, tmp_path, copies_bytes=0).versions
    folder.write("job.1", {"a": b"1", ".nfs0001": b"2"})
    with monkeypatch.context() as patch:
        Removals(patch, {".nfs0001": errno.EBUSY})
        folder.remove("job.1")
    assert [path.name for path in (tmp_path / "versions" / "job.1").iterdir()] == [".nfs0001"]
    folder.remove("job.1")
    assert names(folder) == []


def test_a_folder_within_a_name_is_removed_with_it(tmp_path: Path) -> None:
    folder = open_storage_roots(None, tmp_path, copies_bytes=0).versions
    folder.write("job.1", {"a": b"1"})
    inner = tmp_path / "versions" / "job.1" / "inner"
    inner.mkdir()
    (inner / "file").write_bytes(b"1")
    (inner / "link").symlink_to(tmp_path)
    folder.remove("job.1")
    assert names(folder) == []
    assert tmp_path.exists()


def test_two_replicas_that_remove_a_name_both_succeed(tmp_path: Path) -> None:
    folder = open_storage_roots(None, tmp_path, copies_bytes=0).versions
    for _ in range(20):
        folder.write("job.1", {f"file{number}": b"1" for number in range(20)})
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(folder.remove, ["job.1"] * 4))
        assert names(folder) == []


def test_what_was_just_written_is_not_old_and_what_is_old_is_reported_by_the_time_of_the_folder(
    folder: Folder,
) -> None:
    folder.write("job.1", {"a": b"1"})
    [entry] = folder.entries()
    # The bucket counts whole seconds.
    assert entry.written <= folder.now() < entry.written + 60
    assert old_entries(folder, 3600) == []
    assert list(folder.entries(["job.1", "unknown"])) == [entry]
    assert old_entries(folder, 3600, ["job.1"]) == []
    assert [entry.name for entry in old_entries(folder, -5)] == ["job.1"]
    assert names(folder) == ["job.1"]


def test_there_is_nothing_at_first(folder: Folder) -> None:
    assert names(folder) == []
    assert list(folder.names()) == []


def test_names_are_those_of_single_files_and_of_several(folder: Folder) -> None:
    folder.write("job.1", {"a": b"1", "b": b"2"})
    put(folder, "job.zip", b"content")
    folder.now()
    assert sorted(folder.names()) == names(folder) == ["job.1", "job.zip"]
    assert [entry.name for entry in folder.entries(["job.zip"])] == ["job.zip"]


# A bucket


def test_what_is_not_shared_never_reaches_the_bucket(bucket: Folder) -> None:
    put(bucket, "job.zip", b"content", shared=False)
    assert names(bucket) == []
    assert content(bucket, "job.zip") == b"content"
    bucket.remove("job.zip")
    with pytest.raises(FileNotFoundError):
        bucket.open("job.zip")


def test_another_replica_finds_what_one_has_put_and_what_it_has_put_since(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    artifacts = f"s3://{s3.bucket()}"
    first, second = (
        open_storage_roots(artifacts, tmp_path / name, copies_bytes=1 << 20).datasets
        for name in ("one", "other")
    )
    for written in (b"1" * 20_000_000, b"2"):
        put(first, "job.zip", written)
        assert content(second, "job.zip") == written
        assert content(first, "job.zip") == written
    second.remove("job.zip")
    with pytest.raises(FileNotFoundError):
        first.open("job.zip")


def test_copies_keep_to_their_bound_and_the_oldest_goes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = folder_of("bucket", tmp_path, request, copies=2500)
    for place in range(4):
        put(folder, f"{place}.zip", bytes(1000))
    kept = sorted(path.name.partition("@")[0] for path in (tmp_path / "data" / "copies").iterdir())
    assert kept == ["2.zip", "3.zip"]
    assert content(folder, "0.zip") == bytes(1000)


@pytest.fixture
def examples(bucket: Folder) -> DatasetStore:
    limits = DatasetLimits(max_examples=10, max_bytes=1000, max_input_bytes=100, max_classes=10)
    store = DatasetStore(bucket, limits)
    writer = store.writer("job")
    writer.add([Example(content=f"{name}:1".encode(), target=Target.of_label(name)) for name in "ab"])
    writer.finish()
    return store


@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_copy_of_examples_is_downloaded_again(
    examples: DatasetStore, tmp_path: Path, kept: int
) -> None:
    [copy] = (tmp_path / "data" / "copies").iterdir()
    nbytes = copy.stat().st_size
    os.truncate(copy, kept)
    with closing(examples.open("job")) as dataset:
        assert [dataset.read(index) for index in range(2)] == [b"a:1", b"b:1"]
    [copy] = (tmp_path / "data" / "copies").iterdir()
    assert copy.stat().st_size == nbytes


@pytest.mark.parametrize("damaged", [slice(None), slice(0, 60)], ids=["everything", "member"])
def test_a_damaged_copy_of_examples_is_downloaded_again(
    examples: DatasetStore, tmp_path: Path, damaged: slice
) -> None:
    def damage() -> Path:
        [copy] = (tmp_path / "data" / "copies").iterdir()
        written = bytearray(copy.read_bytes())
        written[damaged] = bytes(len(written[damaged]))
        copy.write_bytes(written)
        return copy

    copy = damage()
    with closing(examples.open("job")) as dataset:
        assert [dataset.read(index) for index in range(2)] == [b"a:1", b"b:1"]
    assert b"a:1" in copy.read_bytes()
    # If the copy is damaged again, the bucket is not read each time.
    damage()
    with pytest.raises(ArtifactDamaged), closing(examples.open("job")) as dataset:
        dataset.read(0)


def test_a_damaged_copy_does_not_prevent_an_erasure(examples: DatasetStore, tmp_path: Path) -> None:
    [copy] = (tmp_path / "data" / "copies").iterdir()
    copy.write_bytes(bytes(copy.stat().st_size))
    assert examples.rewrite("job", [0]) == 1
    with closing(examples.open("job")) as dataset:
        assert [dataset.read(index) for index in range(len(dataset))] == [b"b:1"]


def test_copies_are_used_after_a_restart_of_the_server_but_not_of_the_machine(
    tmp_path: Path, request: pytest.FixtureRequest, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.bucket()
    monkeypatch.setattr(s3, "bucket", lambda: bucket)
    put(folder_of("bucket", tmp_path, request), "job.zip", b"content")
    [copy] = (tmp_path / "data" / "copies").iterdir()
    # A power failure may leave the size of a file without its content.
    copy.write_bytes(bytes(7))
    assert content(folder_of("bucket", tmp_path, request), "job.zip") == bytes(7)
    boots = tmp_path / "boot_id"
    boots.write_text("5f0e6a4c-9b1d-4a58-8f6e-0c2d7b9a1e33\n")
    monkeypatch.setattr(copies_module, "_BOOT_ID", boots)
    assert content(folder_of("bucket", tmp_path, request), "job.zip") == b"content"
    [copy] = (tmp_path / "data" / "copies").iterdir()
    assert copy.read_bytes() == b"content"
    # Where the start of the machine is unknown, no copy of an earlier process is used.
    boots.unlink()
    folder_of("bucket", tmp_path, request)
    assert not copy.exists()


def test_on_a_full_disk_the_other_copies_go_first(
    request: pytest.FixtureRequest, tmp_path: Path, disk: FullDisk
) -> None:
    folder = folder_of("bucket", tmp_path, request, copies=1 << 20)
    for place in range(3):
        put(folder, f"{place}.zip", bytes(1000))
    copies = tmp_path / "data" / "copies"
    next(copies.glob("0.zip@*")).unlink()
    disk.full_while = lambda: any(copies.glob("*@*"))
    assert content(folder, "0.zip") == bytes(1000)
    assert [path.name.partition("@")[0] for path in copies.iterdir()] == ["0.zip"]


def test_a_full_disk_is_reported_leaves_nothing_and_is_no_fault_of_the_bucket(
    request: pytest.FixtureRequest, tmp_path: Path, disk: FullDisk
) -> None:
    folder = folder_of("bucket", tmp_path, request)
    put(folder, "job.zip", bytes(100_000))
    copies = tmp_path / "data" / "copies"
    for path in copies.iterdir():
        path.unlink()
    disk.full_while = lambda: True
    for _ in range(2):
        with pytest.raises(StorageFull, match="disk is full"):
            folder.open("job.zip")
        assert list(copies.iterdir()) == []
    disk.full_while = lambda: False
    assert content(folder, "job.zip") == bytes(100_000)


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.ERRORS])
def test_a_bucket_that_is_away_says_so_of_each_call_and_works_again_after_it(
    bucket: Folder, s3: S3Server, fault: Fault
) -> None:
    bucket.write("job.1", {"a": b"1"})
    bucket.staging_path("job.zip").write_bytes(b"content")
    calls = (
        lambda: bucket.read("job.1", "a"),
        lambda: bucket.write("job.2", {"a": b"1"}),
        lambda: bucket.commit("job.zip"),
        lambda: bucket.open("job.zip"),
        lambda: bucket.remove("job.1"),
        bucket.entries,
    )
    with s3.proxy.failing(fault):
        for call in calls:
            with pytest.raises(StorageUnavailable, match="does not answer") as caught:
                call()
            assert caught.value.retry_after == 2.0
    assert bucket.read("job.1", "a") == b"1"
    bucket.commit("job.zip")
    assert content(bucket, "job.zip") == b"content"


def test_a_bucket_that_accepts_and_never_answers_is_given_up_in_time_whatever_is_requested(
    bucket: Folder, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write("job.1", {"a": b"1"})
    bucket.staging_path("job.zip").write_bytes(b"content")
    monkeypatch.setattr(bucket_module, "CALL_SECONDS", 1.0)
    monkeypatch.setattr(bucket_module, "PROBE_SECONDS", 0.3)
    calls = (
        lambda: bucket.read("job.1", "a"),
        lambda: bucket.write("job.2", {"a": b"1"}),
        lambda: bucket.commit("job.zip"),
        lambda: bucket.open("job.zip"),
        lambda: bucket.remove("job.1"),
        bucket.entries,
        bucket.now,
    )
    with s3.proxy.failing(Fault.HANGING):
        for place, call in enumerate(calls):
            began = time.monotonic()
            with pytest.raises(StorageUnavailable) as caught:
                call()
            assert "does not answer in time" in caught.value.detail
            # The library alone would take 40 s. The first call does not know; those after it try.
            assert time.monotonic() - began < (10.0 if place == 0 else 8.0)
    # So little is too short for an answer while other tests run.
    monkeypatch.setattr(bucket_module, "CALL_SECONDS", 15.0)
    monkeypatch.setattr(bucket_module, "PROBE_SECONDS", 15.0)
    assert bucket.read("job.1", "a") == b"1"
    bucket.commit("job.zip")
    assert content(bucket, "job.zip") == b"content"


def test_a_slow_bucket_is_waited_for(bucket: Folder, s3: S3Server) -> None:
    with s3.proxy.failing(Fault.SLOW):
        bucket.write("job.1", {"a": b"1"})
        assert bucket.read("job.1", "a") == b"1"


def test_a_bucket_that_does_not_exist_is_reported_at_once(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    roots = open_storage_roots("s3://no-such-bucket/x", tmp_path, copies_bytes=0)
    with (
        closing(Database(tmp_path / "headstart.sqlite3")) as database,
        pytest.raises(OSError, match=r"no bucket s3://no-such-bucket\. Create the bucket"),
    ):
        roots.check(database)
    # Not one of a missing file: no one may take that for damage, or for a deletion.
    with pytest.raises(StorageUnavailable) as caught:
        roots.versions.read("job.1", "a")
    assert "no bucket" in caught.value.detail
    assert "no-such-bucket" not in caught.value.message


class Answers(BaseHTTPRequestHandler):
    """Answers each read, and each write, with a status of the server."""

    # The library sends the content of a write after a first answer.
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.statuses[self.command in ("PUT", "POST")])  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET = do_PUT = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], None]]:
    """Set the statuses with which a bucket answers reads and writes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "key")
        for name in ("AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST"):
            monkeypatch.setenv(name, url)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Otherwise the library looks for credentials in the network.
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def answer(read: int, write: int) -> None:
            server.statuses = (read, write)  # type: ignore[attr-defined]

        yield answer
        server.shutdown()
        thread.join()


def checked(scheme: str, tmp_path: Path) -> None:
    with closing(Database(tmp_path / "headstart.sqlite3")) as database:
        open_storage_roots(f"{scheme}://canary/prefix", tmp_path, copies_bytes=0).check(database)


@pytest.mark.parametrize(
    ("scheme", "read", "write"),
    [
        ("s3", 403, 403),
        ("s3", 401, 401),
        ("s3", 400, 400),
        ("s3", 404, 403),
        ("gs", 403, 403),
        ("gs", 404, 403),
        ("gs", 404, 404),
    ],
)
def test_a_bucket_that_rejects_the_server_fails_its_start(
    answers: Callable[[int, int], None], tmp_path: Path, scheme: str, read: int, write: int
) -> None:
    answers(read, write)
    with pytest.raises(OSError, match=rf"Cannot use --artifacts: .*{scheme}://canary.* credentials"):
        checked(scheme, tmp_path)


@pytest.mark.parametrize(("read", "write"), [(429, 429), (503, 503), (404, 503)])
def test_a_bucket_that_is_busy_or_fails_does_not_fail_a_start(
    answers: Callable[[int, int], None], tmp_path: Path, read: int, write: int
) -> None:
    answers(read, write)
    with pytest.raises(StorageUnavailable):
        checked("s3", tmp_path)


def test_a_server_without_credentials_of_its_bucket_does_not_start(
    answers: Callable[[int, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(404, 404)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(OSError, match=r"Cannot use --artifacts: .*redentials"):
        checked("s3", tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(OSError, match=r"Cannot use --artifacts: .*missing"):
        checked("s3", tmp_path)


@pytest.mark.parametrize("is_archive", [True, False])
def test_nothing_is_written_in_the_place_of_a_folder_that_is_not_mounted(
    tmp_path: Path, is_archive: bool
) -> None:
    folder = open_storage_roots(None, tmp_path / "data", copies_bytes=0).datasets
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(LocalStorageUnavailable, match="lacks its subfolder 'datasets'"):
        if is_archive:
            folder.staging_path("archive")
        else:
            folder.write("version", {"head": b"1"})
    assert not (tmp_path / "data").exists()
