"""Erasure with rebuild: every version of an example gets a successor that never had it."""

import gzip
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import select

from fakes import FakeBackbone, JobDriver
from headstart_server.auth.permissions import Scope
from headstart_server.backbones.contract.backbone import Content
from headstart_server.database.dataset_tables import forgotten
from headstart_server.datasets import example_archive
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, ErasureRequest, RebuiltVersion
from headstart_server.datasets.example_archive import ArchiveReader
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ExampleNotFound, InvalidField, StorageFull, StorageUnavailable
from headstart_server.evaluation.promotion_check import PromotionCheck
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.heads.fitting import FittedHead, fit
from headstart_server.learning.heads.recipe import Auto, Logistic, Mlp, Recipe, Ridge
from headstart_server.learning.metrics.promotion import Decision, Promotion
from headstart_server.models.version import Selector, TrafficSplit, Version
from headstart_server.training import version_rebuilder
from postgres import on_both_databases
from workbench import Workbench, pet, pets

REQUEST = ErasureRequest(example_id="cat0", model="pets", request_id="r1")


class Bench(Workbench):
    """A workbench that erases."""

    def __init__(self, folder: Path, driver: JobDriver) -> None:
        super().__init__(folder, driver, FakeBackbone("other", digest="c" * 64))
        self.log = ErasureLog(driver.publisher.database)
        self.erasures = self.erasure_service(threads=2)

    def erased(self, request: ErasureRequest = REQUEST) -> ErasureRecord:
        _, record = self.erasures.erase(request, rebuild=True)
        assert record is not None
        return record

    def head_bytes(self, version: Version) -> bytes:
        folder = self.driver.publisher.folder / "versions" / version.artifact
        return (folder / "head.safetensors").read_bytes()


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver) -> Iterator[Bench]:
    bench = Bench(tmp_path, driver)
    yield bench
    bench.close()


def result_of(record: ErasureRecord, number: int, model: str = "pets") -> RebuiltVersion:
    result = record.versions[model, number]
    assert result is not None
    return result


def without(examples: Sequence[Example], *ids: str) -> list[Example]:
    return [example for example in examples if example.id not in ids]


@pytest.mark.parametrize(
    ("recipe", "spec"),
    [
        (Auto(), {}),
        (Auto(), {"held_out_fraction": 0.3, "seed": 7}),
        (Ridge(regularization=0.1), {}),
        (Logistic(), {}),
        (Mlp(max_epochs=3), {"seed": 3}),
    ],
)
@on_both_databases
def test_a_successor_equals_a_fine_tune_without_the_example(
    bench: Bench, recipe: Recipe, spec: dict[str, object]
) -> None:
    old = bench.published(pets(8), recipe=recipe, **spec)
    scratch = bench.published(without(pets(8), "cat0"), model="scratch", recipe=recipe, **spec)
    record = bench.erased()
    result = result_of(record, 1)
    new = bench.registry.reader.version("pets", result.number)
    assert bench.head_bytes(new) == bench.head_bytes(scratch)
    assert (result.head_digest, result.new_head_digest) == (
        old.manifest.head_digest,
        scratch.manifest.head_digest,
    )
    assert result.new_dataset_digest == scratch.manifest.dataset_digest
    assert new.manifest.files.keys() == scratch.manifest.files.keys()
    same = ("evaluation.json", "neighbors.safetensors", "typicality.safetensors")
    assert [new.manifest.files.get(name) for name in same[1:]] == [
        scratch.manifest.files.get(name) for name in same[1:]
    ]
    assert new.manifest.metrics == scratch.manifest.metrics
    assert (new.manifest.recipe, new.manifest.example_count) == (
        scratch.manifest.recipe,
        scratch.manifest.example_count,
    )
    assert [version.number for version in bench.registry.reader.versions("pets", limit=10)] == [2]
    assert record.finished is not None
    assert record.contents == 1


