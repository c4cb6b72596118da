"""A place of artifacts belongs to one database, and servers of other databases reject it."""

import itertools
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import text

from fakes import PATIENCE
from headstart_server.app.data_folder import open_roots
from headstart_server.database.database import Database
from headstart_server.errors import LocalStorageUnavailable, StorageUnavailable
from headstart_server.settings.settings import Settings
from headstart_server.storage import storage_roots
from headstart_server.storage.bucket import Bucket
from headstart_server.storage.ownership import OWNER_FILE, FileMarker, ForeignArtifactsError
from headstart_server.storage.storage_roots import StorageRoots, open_storage_roots
from postgres import on_both_databases
from s3 import Fault, S3Server


@pytest.fixture(params=["directory", "bucket"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "directory":
        return str(tmp_path / "artifacts")
    server: S3Server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket()}/some/prefix"


class Named:
    """A database with an identity."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.name = f"named {identity}"


def roots(artifacts: str | None, tmp_path: Path, replica: str = "one") -> StorageRoots:
    return open_storage_roots(artifacts, tmp_path / replica, copies_bytes=0)


def test_all_replicas_of_a_database_may_use_a_place_and_none_of_another(
    artifacts: str, tmp_path: Path
) -> None:
    one, other = roots(artifacts, tmp_path), roots(artifacts, tmp_path, "other")
    one.claim(Named("a"))
    other.claim(Named("a"))
    for _ in range(2):
        with pytest.raises(ForeignArtifactsError, match=r"named b \(b\)\. Received: 'headstart") as reported:
            other.claim(Named("b"))
    assert "Received: 'headstart database a' in the " in str(reported.value)
    one.claim(Named("a"))
    # As before each cleaning.
    one.claim(Named("a"))
    with pytest.raises(ForeignArtifactsError):
        other.claim(Named("b"))


def test_prefixes_and_folders_are_places_of_their_own(artifacts: str, tmp_path: Path) -> None:
    roots(artifacts, tmp_path).claim(Named("a"))
    roots(f"{artifacts}/further", tmp_path, "other").claim(Named("b"))


def test_the_note_is_no_artifact(artifacts: str, tmp_path: Path) -> None:
    root = roots(artifacts, tmp_path)
    root.claim(Named("a"))
    assert list(root.versions.entries()) == list(root.datasets.entries()) == []


@pytest.mark.parametrize("left", [b"", bytes(50)], ids=["empty", "zeros"])
def test_a_marker_that_a_power_failure_left_without_content_is_written_again(
    tmp_path: Path, left: bytes
) -> None:
    root = roots(str(tmp_path / "artifacts"), tmp_path)
    root.claim(Named("a"))
    (tmp_path / "artifacts" / OWNER_FILE).write_bytes(left)
    root.claim(Named("a"))
    with pytest.raises(ForeignArtifactsError):
        root.claim(Named("b"))


def test_a_marker_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, bool]] = []

    def fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append((is_folder, (tmp_path / OWNER_FILE).exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    FileMarker(tmp_path).write(b"mine")
    assert synced == [(False, False), (True, True)]


def test_a_note_of_something_else_is_not_written_over(artifacts: str, tmp_path: Path) -> None:
    root = roots(artifacts, tmp_path)
    root.marker.write(b"mine")
    with pytest.raises(ForeignArtifactsError, match="Received: 'mine' in the "):
        root.claim(Named("a"))
    assert root.marker.read() == b"mine"


def test_of_two_databases_that_claim_a_folder_at_once_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(20):
        folder, ready, won = str(tmp_path / f"artifacts{attempt}"), threading.Barrier(2), []
        both = [roots(folder, tmp_path, name) for name in "ab"]

        def claim(
            root: StorageRoots, name: str, ready: threading.Barrier = ready, won: list[str] = won
        ) -> None:
            ready.wait(PATIENCE)
            try:
                root.claim(Named(name))
            except ForeignArtifactsError:
                return
            won.append(name)

        threads = [threading.Thread(target=claim, args=each) for each in zip(both, "ab", strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        [winner] = won
        assert (tmp_path / f"artifacts{attempt}" / OWNER_FILE).read_text().endswith(f"database {winner}\n")
        assert not list((tmp_path / f"artifacts{attempt}").glob("*.part"))


def test_a_server_s_own_folder_belongs_to_one_database(tmp_path: Path) -> None:
    roots(None, tmp_path).claim(Named("a"))
    with pytest.raises(ForeignArtifactsError, match="'headstart database a' in the file"):
        roots(None, tmp_path).claim(Named("b"))


@pytest.mark.parametrize("kind", ["versions", "datasets", "captures"])
def test_artifacts_without_a_marker_are_claimed_by_no_database(
    artifacts: str, tmp_path: Path, kind: str
) -> None:
    root = roots(artifacts, tmp_path)
    getattr(root, kind).write("one", {"file": b"content"})
    with pytest.raises(ForeignArtifactsError, match="Received: artifacts without the ") as raised:
        root.claim(Named("a"))
    assert root.marker.read() is None
    [line] = re.findall("write '(.*)' to the ", str(raised.value))
    # As an operator does who knows that they are its artifacts.
    root.marker.write(line.encode())
    root.claim(Named("a"))
    with pytest.raises(ForeignArtifactsError):
        root.claim(Named("b"))


def test_a_folder_is_empty_although_its_clock_was_read_and_a_write_was_interrupted(
    artifacts: str, tmp_path: Path
) -> None:
    root = roots(artifacts, tmp_path)
    root.datasets.write("one", {"file": b"content"})
    root.datasets.remove("one")
    root.datasets.now()
    root.claim(Named("a"))


def test_a_process_that_reads_the_marker_before_another_one_claims_it_claims_it_too(
    artifacts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, first = roots(artifacts, tmp_path), roots(artifacts, tmp_path, "first")
    has_artifacts = late.marker.has_artifacts

    def claimed_meanwhile() -> bool:
        first.claim(Named("a"))
        first.versions.write("one", {"file": b"content"})
        return has_artifacts()

    monkeypatch.setattr(late.marker, "has_artifacts", claimed_meanwhile)
    late.claim(Named("a"))
    with pytest.raises(ForeignArtifactsError):
        late.claim(Named("b"))


def test_a_bucket_that_is_away_is_no_other_s(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    root = roots(f"s3://{s3.bucket()}", tmp_path)
    with s3.proxy.failing(Fault.AWAY), pytest.raises(StorageUnavailable):
        root.claim(Named("a"))
    root.claim(Named("a"))


# Where the artifacts of a database are


@pytest.fixture
def database(tmp_path: Path, address: str | None) -> Iterator[Database]:
    database = Database(address or tmp_path / "shared.sqlite3")
    forget_place(database)
    yield database
    database.close()


def forget_place(database: Database) -> None:
    """Do what docs/operate/replicas.md says for artifacts that were moved."""
    with database.write() as connection:
        connection.execute(text("UPDATE identity SET artifacts = NULL"))


@on_both_databases
def test_a_server_with_other_artifacts_than_the_database_recorded_does_not_start(
    artifacts: str, tmp_path: Path, database: Database
) -> None:
    root = roots(artifacts, tmp_path)
    root.check(database)
    roots(artifacts, tmp_path, "other").check(database)
    own = open_storage_roots(None, tmp_path / "third", copies_bytes=0, own_database=False)
    for wrong in (roots(f"{artifacts}-other", tmp_path, "fourth"), own):
        with pytest.raises(ForeignArtifactsError) as raised:
            wrong.check(database)
        assert root.name in str(raised.value)
        assert wrong.name in str(raised.value)
        assert "Give every replica the same --artifacts" in str(raised.value)
        assert "\n" not in str(raised.value)
    # As documented, once they were moved on purpose.
    forget_place(database)
    own.check(database)
    with pytest.raises(ForeignArtifactsError):
        root.check(database)


@on_both_databases
def test_a_start_with_artifacts_of_another_database_does_not_bind_the_database_to_them(
    artifacts: str, tmp_path: Path, database: Database
) -> None:
    def start(place: str) -> None:
        storage = Settings.of(artifacts=place, data_dir=tmp_path / "data").storage
        open_roots(storage, tmp_path / "local", 0).check(database)

    roots(artifacts, tmp_path).claim(Named("another"))
    with pytest.raises(ForeignArtifactsError, match="Expected artifacts of the database"):
        start(artifacts)
    start(f"{artifacts}-own")
    with pytest.raises(ForeignArtifactsError, match="Give every replica the same --artifacts"):
        start(artifacts)


def test_a_folder_is_the_same_wherever_it_is_mounted(tmp_path: Path, database: Database) -> None:
    roots(str(tmp_path / "artifacts"), tmp_path).check(database)
    (tmp_path / "mounted").symlink_to(tmp_path / "artifacts")
    roots(str(tmp_path / "mounted"), tmp_path).check(database)
    shutil.copytree(tmp_path / "artifacts", tmp_path / "copied")
    roots(str(tmp_path / "copied"), tmp_path).check(database)


def test_the_folder_of_a_servers_own_database_needs_no_mark(tmp_path: Path, database: Database) -> None:
    own = open_storage_roots(None, tmp_path / "data", copies_bytes=0)
    own.check(database)
    roots(str(tmp_path / "artifacts"), tmp_path).check(database)


def test_nothing_is_damaged_while_the_folder_is_not_mounted(tmp_path: Path, database: Database) -> None:
    root = roots(str(tmp_path / "artifacts"), tmp_path)
    root.check(database)
    root.versions.write("v", {"file": b"content"})
    with pytest.raises(FileNotFoundError):
        root.versions.read("v", "other")
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    (tmp_path / "artifacts").mkdir()
    with pytest.raises(LocalStorageUnavailable, match="lacks its file"):
        root.versions.read("v", "file")
    with pytest.raises(LocalStorageUnavailable, match="lacks its file"):
        root.datasets.open("job.zip")
    (tmp_path / "artifacts").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "artifacts")
    assert root.versions.read("v", "file") == b"content"


# Which bucket it is


class Endpoint(DirFileSystem):  # type: ignore[misc]
    """The buckets of an endpoint, in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), LocalFileSystem(auto_mkdir=True, skip_instance_cache=True))
        self.folder = folder
        self.is_away = False

    def cat_file(self, *arguments: Any, **options: Any) -> Any:
        if self.is_away:
            raise ConnectionError("No answer.")
        return super().cat_file(*arguments, **options)

    def objects(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


class LateDatabase:
    """A database in which another server records the artifacts just after this one has read the record."""

    def __init__(self, database: Database) -> None:
        self.name, self.identity = database.name, database.identity
        self.record_artifacts = database.record_artifacts

    def artifacts(self) -> None:
        return None


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Endpoint], StorageRoots]:
    """Return a function that opens the roots of a further replica with the bucket `b` of an endpoint."""
    replicas = itertools.count()

    def start(endpoint: Endpoint) -> StorageRoots:
        monkeypatch.setattr(storage_roots, "open_bucket", lambda _: Bucket(endpoint, "s3://b"))
        return roots("s3://b/prefix", tmp_path, f"replica{next(replicas)}")

    return start


