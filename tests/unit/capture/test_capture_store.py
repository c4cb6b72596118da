"""Captured inputs are stored whole, within their bounds, counted, and erased with their contents."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from captures import Captures, direction
from changed_rows import changed_rows
from fakes import ManualClock
from headstart_server.capture import capture_eraser
from headstart_server.capture.batches import MAX_BATCH, MAX_BATCH_BYTES
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.capture_rows import Gaps, ModelGoneError, begin
from headstart_server.capture.captured_inputs import mark_reviewed
from headstart_server.database.capture_tables import capture_batches, captured_inputs
from headstart_server.database.tables import models
from headstart_server.errors import (
    CapturedInputNotFound,
    LocalStorageUnavailable,
    ModelNotFound,
    StorageUnavailable,
    TenantQuotaExceeded,
    WrittenByNewerRelease,
)
from headstart_server.jobs.stored import TenantLimits
from headstart_server.models import usage
from headstart_server.models.capture_policy import CapturePolicy
from postgres import on_both_databases

pytestmark = on_both_databases


def read(captures: Captures, name: str, model: str = "pets") -> bytes:
    return captures.inputs.get(model, name)[1]


def contains(captures: Captures, content: bytes) -> bool:
    files = [path for path in captures.folder.rglob("*") if path.is_file()]
    return any(content in path.read_bytes() for path in files)


def test_a_stored_input_is_found_with_its_content_and_prediction(captures: Captures) -> None:
    captures.model()
    captures.write(["one", "two"])
    found = captures.inputs.find("pets", "two")
    assert found is not None
    assert (found.version, found.predicted.label, found.random_sample) == (1, "cat", True)
    assert captures.inputs.input_of(found) == "two"
    assert read(captures, "one") == b"one"
    assert found.expires - found.created == CapturePolicy().ttl


def test_an_input_of_another_model_or_an_unknown_one_is_not_found(captures: Captures) -> None:
    captures.model()
    captures.model("cars")
    captures.write(["one"])
    assert captures.inputs.find("cars", "one") is None
    with pytest.raises(CapturedInputNotFound, match="'cars'"):
        captures.inputs.get("cars", "one")
    with pytest.raises(ModelNotFound):
        captures.inputs.get("boats", "one")


def test_the_bytes_of_captured_inputs_count_and_their_sum_is_right(captures: Captures) -> None:
    captures.model("red/pets")
    captures.write(["one", "two"], model="red/pets")
    with captures.database.snapshot() as connection:
        assert usage.wrong_sums(connection) == []
    assert captures.usage("red") == captures.inputs.status("red/pets").captured_bytes > 0
    captures.publisher.registry.delete_model("red/pets", force=True)
    assert captures.usage("red") == 0
    with captures.database.snapshot() as connection:
        assert usage.wrong_sums(connection) == []


def test_a_tenant_with_a_full_quota_stores_nothing(captures: Captures) -> None:
    captures.model()
    captures.limits = TenantLimits(stored_bytes=1)
    with pytest.raises(TenantQuotaExceeded):
        captures.write(["one"])
    assert captures.inputs.find("pets", "one") is None
    captures.eraser.clean()
    assert captures.objects() == []


@pytest.mark.parametrize("bound", [{"max_count": 5}, {"max_bytes": 1 << 20}])
def test_the_oldest_inputs_are_deleted_beyond_a_bound(
    captures: Captures, clock: ManualClock, bound: dict[str, int]
) -> None:
    captures.model(**bound)
    for place in range(4):
        clock.advance(1.0)
        size = 1 << 19 if "max_bytes" in bound else 10
        captures.write([f"{place}-{each}-".ljust(60, "x") for each in range(2)], content=bytes(size // 2))
    status = captures.inputs.status("pets")
    assert status.captured_count <= 5
    assert status.captured_bytes <= bound.get("max_bytes", 1 << 30)
    assert captures.inputs.find("pets", "3-1-".ljust(60, "x")) is not None
    assert captures.inputs.find("pets", "0-0-".ljust(60, "x")) is None
    captures.eraser.clean()
    assert len(captures.objects()) < 4
    assert captures.usage() == status.captured_bytes


def test_an_input_expires_and_its_object_is_removed(captures: Captures, clock: ManualClock) -> None:
    captures.model(ttl=100.0)
    captures.write(["one"])
    clock.advance(99.0)
    assert captures.inputs.find("pets", "one") is not None
    clock.advance(2.0)
    assert captures.inputs.find("pets", "one") is None
    assert captures.eraser.clean() == 1
    assert captures.objects() == []
    assert captures.usage() == 0


def test_a_batch_that_outlives_some_of_its_inputs_is_removed_after_the_last(
    captures: Captures, clock: ManualClock
) -> None:
    captures.model(ttl=1000.0)
    for name in ("one", "two"):
        captures.write([name])
        clock.advance(400.0)
    captures.eraser.clean()
    assert len(captures.objects()) == 1
    clock.advance(300.0)
    # The first one has expired.
    assert captures.eraser.clean() == 0
    assert captures.inputs.find("pets", "one") is None
    assert captures.inputs.find("pets", "two") is not None
    clock.advance(400.0)
    assert captures.eraser.clean() == 1
    assert captures.objects() == []


def test_a_batch_of_an_earlier_release_expires_with_its_inputs(
    captures: Captures, clock: ManualClock
) -> None:
    captures.model(ttl=100.0)
    captures.write(["one"])
    with captures.database.write("test") as connection:
        columns = capture_batches.c
        defaults = {each.name: float(each.server_default.arg) for each in (columns.ttl, columns.due)}
        connection.execute(update(capture_batches).values(defaults))
    assert captures.eraser.clean() == 0
    assert captures.inputs.find("pets", "one") is not None
    clock.advance(101.0)
    assert captures.inputs.find("pets", "one") is None
    assert captures.eraser.clean() == 1


def test_every_expired_batch_is_removed_by_one_cleaning(captures: Captures, clock: ManualClock) -> None:
    captures.model(ttl=100.0)
    captures.write(["one"])
    with captures.database.write("test") as connection:
        batch = dict(connection.execute(select(capture_batches)).mappings().one())
        connection.execute(
            insert(capture_batches), [batch | {"batch": f"{place}", "nbytes": 0} for place in range(450)]
        )
    clock.advance(101.0)
    captures.write(["two"])
    assert captures.eraser.clean() == 451
    assert captures.inputs.find("pets", "two") is not None


def test_a_shorter_time_to_live_applies_to_inputs_captured_before(
    captures: Captures, clock: ManualClock
) -> None:
    captures.model(ttl=1000.0)
    captures.write(["one"])
    captures.set_policy("pets", CapturePolicy(random_fraction=1.0, ttl=100.0))
    captures.set_policy("pets", CapturePolicy(random_fraction=1.0, ttl=1000.0))
    found = captures.inputs.find("pets", "one")
    assert found is not None
    assert found.expires - found.created == 100.0
    clock.advance(101.0)
    assert captures.inputs.find("pets", "one") is None
    assert captures.inputs.stored(["one"]) == set()
    assert captures.inputs.pending("pets", 10) == []
    assert captures.inputs.status("pets").captured_count == 0
    assert captures.eraser.clean() == 1
    assert captures.objects() == []


def test_a_shorter_time_to_live_also_applies_after_batches_are_replaced(
    captures: Captures, clock: ManualClock
) -> None:
    captures.model(ttl=1000.0)
    captures.write(["one", "secret"])
    captures.set_policy("pets", CapturePolicy(random_fraction=1.0, ttl=200.0))
    captures.write(["two"])
    captures.set_policy("pets", CapturePolicy(random_fraction=1.0, ttl=1000.0))
    clock.advance(1.0)
    captures.write(["three"])
    captures.eraser.erase("pets", "secret")
    clock.advance(61.0)
    captures.eraser.clean()
    # Batches of other lifetimes stay apart.
    assert len(captures.objects()) == 2
    clock.advance(140.0)
    assert [captures.inputs.find("pets", name) is None for name in ("one", "two", "three")] == [
        True,
        True,
        False,
    ]


def test_a_shorter_time_to_live_changes_few_rows_of_many_inputs(captures: Captures) -> None:
    captures.model()
    for batch in range(2):
        captures.write([f"{batch}-{place}" for place in range(MAX_BATCH)])
    with changed_rows("UPDATE") as changed:
        captures.set_policy("pets", CapturePolicy(random_fraction=1.0, ttl=100.0))
    assert max(changed) == 2


def test_an_erased_input_leaves_its_neighbors_and_no_trace(captures: Captures) -> None:
    captures.model()
    captures.write(["secret", "one", "two"])
    assert captures.eraser.erase("pets", "secret")
    assert not captures.eraser.erase("pets", "secret")
    assert captures.inputs.find("pets", "secret") is None
    assert not contains(captures, b"secret")
    assert (read(captures, "one"), read(captures, "two")) == (b"one", b"two")
    assert len(captures.objects()) == 1
    with captures.database.snapshot() as connection:
        assert usage.wrong_sums(connection) == []
    (row, _) = captures.inputs.pending("pets", 10)
    features = captures.files.features(row.batch, row.features)
    assert features is not None
    assert len(features.views["last"]) == 2


@pytest.mark.parametrize("method", ["write", "remove"])
def test_a_repeated_erasure_finishes_what_a_failed_one_left(
    captures: Captures, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    captures.model()
    captures.write(["secret", "one"])

    def unavailable(*_: Any) -> Any:
        raise StorageUnavailable("The bucket does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(captures.files, method, unavailable)
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                captures.eraser.erase("pets", "secret")
    assert captures.inputs.find("pets", "secret") is None
    assert contains(captures, b"secret")
    assert captures.eraser.models_with("secret") == ["pets"]
    assert captures.eraser.erase("pets", "secret")
    assert not contains(captures, b"secret")
    assert captures.eraser.models_with("secret") == []
    assert read(captures, "one") == b"one"


def test_erasing_every_input_of_an_object_removes_it(captures: Captures) -> None:
    captures.model()
    captures.write(["one", "two"])
    captures.eraser.erase("pets", "one")
    captures.eraser.erase("pets", "two")
    assert captures.objects() == []
    assert captures.usage() == 0


def test_inputs_of_a_deleted_model_are_gone_even_if_it_comes_back(captures: Captures) -> None:
    captures.model()
    captures.write(["one"])
    captures.publisher.registry.delete_model("pets", force=True)
    captures.publisher.publish("pets")
    assert captures.inputs.find("pets", "one") is None
    assert captures.publisher.registry.reader.model("pets").capture is None
    with pytest.raises(ModelGoneError):
        captures.write(["two"])
    captures.eraser.clean()
    assert captures.objects() == []


def test_reviewed_inputs_are_not_pending(captures: Captures) -> None:
    captures.model()
    captures.write(["one", "two"])
    with captures.database.write() as connection:
        mark_reviewed(connection, "pets", "one", 1.0)
    assert [row.prediction_id for row in captures.inputs.pending("pets", 10)] == ["two"]
    status = captures.inputs.status("pets")
    assert (status.captured_count, status.pending_count) == (2, 1)


def test_gaps_are_counted_by_cause(captures: Captures) -> None:
    captures.model()
    captures.store.note_gaps("pets", Gaps(queue_full=2))
    captures.store.note_gaps("pets", Gaps(queue_full=1, quota_full=4, storage_failed=3))
    status = captures.inputs.status("pets")
    assert (status.queue_full, status.storage_failed, status.quota_full) == (3, 3, 4)
    assert status.last_gap is not None


def test_what_a_killed_process_left_is_removed(captures: Captures, clock: ManualClock) -> None:
    captures.model()
    batch = begin(captures.database, "pets")
    (captures.folder / batch).mkdir()
    (captures.folder / "orphan").mkdir()
    captures.eraser.clean()
    assert captures.objects() == sorted([batch, "orphan"])
    clock.advance(601.0)
    captures.eraser.clean()
    assert captures.eraser.remove_orphans(older_than=0.0) == 1
    assert captures.objects() == []


def test_small_batches_become_one_object_with_all_contents(captures: Captures, clock: ManualClock) -> None:
    captures.model()
    names = [f"input-{place}" for place in range(12)]
    for name in names:
        clock.advance(1.0)
        captures.write([name])
    captures.eraser.clean()
    assert len(captures.objects()) == 12
    clock.advance(61.0)
    captures.eraser.clean()
    assert len(captures.objects()) == 1
    assert [read(captures, name) for name in names] == [name.encode() for name in names]
    rows = {row.prediction_id: row for row in captures.inputs.pending("pets", 100)}
    features = captures.files.features(rows["input-3"].batch, rows["input-3"].features)
    assert features is not None
    assert features.views["last"][rows["input-3"].place] == pytest.approx(direction("input-3"))
    assert captures.usage() == captures.inputs.status("pets").captured_bytes
    with captures.database.snapshot() as connection:
        assert usage.wrong_sums(connection) == []


def test_batches_of_other_models_or_times_stay_apart(captures: Captures, clock: ManualClock) -> None:
    captures.model()
    captures.model("cars")
    captures.write(["one"])
    captures.write(["two"], model="cars")
    clock.advance(700.0)
    captures.write(["three"])
    clock.advance(61.0)
    captures.eraser.clean()
    assert len(captures.objects()) == 3


def test_a_damaged_neighbor_does_not_keep_an_input_from_being_erased(captures: Captures) -> None:
    captures.model()
    captures.write(["secret", "damaged", "sound"])
    (path,) = captures.folder.glob("*/contents")
    path.write_bytes(path.read_bytes().replace(b"damaged", b"DAMAGED"))
    captures.eraser.erase("pets", "secret")
    assert not contains(captures, b"secret")
    assert read(captures, "sound") == b"sound"
    assert captures.inputs.find("pets", "damaged") is None


def test_inputs_erased_while_their_object_is_written_again_are_gone(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.model()
    captures.write(["one", "two", "three"])
    other = CaptureEraser(captures.database, captures.files)
    write = captures.files.write
    calls: list[str] = []

    def erase_between(batch: str, *arguments: Any) -> Any:
        calls.append(batch)
        if len(calls) == 1:
            other.erase("pets", "two")
        return write(batch, *arguments)

    monkeypatch.setattr(captures.files, "write", erase_between)
    captures.eraser.erase("pets", "one")
    assert not contains(captures, b"one")
    assert not contains(captures, b"two")
    assert read(captures, "three") == b"three"
    captures.eraser.clean()
    assert len(captures.objects()) == 1


def test_a_merge_ends_if_one_of_its_batches_is_removed_meanwhile(
    captures: Captures, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.model()
    for name in ("oldest", "middle", "newest"):
        clock.advance(1.0)
        captures.write([name])
    clock.advance(61.0)
    write = captures.files.write
    written: list[str] = []

    def remove_one(batch: str, *arguments: Any) -> Any:
        written.append(batch)
        assert len(written) < 3, "The merge does not end."
        if len(written) == 1:
            captures.eraser.erase("pets", "oldest")
        return write(batch, *arguments)

    monkeypatch.setattr(captures.files, "write", remove_one)
    captures.eraser.clean()
    assert captures.inputs.find("pets", "oldest") is None
    captures.eraser.clean()
    assert [read(captures, name) for name in ("middle", "newest")] == [b"middle", b"newest"]
    assert len(captures.objects()) == 1


@pytest.mark.parametrize("why", ["large", "of other lifetimes"])
def test_many_batches_that_cannot_be_merged_do_not_keep_those_of_other_models_apart(
    captures: Captures, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(capture_eraser, "_SMALL", capture_eraser._SMALL.limit(10))
    monkeypatch.setattr(capture_eraser, "_MERGED_AT_ONCE", 10)
    captures.model("a/pets")
    captures.model("b/pets")
    for place in range(21):
        captures.write([f"a{place}"], model="a/pets")
    with captures.database.write() as connection:
        batches = list(connection.execute(select(capture_batches.c.batch)).scalars())
        for place, batch in enumerate(batches):
            values = {"nbytes": MAX_BATCH_BYTES} if why == "large" else {"ttl": 1000.0 + place}
            here = update(capture_batches).where(capture_batches.c.batch == batch)
            connection.execute(here.values(**values))
    for place in range(10):
        captures.write([f"b{place}"], model="b/pets")
    clock.advance(61.0)
    captures.eraser.clean()
    assert len(captures.objects()) == 21 + 1
    assert read(captures, "b9", "b/pets") == b"b9"


def make_unreadable(captures: Captures, name: str) -> None:
    """Change the row of an input as a newer release may write it."""
    with captures.database.write() as connection:
        here = update(captured_inputs).where(captured_inputs.c.prediction_id == name)
        connection.execute(here.values(predicted={"unheard-of": 1}))


@pytest.fixture(params=["disk", "row"])
def fault(
    captures: Captures, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> type[Exception]:
    """Store two inputs of a model, make one of them and their object unreadable; return the error."""
    captures.model("a/pets")
    captures.write(["bad", "erased"], model="a/pets")
    (batch,) = captures.objects()
    if request.param == "row":
        make_unreadable(captures, "bad")
        return WrittenByNewerRelease
    whole = captures.files.contents

    def contents(name: str, inputs: Any) -> dict[str, bytes]:
        if name == batch:
            raise LocalStorageUnavailable("The disk cannot read it.")
        return whole(name, inputs)

    monkeypatch.setattr(captures.files, "contents", contents)
    return LocalStorageUnavailable


def test_an_object_that_cannot_be_read_delays_no_removal_of_others(
    captures: Captures, clock: ManualClock, fault: type[Exception]
) -> None:
    captures.model("b/pets", ttl=100.0)
    captures.model("c/pets")
    captures.write(["expires"], model="b/pets")
    captures.write(["goes", "stays"], model="c/pets")
    with pytest.raises(fault):
        captures.eraser.erase("a/pets", "erased")
    with captures.database.write() as connection:
        # As an erasure that was killed left it.
        connection.execute(delete(captured_inputs).where(captured_inputs.c.prediction_id == "goes"))
        here = update(capture_batches).where(capture_batches.c.model == "c/pets")
        connection.execute(here.values(dirty=1))
    clock.advance(101.0)
    # The error is reported, after everything else.
    with pytest.raises(fault):
        captures.eraser.clean()
    assert not contains(captures, b"expires")
    assert not contains(captures, b"goes")
    assert read(captures, "stays", "c/pets") == b"stays"
    assert captures.usage("b") == 0


def test_an_object_that_cannot_be_read_fails_no_other_erasure_of_its_model(
    captures: Captures, fault: type[Exception]
) -> None:
    captures.write(["other"], model="a/pets")
    with pytest.raises(fault):
        captures.eraser.erase("a/pets", "erased")
    assert captures.eraser.erase("a/pets", "other")
    assert not contains(captures, b"other")
    # A repeated call does not know the object of its input.
    with pytest.raises(fault):
        captures.eraser.erase("a/pets", "erased")


def test_small_objects_next_to_one_that_cannot_be_read_are_merged(
    captures: Captures, clock: ManualClock, fault: type[Exception]
) -> None:
    captures.model("b/pets")
    for name in ("one", "two"):
        captures.write([name], model="b/pets")
    captures.write(["neighbor"], model="a/pets")
    clock.advance(61.0)
    with pytest.raises(fault):
        captures.eraser.clean()
    assert len(captures.objects()) == 3
    assert read(captures, "one", "b/pets") == b"one"


def test_an_erasure_fails_until_its_object_is_removed(
    captures: Captures, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.model()
    captures.model("b/pets", ttl=100.0)
    captures.write(["SECRET", "other"])
    captures.write(["expires"], model="b/pets")
    (path,) = [path for path in captures.folder.glob("*/contents") if b"SECRET" in path.read_bytes()]
    unlink = os.unlink

    def refuse(name: Any, *, dir_fd: int | None = None) -> None:
        folder = Path(name).parent if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        if folder.name == path.parent.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(LocalStorageUnavailable, match="right to read and write"):
            captures.eraser.erase("pets", "SECRET")
        assert contains(captures, b"SECRET")
        clock.advance(101.0)
        with pytest.raises(LocalStorageUnavailable):
            captures.eraser.clean()
        assert not contains(captures, b"expires")
    captures.eraser.clean()
    assert not contains(captures, b"SECRET")
    assert read(captures, "other") == b"other"


def test_an_orphan_that_cannot_be_removed_is_reported_and_keeps_no_other(
    captures: Captures, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (captures.folder / name).mkdir()
    remove = captures.files.remove

    def refuse(name: str) -> None:
        if name == "b":
            raise LocalStorageUnavailable("It cannot be removed.")
        remove(name)

    monkeypatch.setattr(captures.files, "remove", refuse)
    with pytest.raises(LocalStorageUnavailable):
        captures.eraser.remove_orphans(0.0)
    assert captures.objects() == ["b"]


def test_copies_that_cannot_be_removed_do_not_keep_the_input(captures: Captures) -> None:
    def fail(_: str) -> None:
        raise LocalStorageUnavailable("The thumbnails cannot be removed.")

    captures.model()
    captures.write(["secret", "other"])
    with pytest.raises(LocalStorageUnavailable):
        CaptureEraser(captures.database, captures.files, fail).erase("pets", "secret")
    assert not contains(captures, b"secret")


def test_an_input_that_a_newer_release_wrote_is_named(captures: Captures) -> None:
    captures.model()
    captures.write(["one", "two"])
    make_unreadable(captures, "one")
    with pytest.raises(WrittenByNewerRelease, match="Captured input 'one' of model 'pets'"):
        captures.inputs.find("pets", "one")
    assert captures.inputs.find("pets", "two") is not None


def test_a_model_whose_policy_a_newer_release_wrote_captures_nothing(captures: Captures) -> None:
    captures.model()
    with captures.database.write() as connection:
        connection.execute(update(models).values(capture={"random_fraction": "auto"}))
    with pytest.raises(ModelGoneError):
        captures.write(["one"])
    assert captures.inputs.find("pets", "one") is None