@on_both_databases
def test_aliases_traffic_and_details_move_to_the_successors(bench: Bench) -> None:
    registry = bench.registry
    bench.published(pets(4), alias="stable", display_name="first", tags={"a": "1"})
    bench.published(pets(1, start=4), parent_version=1, alias="next")
    bench.published(pets(4, words=("owl", "emu")), alias="other")
    registry.set_alias("pets", "other", 3, shares=[TrafficSplit(number=2, fraction=0.25)])
    record = bench.erased()
    first, second = result_of(record, 1), result_of(record, 2)
    assert (first.number, second.number) == (4, 5)
    assert (first.aliases, second.aliases) == (("stable",), ("next", "other"))
    assert first.promotion is not None
    assert first.promotion.decision is Decision.PROMOTED
    assert registry.index.resolve(Selector(model="pets", alias="stable")) == 4
    assert registry.index.resolve(Selector(model="pets", alias="other")) == 3
    others = {alias.name: alias.traffic for alias in registry.reader.model("pets").aliases}["other"]
    assert others == (TrafficSplit(number=5, fraction=0.25),)
    one = registry.reader.version("pets", 4)
    assert (one.manifest.display_name, one.manifest.tags) == ("first", {"a": "1"})
    child = registry.reader.version("pets", 5)
    assert child.manifest.parent == 4
    assert bench.ids(child) == [each.id for each in [*pets(1, start=4), *without(pets(4), "cat0")]]
    causes = [event.mover.cause.value for event in registry.reader.alias_events("pets", "stable", limit=10)]
    assert causes == ["erased", "published"]


@on_both_databases
def test_the_default_version_stays_the_newest_one(bench: Bench) -> None:
    bench.published(pets(4), alias="stable")
    bench.published(pets(4, words=("owl", "emu")))
    bench.erased()
    numbers = [version.number for version in bench.registry.reader.versions("pets", limit=10)]
    assert sorted(numbers) == [2, 3]
    assert bench.registry.index.resolve(Selector(model="pets")) == 2
    # The newest one is replaced by the newest one.
    bench.erased(ErasureRequest(example_id="owl0", model="pets"))
    assert bench.registry.index.resolve(Selector(model="pets")) == 4


@on_both_databases
def test_a_repeated_request_returns_the_same_certificate(bench: Bench) -> None:
    bench.published(pets(4))
    record = bench.erased()
    assert bench.erased() == record
    assert bench.erasure_service().erase(REQUEST, rebuild=True)[1] == record
    with pytest.raises(InvalidField, match="was used to erase another example"):
        bench.erased(ErasureRequest(example_id="dog0", model="pets", request_id="r1"))
    with pytest.raises(ExampleNotFound):
        bench.erased(ErasureRequest(example_id="cat0", model="pets", request_id="r2"))


