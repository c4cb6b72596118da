"""Deleting the data of an example: nothing of its content is left, and nothing goes on from it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import select

from fakes import FakeBackbone, JobDriver, ManualClock
from headstart_server.auth.permissions import Scope
from headstart_server.database.dataset_tables import forgotten
from headstart_server.datasets import erasure_follower
from headstart_server.datasets.erasure_follower import AGAIN_SECONDS
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRequest
from headstart_server.datasets.example_archive import RetainedExamples
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import (
    ArtifactDamaged,
    ExampleNotFound,
    InvalidField,
    LocalStorageUnavailable,
    ModelNotFound,
    StorageUnavailable,
)
from headstart_server.models.store import EXAMPLES_FILE
from postgres import on_both_databases
from workbench import Workbench, pet, pets

CAT, DIGEST = pet("cat", 0), content_digest(pet("cat", 0).content)


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    yield bench
    bench.close()


def on_disk(bench: Workbench) -> bytes:
    return b"".join(path.read_bytes() for path in bench.folder.iterdir())


def test_content_and_features_are_erased_and_the_versions_trained_on_it_are_listed(bench: Workbench) -> None:
    bench.published(pets(4))
    bench.published(pets(1, start=4), parent_version=1)
    bench.published(pets(4, words=("emu", "owl")), model="birds")
    assert CAT.content in on_disk(bench)
    found = bench.eraser.erase("cat0")
    assert found.versions == [("pets", 1), ("pets", 2)]
    assert (found.contents, list(found.job_ids), list(found.unread)) == (1, [], [])
    assert CAT.content not in on_disk(bench)
    assert pet("cat", 1).content in on_disk(bench)


def test_only_the_examples_of_a_scope_are_deleted(bench: Workbench) -> None:
    for model in ("pets", "red/pets", "red/cars"):
        bench.published(pets(4), model=model)
    found = bench.eraser.erase("cat0", scope=Scope(tenant="red", models=("p*",)))
    assert found.versions == [("red/pets", 1)]
    assert CAT.content in on_disk(bench)
    with pytest.raises(ExampleNotFound):
        bench.eraser.erase("cat0", scope=Scope(tenant="blue"))
    found = bench.eraser.erase("cat0", scope=Scope())
    assert found.versions == [("pets", 1)]


def test_a_call_neither_does_nor_counts_what_others_have_pending(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise StorageUnavailable("The bucket does not answer.")

    for model in ("red/pets", "blue/pets"):
        bench.published(pets(4), model=model)
    red, blue = Scope(tenant="red"), Scope(tenant="blue")
    # The bucket fails between the note and the deletion, so that it is left to a cleaning.
    with monkeypatch.context() as patch:
        patch.setattr(bench.datasets, "rewrite", away)
        with pytest.raises(StorageUnavailable):
            bench.eraser.erase("cat0", scope=red)
    found = bench.eraser.erase("cat0", scope=blue)
    assert (found.contents, found.versions) == (1, [("blue/pets", 1)])
    assert CAT.content in on_disk(bench)
    assert bench.eraser.carry_out() == 1
    assert CAT.content not in on_disk(bench)


def test_contents_count_although_the_cleaning_of_another_replica_removes_them_first(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cleaned_before(*arguments: Any) -> int:
        patch.undo()
        assert bench.eraser.carry_out() == 1
        return bench.datasets.rewrite(*arguments)

    bench.published(pets(4))
    with monkeypatch.context() as patch:
        patch.setattr(bench.datasets, "rewrite", cleaned_before)
        found = bench.eraser.erase("cat0")
    assert (found.contents, found.versions) == (1, [("pets", 1)])
    assert CAT.content not in on_disk(bench)


def fail_reads(bench: Workbench, patch: pytest.MonkeyPatch, *archives: str) -> None:
    """Let the disk fail when some archives are read."""
    whole = bench.datasets.rewrite

    def rewrite(archive: str, *arguments: Any) -> int:
        if archive in archives:
            raise LocalStorageUnavailable("The disk cannot read it.")
        return whole(archive, *arguments)

    patch.setattr(bench.datasets, "rewrite", rewrite)


@on_both_databases
def test_an_archive_that_cannot_be_read_delays_no_other(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = (bench.published(pets(4), model=model) for model in ("red/pets", "blue/pets"))
    # It sorts before the other one.
    first, second = sorted([red, blue], key=lambda version: version.manifest.job_id)
    archives = [version.manifest.job_id for version in (first, second)]
    fail_reads(bench, monkeypatch, *archives)
    for version in (first, second):
        with pytest.raises(LocalStorageUnavailable):
            bench.eraser.erase("cat0", version.model)
    monkeypatch.undo()
    fail_reads(bench, monkeypatch, archives[0])
    with pytest.raises(LocalStorageUnavailable):
        bench.eraser.carry_out()
    assert CAT.content in (bench.folder / f"{archives[0]}.zip").read_bytes()
    assert CAT.content not in (bench.folder / f"{archives[1]}.zip").read_bytes()
    monkeypatch.undo()
    assert bench.eraser.carry_out() == 1
    assert CAT.content not in on_disk(bench)


@on_both_databases
def test_an_archive_that_cannot_be_read_fails_only_the_rebuilds_of_its_examples(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, _ = (bench.published(pets(4), model=model) for model in ("red/pets", "blue/pets"))
    fail_reads(bench, monkeypatch, red.manifest.job_id)
    service = bench.erasure_service()
    for _ in range(2):
        with pytest.raises(LocalStorageUnavailable):
            service.erase(ErasureRequest(example_id="cat0", model="red/pets", request_id="r"), rebuild=True)
    request = ErasureRequest(example_id="dog1", model="blue/pets", request_id="b")
    _, record = service.erase(request, rebuild=True)
    assert record is not None
    assert record.finished is not None
    # Neither does it stop the resumption of others.
    log = ErasureLog(bench.driver.publisher.database)
    bench.eraser.begin(ErasureRequest(example_id="dog2", model="blue/pets", request_id="c"), log)
    with pytest.raises(LocalStorageUnavailable):
        service.resume()
    assert len(log.unfinished()) == 1
    monkeypatch.undo()
    assert service.resume() == 1
    assert CAT.content not in (bench.folder / f"{red.manifest.job_id}.zip").read_bytes()


def test_an_archive_that_cannot_be_removed_fails_no_rebuild_of_others(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4), model="red/pets")
    bench.published(pets(4), model="blue/pets")
    with monkeypatch.context() as patch:
        # As a server that was killed before it removed the archive.
        patch.setattr("headstart_server.models.store.VersionStore.discard", lambda *_: False)
        bench.registry.delete_model("red/pets", force=True)

    def refuse(archive: str) -> None:
        raise LocalStorageUnavailable("It cannot be removed.")

    monkeypatch.setattr(bench.datasets, "remove", refuse)
    request = ErasureRequest(example_id="dog1", model="blue/pets", request_id="b")
    _, record = bench.erasure_service().erase(request, rebuild=True)
    assert record is not None
    assert record.finished is not None


def test_contents_of_a_damaged_archive_do_not_count(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> int:
        raise ArtifactDamaged("The archive is damaged.")

    bench.published(pets(4))
    monkeypatch.setattr(bench.datasets, "rewrite", damaged)
    assert bench.eraser.erase("cat0").contents == 0


def test_its_features_are_computed_again_when_it_comes_again(bench: Workbench) -> None:
    bench.published(pets(4))
    before = bench.backbone.decoded.total()
    bench.published(pets(4), model="again")
    assert bench.backbone.decoded.total() == before
    bench.eraser.erase("cat0", "pets")
    bench.published(pets(4), model="again")
    assert bench.backbone.decoded.total() == before + 1


def test_children_are_not_trained_on_it(bench: Workbench) -> None:
    bench.published(pets(4))
    bench.eraser.erase("cat0")
    child = bench.published(pets(1, start=4), parent_version=1)
    assert set(bench.ids(child)) == {example.id for example in pets(5)} - {"cat0"}
    assert child.manifest.removed_count == 1
    assert bench.eraser.erase("dog4").versions == [("pets", 2)]


def test_a_job_that_waits_leaves_it_out(bench: Workbench) -> None:
    job = bench.accept(pets(4))
    found = bench.eraser.erase("cat0")
    assert (found.job_ids, found.versions, found.contents) == ([job.job_id], [], 1)
    with closing(bench.datasets.open(job.job_id)) as dataset:
        assert len(dataset) == 11
        assert "cat0" not in {example.id for example in dataset.examples}
        assert [dataset.read(place) for place in range(11)]


def test_the_version_of_a_job_that_ends_between_the_search_and_the_record_is_listed(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.accept(pets(4))
    before_record(bench, monkeypatch, bench.run)
    found = bench.eraser.erase("cat0")
    assert (found.versions, found.job_ids) == ([("pets", 1)], [])


def test_a_version_that_is_published_between_the_search_and_the_record_is_listed(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    before_record(bench, monkeypatch, lambda: bench.published(pets(4), seed=2))
    assert bench.eraser.erase("cat0").versions == [("pets", 1), ("pets", 2)]
    assert CAT.content not in on_disk(bench)


def before_record(bench: Workbench, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something once, between the search for an example and the record of its erasure."""
    record, waiting = bench.eraser._note, [True]

    def record_late(*arguments: Any) -> None:
        if waiting:
            waiting.clear()
            work()
        record(*arguments)

    monkeypatch.setattr(bench.eraser, "_note", record_late)


