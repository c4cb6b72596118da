"""Faults of a disk: they are named, and none of them is taken for damage."""

import errno
import gzip
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, Gauge

from fakes import ManualClock, make_head, make_manifest
from full_disk import FullDisk
from headstart_server.datasets.dataset_store import DatasetStore
from headstart_server.errors import ArtifactDamaged, HeadstartError, LocalStorageUnavailable, StorageFull
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.models.store import HEAD_FILE, VersionStore
from headstart_server.storage import disk
from headstart_server.storage.circuit_breaker import FullDisks
from headstart_server.storage.directory import DirectoryFolder
from headstart_server.storage.disk import PLACE, probe, storage_errors, storage_fault

FAULTS = [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EACCES, errno.EPERM]


@pytest.fixture
def datasets(tmp_path: Path) -> DatasetStore:
    limits = DatasetLimits(max_examples=10, max_bytes=1000, max_input_bytes=100, max_classes=10)
    store = DatasetStore(tmp_path / "datasets", limits)
    writer = store.writer("job")
    writer.add([Example(content=f"{name}:1".encode(), target=Target.of_label(name)) for name in "ab"])
    writer.finish()
    return store


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Let each opening of a file fail."""

    def fail(path: Path, *_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        patched.setattr(Path, "read_bytes", fail)
        yield


@pytest.mark.parametrize("number", FAULTS)
def test_a_fault_of_the_storage_is_not_damage(
    tmp_path: Path, datasets: DatasetStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    versions = VersionStore(tmp_path / "versions")
    manifest, _ = versions.write("v", make_head(), make_manifest(files={}))
    for read in (
        lambda: datasets.open("job"),
        lambda: datasets.rewrite("job", [0]),
        lambda: versions.read("v", manifest),
        lambda: versions.read_manifest("v"),
    ):
        with failing(monkeypatch, number), pytest.raises(LocalStorageUnavailable) as raised:
            read()
        assert errno.errorcode[number] in raised.value.message
        assert "Delete" not in raised.value.message
        assert raised.value.reason == "STORAGE_UNAVAILABLE"
    # And all is there afterwards.
    with closing(datasets.open("job")) as dataset:
        assert dataset.read(0) == b"a:1"


def test_a_process_without_a_file_to_open_does_not_find_its_archives_damaged(datasets: DatasetStore) -> None:
    with no_descriptor_left(), pytest.raises(LocalStorageUnavailable, match="EMFILE"):
        datasets.open("job")


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open no file, even if another thread closes one just before."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        lowest = os.open("/dev/null", os.O_RDONLY)
        held.callback(os.close, lowest)
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))
        with suppress(OSError):
            while True:
                held.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        yield


def test_what_is_missing_or_cannot_be_decoded_is_damage(tmp_path: Path, datasets: DatasetStore) -> None:
    with pytest.raises(ArtifactDamaged):
        datasets.open("other")
    (tmp_path / "datasets" / "job.zip").write_bytes(b"no archive")
    with pytest.raises(ArtifactDamaged):
        datasets.open("job")
    versions = VersionStore(tmp_path / "versions")
    manifest, _ = versions.write("v", make_head(), make_manifest(files={}))
    (tmp_path / "versions" / "v" / HEAD_FILE).write_bytes(b"torn")
    with pytest.raises(ArtifactDamaged, match="digest"):
        versions.read("v", manifest)
    (tmp_path / "versions" / "v" / HEAD_FILE).unlink()
    with pytest.raises(ArtifactDamaged, match="is missing"):
        versions.read("v", manifest)


def test_an_error_of_a_decoder_says_nothing_of_the_storage() -> None:
    assert storage_fault(gzip.BadGzipFile("no gzip")) is None
    assert storage_fault(FileNotFoundError(errno.ENOENT, "")) is None
    fault: HeadstartError | None = storage_fault(MemoryError())
    assert isinstance(fault, LocalStorageUnavailable)


# A full disk


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> FullDisks:
    disks = FullDisks(clock)
    monkeypatch.setattr(disk, "FULL_DISKS", disks)
    return disks


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(0.0)


def test_a_full_disk_is_logged_once_and_so_is_its_end(
    tmp_path: Path, disks: FullDisks, clock: ManualClock
) -> None:
    folder = DirectoryFolder(tmp_path)
    gauge = Gauge("full", "", registry=CollectorRegistry())
    gauge.set_function(lambda: disks.states((PLACE,))[PLACE])
    with structlog.testing.capture_logs() as logs, FullDisk(tmp_path) as full:
        full.full_while = lambda: True
        for _ in range(50):
            with pytest.raises(StorageFull):
                folder.write("v", {"file": b"content"})
        assert [event["event"] for event in logs] == ["disk_full"]
        assert disks.states((PLACE,)) == {PLACE: 1.0}
        clock.advance(61)
        with pytest.raises(StorageFull):
            folder.write("v", {"file": b"content"})
        assert [event["event"] for event in logs] == ["disk_full"] * 2
        full.full_while = lambda: False
        # One write that succeeds at once says little.
        folder.write("v", {"file": b"content"})
        assert disks.is_full(PLACE)
        clock.advance(11)
        folder.write("v", {"file": b"content"})
        assert [event["event"] for event in logs] == ["disk_full"] * 2 + ["disk_space_available"]
    assert disks.states((PLACE,)) == {PLACE: 0.0}


def test_a_disk_that_no_one_writes_to_is_probed(tmp_path: Path, disks: FullDisks, clock: ManualClock) -> None:
    with FullDisk(tmp_path) as full:
        full.full_while = lambda: True
        disks.found_full(PLACE)
        clock.advance(30)
        probe(tmp_path)
        assert disks.is_full(PLACE)
        full.full_while = lambda: False
        clock.advance(30)
        probe(tmp_path)
    assert not disks.is_full(PLACE)
    assert list(tmp_path.iterdir()) == []


def test_a_small_device_that_is_full_is_found_so() -> None:
    with pytest.raises(StorageFull), storage_errors(), Path("/dev/full").open("wb") as file:
        file.write(b"content")
        file.flush()