@on_both_databases
def test_an_interrupted_erasure_continues(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        bench.published(pets(4))
    count = 0
    write = bench.driver.publisher.store.write

    def fails(*arguments: object, **fields: object) -> object:
        nonlocal count
        count += 1
        if count == 2:
            raise StorageUnavailable("The bucket does not answer.")
        return write(*arguments, **fields)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(bench.driver.publisher.store, "write", fails)
        with pytest.raises(StorageUnavailable):
            bench.erased()
    found = bench.log.find(REQUEST)
    assert found is not None
    assert (len(found.pending), found.finished) == (2, None)
    assert bench.erasure_service().resume() == 1
    record = bench.erased()
    assert [result_of(record, number).number for number in (1, 2, 3)] == [4, 5, 6]
    assert bench.erasure_service().resume() == 0


@on_both_databases
def test_a_running_job_that_has_read_the_example_runs_again_without_it(bench: Bench) -> None:
    bench.accept(pets(4))
    job = bench.driver.claim()
    erased = threading.Event()

    def checkpoint() -> None:
        # Once the features are extracted, among the steps that follow.
        if bench.backbone.decoded.total() >= 12 and not erased.is_set():
            erased.set()
            bench.erasures.erase(REQUEST, rebuild=True)

    with pytest.raises(ExampleErasedError):
        bench.run(job, checkpoint)
    assert erased.is_set()
    assert list(bench.driver.publisher.store.artifacts()) == []
    bench.driver.job_store.runs.release(job)
    number = bench.run()
    assert bench.ids(bench.registry.reader.version("pets", number)) == [
        example.id for example in without(pets(4), "cat0")
    ]


@on_both_databases
def test_a_job_runs_again_without_an_example_that_is_erased_before_its_archive_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it had more archives than are held open.
    monkeypatch.setattr(example_archive, "MAX_HELD", 0)
    bench.accept(pets(4))
    job = bench.driver.claim()
    read = ArchiveReader.read

    def erases(reader: ArchiveReader, example: StoredExample) -> Content:
        monkeypatch.setattr(ArchiveReader, "read", read)
        bench.eraser.erase("cat0")
        return read(reader, example)

    monkeypatch.setattr(ArchiveReader, "read", erases)
    with pytest.raises(ExampleErasedError):
        bench.run(job)
    bench.driver.job_store.runs.release(job)
    assert bench.ids(bench.registry.reader.version("pets", bench.run())) == [
        example.id for example in without(pets(4), "cat0")
    ]


def test_a_version_whose_other_example_is_erased_before_it_is_read_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    bench.forget_features()
    erased = bench.datasets.erased

    def erases(archives: Collection[str]) -> Collection[tuple[str, int]]:
        found = erased(archives)
        monkeypatch.setattr(bench.datasets, "erased", erased)
        bench.eraser.erase("dog0")
        return found

    monkeypatch.setattr(bench.datasets, "erased", erases)
    successor = bench.registry.reader.version("pets", result_of(bench.erased(), 1).number)
    assert bench.ids(successor) == [each.id for each in without(pets(4), "cat0", "dog0")]


def test_a_validation_leaves_out_an_example_that_is_erased_before_it_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    bench.forget_features()
    monkeypatch.setattr(example_archive, "MAX_HELD", 0)
    read = ArchiveReader.read

    def erases(reader: ArchiveReader, example: StoredExample) -> Content:
        monkeypatch.setattr(ArchiveReader, "read", read)
        bench.eraser.erase("cat0")
        return read(reader, example)

    monkeypatch.setattr(ArchiveReader, "read", erases)
    found = bench.validate(pets(1, start=4), parent_version=1)
    assert (found.valid, found.faults) == (True, ())


def test_versions_of_several_models_are_replaced_within_a_scope(bench: Bench) -> None:
    for model in ("red/pets", "red/cars", "blue/pets"):
        bench.published(pets(4), model=model)
    record = bench.erased(ErasureRequest(example_id="cat0", scope=Scope(tenant="red", models=("p*",))))
    assert list(record.versions) == [("red/pets", 1)]
    assert bench.registry.reader.version("blue/pets", 1).number == 1


@on_both_databases
def test_an_erasure_of_more_models_does_not_join_an_unfinished_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("red/pets", "red/cars"):
        bench.published(pets(4), model=model)
    narrow = ErasureRequest(example_id="cat0", scope=Scope(tenant="red", models=("p*",)))

    def fails(*_: object, **__: object) -> object:
        raise StorageUnavailable("The bucket does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(bench.driver.publisher.store, "write", fails)
        with pytest.raises(StorageUnavailable):
            bench.erased(narrow)
    record = bench.erased(ErasureRequest(example_id="cat0", scope=Scope(tenant="red", models=("*",))))
    assert sorted(record.versions) == [("red/cars", 1), ("red/pets", 1)]
    assert list(bench.erased(narrow).versions) == [("red/pets", 1)]


def test_a_version_that_cannot_be_fitted_again_is_skipped_with_the_reason(bench: Bench) -> None:
    bench.published(without(pets(2, words=("cat", "dog")), "cat1"))
    bench.published(pets(4))
    record = bench.erased()
    skipped = result_of(record, 1)
    assert skipped.number == 0
    assert "class" in skipped.skipped_reason
    assert result_of(record, 2).number == 3
    assert bench.registry.reader.version("pets", 1).number == 1


def test_contents_and_features_that_are_gone_are_reported(bench: Bench) -> None:
    bench.published(pets(4), discard_examples=True)
    bench.archives.sweep()
    bench.forget_features()
    record = bench.erased()
    assert "cannot be fitted again" in result_of(record, 1).skipped_reason
    assert record.contents == 0


def test_versions_with_cached_features_need_no_backbone_pass(bench: Bench) -> None:
    bench.published(pets(4))
    before = bench.backbone.decoded.total()
    bench.erased()
    assert bench.backbone.decoded.total() == before


def test_weights_and_held_out_examples_stay(bench: Bench) -> None:
    examples = [
        *pets(5),
        pet("cat", 20, held_out=True),
        pet("dog", 20, held_out=True),
        pet("emu", 20, weight=2.0),
    ]
    bench.published(examples)
    scratch = bench.published(without(examples, "cat0"), model="scratch")
    result = result_of(bench.erased(), 1)
    assert result.new_head_digest == scratch.manifest.head_digest
    assert result.new_dataset_digest == scratch.manifest.dataset_digest


def test_a_version_that_was_deleted_meanwhile_is_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    bench.published(pets(4))
    begin = bench.eraser.begin

    def deletes(*arguments: object) -> object:
        found = begin(*arguments)  # type: ignore[arg-type]
        bench.registry.delete_version("pets", 1, force=True)
        return found

    monkeypatch.setattr(bench.eraser, "begin", deletes)
    record = bench.erased()
    assert result_of(record, 1).skipped_reason == "The version was deleted before it was replaced."
    assert result_of(record, 2).number == 3


def test_a_version_that_is_deleted_while_it_is_compared_is_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4), alias="stable")
    bench.published(pets(4))
    judge = PromotionCheck.judge_replacement

    def deletes(check: PromotionCheck, version: Version, *others: Any) -> Promotion | None:
        bench.registry.delete_version(version.model, version.number, force=True)
        return judge(check, version, *others)

    monkeypatch.setattr(PromotionCheck, "judge_replacement", deletes)
    record = bench.erased()
    assert result_of(record, 1).skipped_reason == "The version was deleted before it was replaced."
    assert result_of(record, 2).number == 3


