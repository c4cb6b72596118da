"""Objects that a bucket did not remove are an error, so that nothing counts as removed while it is stored."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from captures import Captures
from fakes import ManualClock
from headstart_server.errors import StorageUnavailable
from headstart_server.models.store import VersionStore
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.storage_roots import StorageRoots, open_storage_roots
from s3 import Fault, S3Server

FILES = {f"file{place}": b"content" for place in range(20)}


@dataclass(kw_only=True)
class Place:
    """The folders of a bucket, and the server that has it."""

    s3: S3Server
    name: str
    roots: StorageRoots

    @property
    def bucket(self) -> Bucket:
        assert self.roots.bucket is not None
        return self.roots.bucket

    def objects(self) -> list[str]:
        return self.s3.keys(self.name)


@pytest.fixture
def place(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    name = s3.bucket()
    return Place(s3=s3, name=name, roots=open_storage_roots(f"s3://{name}", tmp_path, copies_bytes=0))


def test_objects_that_the_bucket_does_not_remove_are_an_error(place: Place) -> None:
    place.roots.versions.write("job.1", FILES)
    with place.s3.proxy.failing(Fault.UNREMOVABLE):
        with pytest.raises(StorageUnavailable) as raised:
            place.roots.versions.remove("job.1")
        assert raised.value.is_refused
        assert not VersionStore(place.roots.versions).discard("job.1")
    assert len(place.objects()) == len(FILES)
    assert VersionStore(place.roots.versions).discard("job.1")
    assert place.objects() == []


def test_objects_that_are_missing_are_no_error_and_keep_no_others(place: Place) -> None:
    place.roots.versions.write("job.1", FILES)
    path = f"{place.name}/versions/job.1"
    place.bucket.remove([f"{path}/missing", *(f"{path}/{name}" for name in FILES)])
    place.bucket.remove([f"{path}/file0"])
    place.bucket.remove([])
    assert place.objects() == []


@pytest.fixture
def captures(place: Place, tmp_path: Path) -> Iterator[Captures]:
    with closing(Captures(tmp_path, ManualClock(1_700_000_000.0), stored=place.roots.captures)) as captures:
        yield captures


def test_a_captured_input_is_not_erased_until_its_object_is_removed(captures: Captures, place: Place) -> None:
    captures.model()
    captures.write(["SECRET"])
    calls: tuple[Callable[[], object], ...] = (
        lambda: captures.eraser.erase("pets", "SECRET"),
        captures.eraser.clean,
    )
    with place.s3.proxy.failing(Fault.UNREMOVABLE):
        for call in calls:
            with pytest.raises(StorageUnavailable):
                call()
    assert b"SECRET" in [place.s3.get(place.name, key) for key in place.objects()]
    captures.eraser.clean()
    assert place.objects() == []
