"""Stored examples: what comes back is what came, or it is called damaged."""

import errno
import os
import shutil
import time
import zipfile
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart_server.backbones.contract.backbone import Content
from headstart_server.datasets import dataset_store, example_archive
from headstart_server.datasets.dataset_store import Dataset, DatasetStore
from headstart_server.datasets.example_archive import INDEX
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import (
    ArtifactDamaged,
    InvalidField,
    InvalidLabel,
    LocalStorageUnavailable,
    StorageFull,
    TooFewClasses,
)
from headstart_server.jobs.running import ExampleErasedError
from headstart_server.learning.examples.dataset import DatasetLimits, DatasetSummary, Example
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.learning.metrics.example_list import ExampleList

CAT, DOG = (
    Example(content=b"1" * 500, target=Target.of_label("cat")),
    Example(content="two", target=Target.of_label("dog"), id="d"),
)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "datasets", DatasetLimits(max_examples=100))


def write(store: DatasetStore, examples: Collection[Example], job_id: str = "job") -> DatasetSummary:
    writer = store.writer(job_id)
    writer.add(examples)
    return writer.finish()


def store_list(dataset: Dataset) -> ExampleList:
    return ExampleList(examples=dataset.examples)


def files(store: DatasetStore, tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "datasets").iterdir())


CONTENTS: list[Content] = [
    b"",
    b"\x89PNG\r\n\x1a\n\0",
    "",
    "Grüße\n\0 👩‍👩‍👧",
    np.float32(3.5).reshape(()),
    np.arange(6, dtype="<i2").reshape(2, 3),
    np.arange(6, dtype=">f8").reshape(3, 2).T,
    np.array([True, False]),
    np.zeros((0, 4), np.uint8),
    np.frombuffer(b"\n{}\n\n", np.uint8),
]


def test_each_kind_of_content_comes_back_as_it_came(store: DatasetStore) -> None:
    labels = ["cat", "dog"] * 5
    examples = [
        Example(content=content, target=Target.of_label(label), id=f"#{place}", held_out=place > 7)
        for place, (content, label) in enumerate(zip(CONTENTS, labels, strict=True))
    ]
    summary = write(store, examples)
    assert (summary.example_count, summary.held_out_count) == (10, 2)
    with closing(store.open("job")) as dataset:
        assert len(dataset) == 10
        for place, example in enumerate(examples):
            found = dataset.read(place)
            assert type(found) is type(example.content) or isinstance(found, np.ndarray)
            assert content_digest(found) == content_digest(example.content)
            stored = dataset.examples[place]
            assert (stored.target, stored.id) == (example.target, example.id)
            assert (stored.held_out, stored.weight) == (example.held_out, example.weight)
            assert stored.digest == content_digest(example.content)


def test_an_id_that_comes_twice_in_one_upload_is_named(store: DatasetStore) -> None:
    writer = store.writer("job")
    writer.add([CAT, DOG, CAT])
    with pytest.raises(InvalidField) as caught:
        writer.add([CAT, Example(content="three", target=Target.of_label("cat"), id="d")])
    assert caught.value.field == "examples[4].example_id"
    assert "'d' for example 1 and example 4. Remove one of them" in caught.value.message


def test_examples_may_come_in_several_parts(store: DatasetStore) -> None:
    writer = store.writer("job")
    for example in (CAT, DOG):
        writer.add([example])
    writer.add([])
    writer.finish()
    with closing(store.open("job")) as dataset:
        assert [dataset.read(0), dataset.read(1)] == [CAT.content, DOG.content]
        assert dataset.examples[1] == StoredExample(
            target=Target.of_label("dog"),
            id="d",
            held_out=False,
            digest=content_digest("two"),
            kind="text",
            archive="job",
            member=1,
            media_type="text/plain; charset=utf-8",
            nbytes=3,
        )