@on_both_databases
def test_nothing_lists_or_marks_the_example_by_its_digest(bench: Bench) -> None:
    """Neither an archive's list, nor the list of a version that was trained without it."""
    digest = content_digest(pet("cat", 0).content)
    bench.published(pets(4))
    bench.published(pets(1, start=4), parent_version=1)
    bench.published(parent_version=1, edits=(ExampleEdit(id="cat0", remove=True),))
    waiting = bench.accept(pets(1, start=5), parent_version=2)
    bench.erased()
    bench.archives.sweep()
    folder = bench.driver.publisher.folder
    files = [path for path in [*bench.folder.rglob("*"), *(folder / "versions").rglob("*")] if path.is_file()]
    assert len(files) > 8
    for path in files:
        for content in contents_of(path):
            assert digest.encode() not in content, path
            assert bytes.fromhex(digest) not in content, path
            assert b"cat:0" not in content, path
    with bench.driver.publisher.database.read() as connection:
        kept = set(connection.execute(select(forgotten.c.digest)).scalars())
    # As the database is open, what is only in its log is not in the file yet.
    for path in folder.glob("headstart.sqlite3*"):
        assert digest.encode() not in path.read_bytes(), path
    # Other replicas of a shared database still have to drop their features.
    assert kept == ({digest} if bench.driver.publisher.database.is_shared else {""})
    assert bench.driver.claim().job_id == waiting.job_id