def test_the_archive_of_a_job_that_ended_without_a_version_is_removed(
    bench: Workbench, driver: JobDriver
) -> None:
    """Its replica was killed before it removed the archive."""
    bench.published(pets(4))
    job = bench.accept(pets(4))
    driver.job_store.queue.cancel(job.job_id)
    assert (bench.folder / f"{job.job_id}.zip").exists()
    assert bench.eraser.erase("cat0").versions == [("pets", 1)]
    assert CAT.content not in on_disk(bench)


def test_of_one_model_the_examples_of_another_stay(bench: Workbench) -> None:
    bench.published(pets(4))
    bench.published(pets(4), model="others")
    assert bench.eraser.erase("cat0", "pets").versions == [("pets", 1)]
    assert CAT.content in on_disk(bench)
    assert bench.eraser.erase("cat0").versions == [("others", 1), ("pets", 1)]
    assert CAT.content not in on_disk(bench)


def test_it_can_be_repeated(bench: Workbench) -> None:
    bench.published(pets(4))
    assert bench.eraser.erase("cat0").contents == 1
    again = bench.eraser.erase("cat0")
    assert (again.versions, again.contents) == ([("pets", 1)], 0)


def test_an_example_of_versions_that_keep_no_contents_is_reported_too(bench: Workbench) -> None:
    bench.published(pets(4), discard_examples=True)
    bench.archives.sweep()
    found = bench.eraser.erase("cat0")
    assert (found.versions, found.contents) == ([("pets", 1)], 0)