def test_it_is_there_only_once_it_is_whole(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("job")
    writer.add([CAT, DOG])
    assert files(store, tmp_path) == ["job.part"]
    with pytest.raises(ArtifactDamaged):
        store.open("job")
    writer.finish()
    assert files(store, tmp_path) == ["job.zip"]


def test_what_is_refused_names_its_example_and_can_be_discarded(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("job")
    writer.add([CAT])
    with pytest.raises(InvalidLabel) as caught:
        writer.add([DOG, Example(content=b"3", target=Target.of_label(""))])
    assert caught.value.field == "examples[2].label.class_name"
    writer.discard()
    assert files(store, tmp_path) == []


def test_a_dataset_that_cannot_be_trained_on_is_not_finished(store: DatasetStore, tmp_path: Path) -> None:
    writer = store.writer("job")
    writer.add([CAT])
    with pytest.raises(TooFewClasses):
        writer.finish()
    writer.discard()
    assert files(store, tmp_path) == []


def test_discarding_removes_it_at_any_time_and_any_number_of_times(
    store: DatasetStore, tmp_path: Path
) -> None:
    writer = store.writer("job")
    writer.discard()
    writer.discard()
    finished = store.writer("job")
    finished.add([CAT, DOG])
    finished.finish()
    finished.discard()
    assert files(store, tmp_path) == []


# Damage


def test_a_missing_dataset_is_reported(store: DatasetStore) -> None:
    with pytest.raises(ArtifactDamaged) as caught:
        store.open("job")
    assert caught.value.metadata == {"job_id": "job"}
    assert caught.value.message.startswith("The stored examples of job job are damaged or missing (")
    assert caught.value.message.endswith("Send the fine-tune again.")


@pytest.mark.parametrize(
    "index",
    [b"", b"no json", b"{}x", b"[1]", b'[{"label": "cat"}]', b"\xff", b"3"],
)
def test_an_index_that_is_invalid_is_reported(store: DatasetStore, tmp_path: Path, index: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "datasets" / "job.zip", "w") as archive:
        archive.writestr(INDEX, index)
    with pytest.raises(ArtifactDamaged):
        store.open("job")


def test_a_missing_input_is_reported(store: DatasetStore, tmp_path: Path) -> None:
    write(store, [CAT, DOG])
    path = tmp_path / "datasets" / "job.zip"
    with zipfile.ZipFile(path) as archive:
        index = archive.read(INDEX)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(INDEX, index)
    with closing(store.open("job")) as dataset, pytest.raises(ArtifactDamaged):
        dataset.read(0)


def test_a_dataset_that_was_closed_meanwhile_is_reported(store: DatasetStore) -> None:
    write(store, [CAT, DOG])
    dataset = store.open("job")
    dataset.close()
    with pytest.raises(ArtifactDamaged):
        dataset.read(0)


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_are_reported_or_do_no_harm(
    store: DatasetStore, tmp_path: Path, data: st.DataObject
) -> None:
    examples = [CAT, DOG, Example(content=np.arange(4), target=Target.of_label("dog"))]
    whole = tmp_path / "whole.zip"
    if not whole.exists():
        write(store, examples)
        shutil.copy(tmp_path / "datasets" / "job.zip", whole)
    raw = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            raw[data.draw(st.integers(-400, -1)) % len(raw)] = data.draw(st.integers(0, 255))
    (tmp_path / "datasets" / "job.zip").write_bytes(raw)
    try:
        with closing(store.open("job")) as dataset:
            for place, example in enumerate(examples):
                assert content_digest(dataset.read(place)) == content_digest(example.content)
    except ArtifactDamaged:
        pass


# A full disk


def test_a_full_disk_is_reported_and_leaves_nothing(store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "datasets" / "job.part").symlink_to("/dev/full")
    writer = store.writer("job")
    with pytest.raises(StorageFull) as caught:
        writer.add([Example(content=bytes(1 << 20), target=Target.of_label("cat"))])
    assert caught.value.retry_after == 60.0
    writer.discard()
    assert files(store, tmp_path) == []


def test_a_disk_that_is_full_at_the_end_is_reported_and_leaves_nothing(
    store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    writer = store.writer("job")
    writer.add([CAT, DOG])
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull):
        writer.finish()
    writer.discard()
    assert files(store, tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_a_full_disk_too(
    store: DatasetStore, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(number, "full")

    writer = store.writer("job")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(StorageFull):
        writer.add([CAT])
    writer.discard()
    assert files(store, tmp_path) == []


def test_any_other_fault_of_the_disk_is_not_called_full(
    store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "broken")

    writer = store.writer("job")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", broken)
    # Linux mounts a failing file system read-only.
    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(LocalStorageUnavailable, match="EIO"):
        try:
            writer.add([CAT])
        finally:
            writer.discard()
    writer.discard()


# The store


def test_a_removed_dataset_is_gone_and_removing_it_again_does_nothing(store: DatasetStore) -> None:
    write(store, [CAT, DOG])
    store.remove("job")
    store.remove("job")
    with pytest.raises(ArtifactDamaged):
        store.open("job")


def test_an_example_that_is_erased_while_its_dataset_is_opened_does_not_damage_it(
    store: DatasetStore, tmp_path: Path
) -> None:
    write(store, [CAT, DOG])

    def erased(archives: Collection[str]) -> Collection[tuple[str, int]]:
        # Another replica erases an example right after these were looked for.
        assert set(archives) == {"job"}
        store.rewrite("job", [0])
        return []

    opening = DatasetStore(tmp_path / "datasets", DatasetLimits(), erased)

    with closing(opening.open("job")) as dataset:
        assert [dataset.read(place) for place in range(2)] == [CAT.content, DOG.content]
    with closing(store.open("job")) as dataset:
        assert [each.id for each in dataset.examples] == ["d"]


def test_an_example_that_was_erased_before_its_archive_is_opened_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: set[tuple[str, int]] = set()
    store = DatasetStore(tmp_path / "datasets", DatasetLimits(), lambda _: gone)
    write(store, [CAT, DOG])
    # As if it had more archives than are held open.
    monkeypatch.setattr(example_archive, "MAX_HELD", 0)

    with closing(store.open("job")) as dataset:
        gone.add(("job", 0))
        store.rewrite("job", [0])
        with pytest.raises(ExampleErasedError):
            dataset.read(0)
        assert dataset.read(1) == DOG.content
        store.rewrite("job", [1])
    with closing(store.read_listed(store_list(dataset))) as dataset, pytest.raises(ArtifactDamaged):
        dataset.read(1)


def test_rewrites_of_an_archive_at_the_same_time_lose_no_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: set[tuple[str, int]] = set()
    store = DatasetStore(tmp_path / "datasets", DatasetLimits(), lambda _: gone)
    other = DatasetStore(tmp_path / "datasets", DatasetLimits(), lambda _: gone)
    write(store, [CAT, DOG])
    copy = dataset_store._copy

    def copied(*arguments: Any) -> None:
        monkeypatch.setattr(dataset_store, "_copy", copy)
        copy(*arguments)
        # Another replica erases the other example before this copy replaces the archive.
        gone.add(("job", 1))
        other.rewrite("job", [1])

    monkeypatch.setattr(dataset_store, "_copy", copied)
    gone.add(("job", 0))
    store.rewrite("job", [0])
    assert store.listed("job").examples == []
    with zipfile.ZipFile(tmp_path / "datasets/job.zip") as archive:
        assert archive.namelist() == ["examples.json"]


def test_what_belongs_to_no_job_is_removed_broken_off_uploads_among_it(
    store: DatasetStore, tmp_path: Path
) -> None:
    write(store, [CAT, DOG], "kept")
    write(store, [CAT, DOG], "ended")
    store.writer("kept-no-more").add([CAT])
    upload = store.writer("kept2")
    upload.add([CAT])
    assert store.remove_all_but({"kept", "kept2"}.intersection) == 3
    assert files(store, tmp_path) == ["kept.zip"]


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_what_just_came_is_not_old_to_a_replica_whose_clock_is_wrong(
    store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    write(store, [CAT, DOG], "coming")
    monkeypatch.setattr(time, "time", lambda right=time.time: right() + ahead)
    assert store.remove_all_but(frozenset().intersection, older_than=3600) == 0
    [archive] = tmp_path.rglob("coming.zip")
    written = archive.stat().st_mtime - 3601
    os.utime(archive, (written, written))
    assert store.remove_all_but(frozenset().intersection, older_than=3600) == 1


def test_targets_of_every_kind_and_weights_come_back(store: DatasetStore) -> None:
    for number, targets in enumerate(
        [
            [Target.of_labels(["a", "b"]), Target.of_labels([]), Target.of_labels(["b"])],
            [Target.of_value(1.5), Target.of_value(-2.0), Target.of_value(0.0)],
            [Target.of_shares({"a": 0.25, "b": 0.75}), Target.of_label("a"), Target.of_label("b")],
        ]
    ):
        writer = store.writer(f"job-{number}")
        writer.add(
            [
                Example(content=bytes([place]), target=target, weight=place + 0.5)
                for place, target in enumerate(targets)
            ]
        )
        assert writer.finish().task is targets[0].task
        with closing(store.open(f"job-{number}")) as dataset:
            assert [one.target for one in dataset.examples] == targets
            assert [one.weight for one in dataset.examples] == [0.5, 1.5, 2.5]