def contents_of(path: Path) -> Iterator[bytes]:
    """What a file contains, unpacked."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".gz":
        yield gzip.decompress(content)
    if path.suffix == ".zip":
        with ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def test_an_erasure_that_fails_unexpectedly_does_not_stop_later_ones(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    other = replace(REQUEST, example_id="dog0", request_id="later")
    with monkeypatch.context() as patch:
        patch.setattr(bench.driver.publisher.store, "write", lambda *_, **__: _full())
        for request in (REQUEST, other):
            with pytest.raises(StorageFull):
                bench.erased(request)
    service = bench.erasure_service()
    exclude = bench.eraser.exclude

    def fails_for_the_first(record: ErasureRecord, *arguments: Any) -> object:
        if record.request.example_id == REQUEST.example_id:
            raise KeyError(record.request.example_id)
        return exclude(record, *arguments)

    monkeypatch.setattr(bench.eraser, "exclude", fails_for_the_first)
    assert service.resume() == 2
    records = [bench.log.find(request) for request in (REQUEST, other)]
    assert [record and record.finished is not None for record in records] == [False, True]


def test_an_erasure_is_not_complete_until_an_archive_that_nothing_lists_any_more_is_rewritten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pet("cat", 0).content
    bench.stored_dataset("pets", pets(1))
    request = replace(REQUEST, model="")
    with monkeypatch.context() as patch:
        patch.setattr(bench.datasets, "rewrite", lambda *_: _full())
        for _ in range(2):
            # As after a restart; the first call has removed the example from the dataset.
            with pytest.raises(StorageFull):
                bench.erasure_service().erase(request, rebuild=True)
    assert bench.named.stored("pets") is not None
    assert any(content in path.read_bytes() for path in bench.folder.iterdir())
    _, record = bench.erasure_service().erase(request, rebuild=True)
    assert record is not None
    assert record.finished is not None
    assert (record.places, list(record.archives)) == ({}, [])
    assert not any(content in path.read_bytes() for path in bench.folder.iterdir())


def _full() -> None:
    raise StorageFull


def test_versions_of_the_same_examples_and_settings_are_fitted_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []

    def counted(*arguments: Any, **options: Any) -> FittedHead:
        fitted.append(options["seed"])
        return fit(*arguments, **options)

    monkeypatch.setattr(version_rebuilder, "fit", counted)
    for seed in (0, 0, 1, 0, 0, 1):
        bench.published(pets(), seed=seed)
    bench.erasures = bench.erasure_service(threads=1)
    record = bench.erased()
    successors = [result_of(record, number) for number in range(1, 7)]
    assert sorted(fitted) == [0, 1]
    assert len({each.number for each in successors}) == 6
    assert bench.registry.reader.version("pets", successors[5].number).manifest.seed == 1
    assert len({successors[place].new_head_digest for place in (0, 1, 3, 4)}) == 1
    assert successors[2].new_head_digest == successors[5].new_head_digest
    bench.erased(ErasureRequest(example_id="cat1", model="pets", request_id="r2"))
    assert sorted(fitted) == [0, 0, 1, 1]


def test_a_successor_that_another_erasure_also_fits_stays_whole(bench: Bench) -> None:
    bench.published(pets(4))
    old = bench.registry.reader.version("pets", 1)
    other = bench.erasure_service()
    late = other._rebuilder.rebuild(old)
    result = result_of(bench.erased(), 1)
    # The other replica has fitted the version before it was replaced, with the example.
    record = bench.log.find(REQUEST)
    assert record is not None
    assert other._publisher.publish(record.erasure_id, old, late, None) is None
    successor = bench.registry.reader.version("pets", result.number)
    assert "cat0" not in bench.ids(successor)
    assert sorted(bench.driver.publisher.store.artifacts()) == [successor.artifact]


def test_a_successor_has_no_example_that_was_erased_while_it_was_fitted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.published(pets(4))
    store = bench.driver.publisher.store
    write = store.write

    def erases(*arguments: object, **fields: object) -> object:
        monkeypatch.setattr(store, "write", write)
        bench.eraser.erase("dog0")
        return write(*arguments, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "write", erases)
    successor = bench.registry.reader.version("pets", result_of(bench.erased(), 1).number)
    assert bench.ids(successor) == [each.id for each in without(pets(4), "cat0", "dog0")]
    assert store.artifacts() == [successor.artifact]