@on_both_databases
def test_a_bucket_of_the_same_name_at_another_endpoint_is_another_one(
    tmp_path: Path, database: Database, start: Callable[[Endpoint], StorageRoots]
) -> None:
    here, elsewhere = Endpoint(tmp_path / "here"), Endpoint(tmp_path / "elsewhere")
    for _ in range(2):
        start(here).check(database)
    # The owner, and one object that identifies the bucket.
    assert len(here.objects()) == 2
    with pytest.raises(ForeignArtifactsError, match="another bucket of the same name") as raised:
        start(elsewhere).check(database)
    assert "AWS_ENDPOINT_URL_S3" in str(raised.value)
    assert elsewhere.objects() == []
    # As documented, once they were moved on purpose.
    forget_place(database)
    start(elsewhere).check(database)
    with pytest.raises(ForeignArtifactsError):
        start(here).check(database)


def test_of_replicas_that_first_start_at_once_all_with_the_same_bucket_start(
    tmp_path: Path, database: Database, start: Callable[[Endpoint], StorageRoots]
) -> None:
    here, elsewhere = Endpoint(tmp_path / "here"), Endpoint(tmp_path / "elsewhere")
    start(here).check(database)
    late = LateDatabase(database)
    start(here).check(late)
    with pytest.raises(ForeignArtifactsError, match="another bucket of the same name"):
        start(elsewhere).check(late)
    start(here).check(database)