def test_the_other_contents_of_a_rewritten_archive_are_whole(bench: Workbench) -> None:
    version = bench.published(pets(4))
    bench.eraser.erase("cat0")
    bench.eraser.erase("dog2")
    with ZipFile(bench.folder / f"{version.manifest.job_id}.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 12 - 2 + 1
    kept = RetainedExamples(bench.registry, bench.datasets.reader)
    assert len(kept.contents(version, range(12))) == 10
    assert not list(bench.folder.glob("*.part"))


def test_what_could_not_be_ended_is_ended_by_a_cleaning(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))

    def away(*_: object) -> int:
        raise StorageUnavailable("The bucket does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.datasets, "rewrite", away)
        with pytest.raises(StorageUnavailable):
            bench.eraser.erase("cat0")
    assert CAT.content in on_disk(bench)
    assert "cat0" not in bench.ids(bench.published(parent_version=1))
    assert bench.eraser.carry_out() == 1
    assert CAT.content not in on_disk(bench)
    assert bench.eraser.carry_out() == 0


#: Forgets `cat0` in a process that is killed at a chosen point.
KILLED = """
import os, signal, sys
from pathlib import Path
from headstart_server.database.database import Database
from headstart_server.datasets import dataset_store, example_eraser
from headstart_server.datasets.erasure_log import ErasedMembers
from headstart_server.learning.examples.dataset import DatasetLimits
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore

address, versions, examples, point = sys.argv[1:]
database = Database(address)
registry = Registry(database, VersionStore(Path(versions)), ResidentVersions(1))
places = ErasedMembers(database)
store = dataset_store.DatasetStore(Path(examples), DatasetLimits(), places.among)

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if point == "noted":
    store.rewrite = killed
elif point == "half written":
    whole = dataset_store.ZipFile.writestr
    dataset_store.ZipFile.writestr = lambda self, name, *rest, **more: (
        killed() if name == "00000007" else whole(self, name, *rest, **more)
    )
elif point == "written":
    example_eraser._note_rewritten = killed
example_eraser.ExampleEraser(database, registry, store, killed).erase("cat0")
"""


@pytest.mark.parametrize("point", ["noted", "half written", "written"])
@on_both_databases
def test_what_a_killed_server_had_begun_is_ended_by_the_next_cleaning(
    bench: Workbench, driver: JobDriver, address: str | None, point: str
) -> None:
    bench.published(pets(4))
    before = {path.name for path in bench.folder.iterdir()}
    folder = driver.publisher.folder
    database = address or f"sqlite:///{folder / 'headstart.sqlite3'}"
    command = [sys.executable, "-c", KILLED, database, str(folder / "versions"), str(bench.folder), point]
    process = subprocess.run(command, timeout=120, check=False)
    assert process.returncode == -signal.SIGKILL
    assert (CAT.content in on_disk(bench)) is (point != "written")
    # Nothing is trained on it, whatever of it is still there.
    assert "cat0" not in bench.ids(bench.published(parent_version=1))
    assert bench.eraser.carry_out() == (0 if point == "written" else 1)
    bench.archives.recover()
    assert CAT.content not in on_disk(bench)
    assert before <= {path.name for path in bench.folder.iterdir()}
    assert not list(bench.folder.glob("*.part"))
    version = bench.registry.reader.version("pets", 1)
    assert len(RetainedExamples(bench.registry, bench.datasets.reader).contents(version, range(12))) == 11


def test_what_another_replica_put_back_before_it_was_killed_is_taken_out_again(
    bench: Workbench, clock: ManualClock
) -> None:
    """It had begun to write the archive without `dog1` before it read of another one, and took long."""
    version = bench.published(pets(4))
    bench.eraser.erase("dog1")
    archive = bench.folder / f"{version.manifest.job_id}.zip"
    without_dog = archive.read_bytes()
    bench.eraser.erase("cat0")
    archive.write_bytes(without_dog)
    assert bench.eraser.carry_out() == 0
    clock.advance(AGAIN_SECONDS + 1)
    assert bench.eraser.carry_out() == 1
    assert CAT.content not in on_disk(bench)
    # That was a change, so it is looked at once more, and then no more.
    clock.advance(AGAIN_SECONDS + 1)
    assert bench.eraser.carry_out() == 0
    clock.advance(AGAIN_SECONDS + 1)
    archive.write_bytes(b"never opened")
    assert bench.eraser.carry_out() == 0


def test_another_replica_drops_what_it_has_when_it_looks(bench: Workbench, driver: JobDriver) -> None:
    bench.published(pets(4))
    dropped: list[tuple[set[str], set[str]]] = []
    other = type(bench.eraser)(
        driver.publisher.database, bench.registry, bench.datasets, lambda *what: dropped.append(what)
    )
    other.follower.drop_here()
    assert dropped == []
    bench.eraser.erase("cat0")
    other.follower.drop_here()
    [(digests, archives)] = dropped
    assert (digests, len(archives)) == ({DIGEST}, 1)


def test_digests_are_removed_in_parts_once_they_are_not_needed(
    bench: Workbench, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_follower, "_DIGESTS_AT_ONCE", 2)
    bench.published(pets(8))
    for place in range(5):
        bench.eraser.erase(f"cat{place}")

    def digests() -> list[str]:
        with bench.driver.publisher.database.read() as connection:
            return sorted(connection.execute(select(forgotten.c.digest)).scalars())

    assert all(digests())
    bench.eraser.follower.drop_here()
    clock.advance(AGAIN_SECONDS + 1)
    bench.eraser.follower.forget_digests()
    assert digests() == [""] * 5


def test_a_version_whose_list_is_damaged_is_listed_apart(bench: Workbench) -> None:
    version = bench.published(pets(4))
    bench.published(pets(4), model="whole")
    (bench.driver.publisher.folder / "versions" / version.artifact / EXAMPLES_FILE).write_bytes(b"torn")
    found = bench.eraser.erase("cat0")
    assert (found.versions, found.unread) == ([("whole", 1)], [("pets", 1)])


def test_what_is_not_there_is_reported(bench: Workbench) -> None:
    bench.published(pets(4))
    with pytest.raises(ExampleNotFound, match="No version and no unfinished job") as caught:
        bench.eraser.erase("cat99")
    assert caught.value.metadata == {"id": "cat99"}
    with pytest.raises(ModelNotFound):
        bench.eraser.erase("cat0", "cars")
    with pytest.raises(InvalidField, match="The ID of the example is missing"):
        bench.eraser.erase("")


def test_an_archive_that_is_gone_has_nothing_to_take_out(bench: Workbench) -> None:
    assert bench.datasets.rewrite("gone", {1}) == 0
    (bench.folder / "torn.zip").write_bytes(b"torn")
    with pytest.raises(ArtifactDamaged):
        bench.datasets.rewrite("torn", {1})
