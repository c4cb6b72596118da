"""Named datasets: batches are durable, repeatable and in order, and jobs use them without a copy."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes import JobDriver, Publisher
from headstart_server.auth.permissions import Scope
from headstart_server.datasets import batch_writer, dataset_catalog
from headstart_server.datasets.dataset_catalog import NO_EXAMPLES
from headstart_server.datasets.named_dataset import DatasetState
from headstart_server.errors import (
    BatchConflict,
    BatchMissing,
    ChecksumMismatch,
    DatabaseUnavailable,
    DatasetExists,
    DatasetFinished,
    DatasetNotFound,
    DatasetNotReady,
    DatasetTooLarge,
    EmptyDataset,
    EtagMismatch,
    ExampleNotFound,
    ExamplesNotKept,
    HeadstartError,
    InvalidField,
    InvalidStream,
    QuotaExceeded,
    TenantQuotaExceeded,
    TooManyClasses,
    WrongModality,
    WrongTask,
)
from headstart_server.jobs.job_counts import DataCounts
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.jobs.stored import TenantLimits
from headstart_server.learning.examples.dataset import DatasetLimits, Example
from headstart_server.learning.examples.target import Target
from headstart_server.learning.examples.task import Task
from postgres import on_both_databases
from workbench import Workbench, pet, pets

pytestmark = on_both_databases
DETAILS: dict[str, Any] = {"display_name": "", "description": "", "tags": {}}


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Workbench]:
    bench = Workbench(tmp_path, driver)
    yield bench
    bench.close()


def created(bench: Workbench, name: str = "pets") -> None:
    bench.catalog.create(name, DETAILS)


def files(bench: Workbench) -> int:
    return len(list(bench.folder.iterdir()))


def test_batches_are_written_in_order_and_counted(bench: Workbench) -> None:
    new = bench.catalog.create("pets", {**DETAILS, "display_name": "Pets", "tags": {"a": "b"}})
    assert (new.state, new.next_batch, new.example_count) == (DatasetState.OPEN, 0, 0)
    assert (new.checksum, new.task, new.modality, new.tags) == (NO_EXAMPLES, None, None, {"a": "b"})
    first = bench.write("pets", 0, pets(2))
    second = bench.write("pets", 1, pets(1, start=2))
    assert (first.next_batch, first.example_count) == (1, 6)
    assert (second.next_batch, second.example_count) == (2, 9)
    assert second.class_counts == {"cat": 3, "dog": 3, "emu": 3}
    assert (second.task, second.modality.value) == (Task.SINGLE_LABEL, "image")
    assert second.checksum not in (first.checksum, NO_EXAMPLES)
    assert second.nbytes == sum(path.stat().st_size for path in bench.folder.iterdir())
    done = bench.catalog.finish("pets", 9)
    assert done.state is DatasetState.READY
    sent = [*pets(2), *pets(1, start=2)]
    assert [one.id for one in bench.catalog.examples("pets")] == [each.id for each in sent]
    assert bench.catalog.finish("pets") == done
    assert len({new.etag, first.etag, second.etag, done.etag}) == 4


def test_a_repeated_batch_changes_nothing_and_another_one_is_rejected(bench: Workbench) -> None:
    created(bench)
    first = bench.write("pets", 0, pets(2))
    assert bench.write("pets", 0, pets(2)) == first
    assert files(bench) == 1
    for other in (pets(1), [*pets(2)[:-1], pet("emu", 9)], [replace(each, weight=2.0) for each in pets(2)]):
        with pytest.raises(BatchConflict) as caught:
            bench.write("pets", 0, other)
        assert caught.value.metadata["next_batch"] == "1"
    with pytest.raises(BatchMissing) as missing:
        bench.write("pets", 2, pets(1, start=3))
    assert missing.value.metadata["next_batch"] == "1"
    assert "Continue with batch 1" in missing.value.message
    bench.catalog.finish("pets")
    assert bench.write("pets", 0, pets(2)).example_count == 6
    with pytest.raises(DatasetFinished):
        bench.write("pets", 1, pets(1, start=3))
    assert files(bench) == 1


def test_the_checksum_is_compared_before_anything_is_written(bench: Workbench) -> None:
    created(bench)
    expected = bench.write("pets", 0, pets(1)).checksum
    with pytest.raises(ChecksumMismatch):
        bench.write("pets", 1, pets(1, start=1), expected=expected)
    assert bench.catalog.get("pets").next_batch == 1
    assert files(bench) == 1
    assert bench.write("pets", 0, pets(1), expected=expected).next_batch == 1
    with pytest.raises(ChecksumMismatch):
        bench.write("pets", 0, pets(1), expected=NO_EXAMPLES)


def test_a_bad_batch_names_its_example_and_leaves_nothing(bench: Workbench) -> None:
    created(bench)
    bench.write("pets", 0, [pet("cat", 0), pet("dog", 0)])
    text = Example(content="words", target=Target.of_label("cat"))
    number = Example(content=b"1", target=Target.of_value(1.0))
    row = Example(content=np.ones(3, np.float32), target=Target.of_label("cat"))
    for error, bad in (
        (WrongModality, text),
        (WrongModality, row),
        (WrongTask, number),
        (InvalidField, pet("cat", 0)),
        (InvalidField, pet("cat", 1, weight=-1.0)),
    ):
        with pytest.raises(error) as caught:
            bench.write("pets", 1, [pet("emu", 1), bad])
        assert "ample 1" in caught.value.message
    with pytest.raises(InvalidField):
        bench.write("pets", 1, [])
    with pytest.raises(InvalidField, match="used in batch 0"):
        bench.write("pets", 1, [pet("dog", 0)])
    assert bench.write("pets", 1, [pet("emu", 1)]).example_count == 3
    assert files(bench) == 2


def test_the_limits_of_a_dataset_hold_over_all_batches(tmp_path: Path, driver: JobDriver) -> None:
    bench = Workbench(tmp_path, driver, limits=DatasetLimits(max_examples=5, max_classes=3))
    try:
        created(bench)
        bench.write("pets", 0, pets(1))
        with pytest.raises(TooManyClasses):
            bench.write("pets", 1, [pet("owl", 1)])
        with pytest.raises(DatasetTooLarge):
            bench.write("pets", 1, pets(1, start=1))
        assert (bench.catalog.get("pets").example_count, files(bench)) == (3, 1)
    finally:
        bench.close()


def test_the_number_of_batches_and_datasets_is_limited(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "MAX_BATCHES", 1)
    monkeypatch.setattr(dataset_catalog, "MAX_DATASETS", 2)
    created(bench)
    bench.write("pets", 0, pets(1))
    with pytest.raises(InvalidField, match="at most 1 batches"):
        bench.write("pets", 1, pets(1, start=1))
    created(bench, "cars")
    with pytest.raises(QuotaExceeded):
        created(bench, "birds")
    created(bench, "red/birds")


def test_a_dataset_is_finished_only_whole(bench: Workbench) -> None:
    created(bench)
    with pytest.raises(EmptyDataset):
        bench.catalog.finish("pets")
    bench.write("pets", 0, pets(1))
    with pytest.raises(DatasetNotReady) as caught:
        bench.catalog.finish("pets", 4)
    assert caught.value.metadata == {"example_count": "3", "next_batch": "1"}
    with pytest.raises(DatasetNotReady):
        bench.catalog.examples("pets")
    with pytest.raises(DatasetNotReady):
        bench.accept(dataset="pets")
    bench.catalog.finish("pets", 3)
    with pytest.raises(DatasetNotReady):
        bench.catalog.finish("pets", 4)


def test_datasets_are_listed_changed_and_deleted_by_name(bench: Workbench) -> None:
    for name in ("pets", "cars", "red/pets", "red/cars"):
        created(bench, name)
    assert [each.name for each in bench.catalog.listed(after="", limit=9, scope=Scope())] == ["cars", "pets"]
    red = Scope(tenant="red", models=("p*",))
    assert [each.name for each in bench.catalog.listed(after="", limit=9, scope=red)] == ["red/pets"]
    assert [each.name for each in bench.catalog.listed(after="cars", limit=1, scope=None)] == ["pets"]
    with pytest.raises(DatasetExists):
        created(bench)
    before = bench.catalog.get("pets")
    changed = bench.catalog.update("pets", {"description": "all pets"})
    assert (changed.description, changed.display_name) == ("all pets", "")
    with pytest.raises(EtagMismatch):
        bench.catalog.delete("pets", before.etag)
    bench.catalog.delete("pets", changed.etag)
    for call in (bench.catalog.get, bench.catalog.delete, bench.catalog.finish, bench.catalog.examples):
        with pytest.raises(DatasetNotFound):
            call("pets")
    with pytest.raises(DatasetNotFound):
        bench.write("pets", 0, pets(1))


def test_a_job_uses_a_dataset_without_a_copy_and_keeps_it_after_its_deletion(bench: Workbench) -> None:
    sent = bench.published(pets(4))
    stored = bench.stored_dataset("pets", pets(2), pets(2, start=2))
    written = {path.stem for path in bench.folder.iterdir()}
    version = bench.published(dataset="pets")
    assert version.manifest.dataset_digest == sent.manifest.dataset_digest == stored.digest
    assert sorted(bench.ids(version)) == sorted(bench.ids(sent))
    own = bench.folder / f"{version.manifest.job_id}.zip"
    assert own.stat().st_size < 1500
    job = bench.driver.job_store.reader.get(version.manifest.job_id)
    assert job.spec.dataset == "pets"
    bench.catalog.delete("pets")
    assert written <= bench.files()
    child = bench.published([pet("owl", 1)], parent_version=version.number)
    assert len(bench.ids(child)) == 13
    bench.registry.delete_model("pets", force=True)
    assert bench.files() == set()


def test_a_dataset_replaces_examples_of_the_parent_by_their_ids(bench: Workbench) -> None:
    bench.published(pets(4))
    bench.stored_dataset("pets", [pet("cat", 0, "dog"), pet("owl", 0)])
    version = bench.published(dataset="pets", parent_version=1)
    examples = bench.examples(version).examples
    assert {one.id: one.target.label for one in examples}["cat0"] == "dog"
    assert len(examples) == 13


def test_a_fine_tune_names_its_examples_once(bench: Workbench) -> None:
    bench.stored_dataset("pets", pets(2))
    with pytest.raises(InvalidStream):
        bench.accept(pets(1), dataset="pets")
    with pytest.raises(InvalidField):
        bench.accept(dataset="pets", dataset_uri="file:///x.csv")
    with pytest.raises(InvalidField):
        bench.accept(dataset="a b")
    with pytest.raises(DatasetNotFound):
        bench.accept(dataset="cars")
    with pytest.raises(WrongTask):
        bench.accept(dataset="pets", task=Task.REGRESSION)
    assert bench.validate(dataset="pets").valid


def test_a_repeated_fine_tune_returns_the_first_job_even_if_the_dataset_is_gone(bench: Workbench) -> None:
    bench.stored_dataset("pets", pets(2))
    job = bench.accept(dataset="pets", request_id="r")
    bench.catalog.delete("pets")
    assert bench.accept(dataset="pets", request_id="r").job_id == job.job_id
    bench.run()


def test_a_fine_tune_fails_whose_dataset_is_deleted_before_it_is_accepted(
    bench: Workbench,
) -> None:
    bench.stored_dataset("pets", pets(2))
    spec = FineTuneSpec(model="pets", backbone="", dataset="pets")
    upload = bench.submissions.open(spec, "", validate_only=False)
    upload.gather()
    bench.catalog.delete("pets")
    bench.archives.sweep()
    with pytest.raises(ExamplesNotKept, match="was deleted"):
        upload.accept()
    upload.close()
    assert bench.files() == set()


def test_cleaning_leaves_datasets_and_removes_what_was_not_acknowledged(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(bench)
    bench.write("pets", 0, pets(1))

    def unavailable(*_: object) -> None:
        raise DatabaseUnavailable("test")

    with monkeypatch.context() as patch:
        patch.setattr(bench.batches, "_append", unavailable)
        with pytest.raises(DatabaseUnavailable):
            bench.write("pets", 1, pets(1, start=1))
    assert files(bench) == 2
    bench.archives.recover()
    assert files(bench) == 1
    assert bench.write("pets", 1, pets(1, start=1)).example_count == 6
    bench.archives.recover()
    assert files(bench) == 2
    bench.catalog.finish("pets")
    assert bench.published(dataset="pets").manifest.example_count == 6


def test_abandoned_datasets_are_deleted_and_finished_ones_stay(bench: Workbench) -> None:
    bench.stored_dataset("done", pets(1))
    created(bench)
    bench.write("pets", 0, pets(1))
    bench.driver.clock.advance(100.0)
    created(bench, "young")
    assert bench.catalog.delete_abandoned(200.0) == 0
    assert bench.catalog.delete_abandoned(50.0) == 1
    assert [each.name for each in bench.catalog.listed(after="", limit=9, scope=None)] == ["done", "young"]
    bench.archives.sweep()
    assert files(bench) == 1


def test_bytes_count_for_the_tenant_and_are_bounded(tmp_path: Path, publisher: Publisher) -> None:
    driver = JobDriver(publisher, tenant_limits=lambda _: TenantLimits(stored_bytes=3000))
    bench = Workbench(tmp_path, driver)
    try:
        created(bench, "red/pets")
        nbytes = bench.write("red/pets", 0, pets(2)).nbytes
        usage = driver.job_store.quotas.usage_of("red")
        assert (usage.dataset_count, usage.dataset_bytes, usage.stored.example_bytes) == (1, nbytes, nbytes)
        with pytest.raises(TenantQuotaExceeded):
            bench.write("red/pets", 1, pets(9, start=2))
        assert files(bench) == 1
        counted = DataCounts(publisher.database).refresh()
        assert (counted.datasets, counted.dataset_bytes) == ({"open": 1, "ready": 0}, nbytes)
        assert driver.job_store.quotas.recount_usage() == 0
        bench.catalog.delete("red/pets")
        usage = driver.job_store.quotas.usage_of("red")
        assert (usage.dataset_count, usage.dataset_bytes, usage.stored.example_bytes) == (0, 0, 0)
    finally:
        bench.close()


def test_datasets_do_not_push_out_the_examples_of_versions(tmp_path: Path, driver: JobDriver) -> None:
    bench = Workbench(tmp_path, driver, kept_bytes=20_000)
    try:
        version = bench.published(pets(4))
        for place in range(8):
            bench.stored_dataset(f"pets{place}", pets(20))
        bench.archives.sweep()
        assert bench.registry.reader.version(version.manifest.model, version.number).has_examples
    finally:
        bench.close()


def test_erasure_takes_an_example_out_of_datasets(bench: Workbench) -> None:
    bench.stored_dataset("pets", pets(2), pets(2, start=2))
    created(bench, "red/open")
    bench.write("red/open", 0, pets(1))
    before = bench.catalog.get("pets")
    with pytest.raises(ExampleNotFound):
        bench.eraser.erase("cat0", scope=Scope(tenant="blue"))
    found = bench.eraser.erase("cat0")
    assert (sorted(found.datasets), found.contents, found.versions) == (["pets", "red/open"], 2, [])
    after = bench.catalog.get("pets")
    assert after.class_counts == {"cat": 3, "dog": 4, "emu": 4}
    assert (after.example_count, bench.catalog.get("red/open").example_count) == (11, 2)
    assert after.digest != before.digest
    assert after.etag != before.etag
    assert b"cat:0" not in b"".join(path.read_bytes() for path in bench.folder.iterdir())
    version = bench.published(dataset="pets")
    assert "cat0" not in bench.ids(version)
    assert version.manifest.dataset_digest == after.digest
    # What was written before is repeated, and the ID is free again.
    assert bench.write("red/open", 0, pets(1)).example_count == 2
    assert bench.write("red/open", 1, [pet("cat", 0)]).example_count == 3
    bench.archives.recover()
    assert bench.catalog.get("pets").nbytes < before.nbytes
    assert bench.driver.job_store.quotas.recount_usage() == 0


def test_examples_that_are_erased_while_a_dataset_is_read_are_left_out(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stored_dataset("pets", [pet("cat", 0)], pets(1, start=1), [pet("dog", 2)])
    monkeypatch.setattr(dataset_catalog, "AT_ONCE", 1)
    batches = bench.named.batches("pets")
    assert [each.id for each in next(batches)] == ["cat0"]
    bench.eraser.erase("dog1")
    bench.eraser.erase("dog2")
    assert [each.id for batch in batches for each in batch] == ["cat1", "emu1"]


def test_the_first_row_of_numbers_may_be_erased_while_a_fine_tune_is_accepted(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        Example(content=np.full((2, 3), each, np.float32), target=Target.of_label("cat"), id=f"row{each}")
        for each in range(3)
    ]
    bench.stored_dataset("rows", rows)
    examples = bench.named.stored("rows")
    bench.eraser.erase("row0")
    bench.eraser.carry_out()
    content = bench.named.first_content(examples)
    assert isinstance(content, np.ndarray)
    assert np.array_equal(content, rows[1].content)
    for name in ("row1", "row2"):
        bench.eraser.erase(name)
    bench.eraser.carry_out()
    with pytest.raises(EmptyDataset, match="Upload another"):
        bench.named.first_content(examples)


def test_erasure_for_a_model_reaches_the_dataset_of_its_versions(bench: Workbench) -> None:
    bench.stored_dataset("all", pets(2))
    bench.published(dataset="all")
    found = bench.eraser.erase("cat0", "pets")
    assert (found.versions, list(found.datasets)) == ([("pets", 1)], ["all"])
    for word in ("cat", "dog", "emu"):
        for place in range(2):
            if (word, place) != ("cat", 0):
                bench.eraser.erase(f"{word}{place}", "pets")
    with pytest.raises(EmptyDataset):
        bench.accept(dataset="all")


def test_the_same_batch_from_many_writers_is_written_once(bench: Workbench) -> None:
    created(bench)
    errors: list[HeadstartError] = []

    def write() -> None:
        try:
            for number in range(4):
                bench.write("pets", number, pets(1, start=number))
        except HeadstartError as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    dataset = bench.catalog.get("pets")
    assert (dataset.next_batch, dataset.example_count, files(bench)) == (4, 12, 4)
    bench.catalog.finish("pets")
    assert bench.published(dataset="pets").manifest.example_count == 12