def test_a_bucket_that_was_away_at_the_start_is_checked_before_it_is_used(
    tmp_path: Path, database: Database, start: Callable[[Endpoint], StorageRoots]
) -> None:
    here, elsewhere = Endpoint(tmp_path / "here"), Endpoint(tmp_path / "elsewhere")
    start(here).check(database)
    before = here.objects()
    for endpoint in (here, elsewhere):
        root = start(endpoint)
        endpoint.is_away = True
        with pytest.raises(StorageUnavailable):
            root.check(database)
        endpoint.is_away = False
        if endpoint is here:
            root.versions.write("v", {"file": b"content"})
            assert here.objects() == [*before, "b/prefix/versions/v/file"]
            continue
        for use in (
            lambda root=root: root.versions.write("v", {"file": b""}),
            lambda root=root: root.claim(Named("a")),
        ):
            with pytest.raises(StorageUnavailable) as raised:
                use()
            assert "another bucket of the same name" in raised.value.detail
        assert elsewhere.objects() == []


def test_a_bucket_that_was_recorded_by_its_name_alone_is_recorded_with_its_identity(
    tmp_path: Path, database: Database, start: Callable[[Endpoint], StorageRoots]
) -> None:
    here = Endpoint(tmp_path / "here")
    root = start(here)
    database.record_artifacts(root.name, root.name)
    root.check(database)
    recorded = database.artifacts()
    assert recorded is not None
    _, path = here.objects()
    assert recorded == (f"{root.name} {path.rpartition('-')[2]}", root.name)
