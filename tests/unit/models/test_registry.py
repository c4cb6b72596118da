"""Which version is meant, what may be deleted, and what an alias names."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.exc import IntegrityError

from fakes import PATIENCE, ManualClock, Publisher, make_head, make_manifest
from headstart_server.auth.permissions import Scope
from headstart_server.database.database import Database
from headstart_server.database.tables import alias_shares, aliases, versions
from headstart_server.errors import (
    AliasNotFound,
    ArtifactDamaged,
    EtagMismatch,
    ModelNotEmpty,
    ModelNotFound,
    QuotaExceeded,
    VersionInUse,
    VersionNotFound,
)
from headstart_server.learning.heads.head import Head
from headstart_server.models import alias_rows, rows
from headstart_server.models.registry import Registry
from headstart_server.models.resident import ResidentVersions
from headstart_server.models.store import VersionStore
from headstart_server.models.traffic_split import TrafficRouter
from headstart_server.models.version import Alias, Manifest, Selector, TrafficSplit
from headstart_server.models.version_list import VersionOrder
from postgres import on_both_databases

pytestmark = on_both_databases


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def publisher(tmp_path: Path, clock: ManualClock, address: str | None) -> Iterator[Publisher]:
    publisher = Publisher(tmp_path, clock, address=address)
    yield publisher
    publisher.close()


@pytest.fixture
def registry(publisher: Publisher) -> Registry:
    return publisher.registry


def newest(registry: Registry, model: str = "pets") -> int:
    return registry.index.resolve(Selector(model=model))


# Numbers


def test_numbers_count_from_one_for_each_model(publisher: Publisher) -> None:
    assert [publisher.publish(), publisher.publish(), publisher.publish("cars"), publisher.publish()] == [
        1,
        2,
        1,
        3,
    ]


def test_the_number_of_a_deleted_version_is_never_used_again(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    publisher.registry.delete_version("pets", 2, force=False)
    assert newest(publisher.registry) == 1
    assert publisher.publish() == 3


def test_the_numbers_of_a_deleted_model_are_never_used_again(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    assert publisher.registry.delete_model("pets", force=True) == 2
    assert publisher.publish() == 3
    assert newest(publisher.registry) == 3
    assert newest(publisher.reopened()) == 3


def test_a_job_publishes_one_version_at_most(publisher: Publisher) -> None:
    publisher.publish(job_id="twice")
    with pytest.raises(IntegrityError):
        publisher.publish(job_id="twice")
    assert publisher.registry.reader.model("pets").version_count == 1


# Finding


def test_a_version_is_found_by_number_by_alias_and_as_the_newest(publisher: Publisher) -> None:
    publisher.publish(alias="stable")
    publisher.publish()
    for registry in (publisher.registry, publisher.reopened()):
        assert registry.index.resolve(Selector(model="pets", number=1)) == 1
        assert registry.index.resolve(Selector(model="pets", alias="stable")) == 1
        assert registry.index.resolve(Selector(model="pets")) == 2


def test_what_is_not_there_is_reported(publisher: Publisher) -> None:
    publisher.publish(alias="stable")
    publisher.publish(alias="canary")
    with pytest.raises(ModelNotFound) as model_not_found_error:
        publisher.registry.index.resolve(Selector(model="cars", number=1))
    with pytest.raises(ModelNotFound, match="separately, over HTTP as models/pets/aliases/stable"):
        publisher.registry.index.resolve(Selector(model="pets@stable"))
    with pytest.raises(ModelNotFound, match="separately, over HTTP as models/pets/versions/3"):
        publisher.registry.index.resolve(Selector(model="pets@3"))
    with pytest.raises(VersionNotFound) as no_version:
        publisher.registry.index.resolve(Selector(model="pets", number=7))
    with pytest.raises(AliasNotFound) as no_alias:
        publisher.registry.index.resolve(Selector(model="pets", alias="prod"))
    assert model_not_found_error.value.message == (
        "There is no model 'cars'. List the models to find its name, or fine-tune it first."
    )
    assert no_version.value.message == "Model 'pets' has no version 7. Its newest is 2."
    assert no_alias.value.message == "Model 'pets' has no alias 'prod'. Its aliases: canary, stable."


def test_a_version_is_found_by_no_one_once_its_time_has_passed(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish()
    publisher.publish(expires=clock() + 10, alias="canary")
    assert newest(publisher.registry) == 2
    clock.advance(9.999)
    assert newest(publisher.registry) == 2
    clock.advance(0.001)
    assert newest(publisher.registry) == 1
    for selector in (Selector(model="pets", number=2), Selector(model="pets", alias="canary")):
        with pytest.raises(VersionNotFound):
            publisher.registry.index.resolve(selector)


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_version_lives_by_the_clock_of_the_database_whatever_the_replica_s_says(
    publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: clock() + ahead)
    passed = ManualClock(77.0)
    replica = Registry(publisher.database, publisher.store, ResidentVersions(1000), clock=passed)
    publisher.publish()
    publisher.publish(expires=clock() + 10)
    replica.index.sync()
    # From here on the database is not read.
    passed.advance(9.999)
    assert newest(replica) == 2
    passed.advance(0.002)
    assert newest(replica) == 1


def test_an_alias_that_another_replica_has_moved_selects_its_version(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 1)
    replica = Registry(publisher.database, publisher.store, ResidentVersions(1000), clock=clock)
    replica.index.sync()
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 2)
    publisher.registry.delete_version("pets", 1, force=False)
    assert replica.selected(Selector(model="pets", alias="stable")).number == 2
    with pytest.raises(VersionNotFound):
        replica.selected(Selector(model="pets", number=1))


def test_a_replica_goes_by_the_database_s_clock_when_that_is_set(
    publisher: Publisher, clock: ManualClock
) -> None:
    passed = ManualClock(77.0)
    replica = Registry(publisher.database, publisher.store, ResidentVersions(1000), clock=passed)
    publisher.publish()
    publisher.publish(expires=clock() + 10)
    replica.index.sync()
    clock.advance(60)
    replica.index.sync()
    assert newest(replica) == 1
    clock.advance(-60)
    replica.index.sync()
    assert newest(replica) == 2


def test_a_model_whose_versions_have_all_expired_is_not_found(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish(expires=clock() + 10)
    clock.advance(10)
    with pytest.raises(ModelNotFound):
        newest(publisher.registry)


def test_expired_versions_are_deleted_with_their_aliases_and_files(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish()
    publisher.publish(expires=clock() + 10, alias="canary")
    publisher.publish("cars", expires=clock() + 20)
    assert publisher.registry.delete_expired() == 0
    clock.advance(10)
    assert publisher.registry.delete_expired() == 1
    assert publisher.registry.reader.model("pets").aliases == ()
    assert [version.number for version in publisher.registry.reader.versions("pets", limit=9)] == [1]
    assert sorted(publisher.store.artifacts()) == ["job-1.1", "job-3.1"]
    clock.advance(10)
    assert publisher.registry.delete_expired() == 1
    assert publisher.publish("cars") == 2


def test_two_replicas_that_clean_at_once_delete_each_version_once(
    publisher: Publisher, clock: ManualClock
) -> None:
    other = publisher.reopened()
    for _ in range(30):
        publisher.publish(expires=clock() + 10)
    clock.advance(10)
    ready, deleted = threading.Barrier(2), []

    def clean(registry: Registry) -> None:
        ready.wait(PATIENCE)
        deleted.append(registry.delete_expired())

    threads = [threading.Thread(target=clean, args=(registry,)) for registry in (publisher.registry, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(deleted) == 30
    assert list(publisher.store.artifacts()) == []


# Memory


def test_a_version_is_read_once_and_kept(publisher: Publisher) -> None:
    publisher.publish(head=make_head(seed=5))
    assert publisher.registry.files.resident("pets", 1) is None
    loaded = publisher.registry.files.load("pets", 1)
    assert loaded.head.weights.tobytes() == make_head(seed=5).weights.tobytes()
    assert (loaded.backbone, loaded.backbone_digest) == ("fake", "b" * 64)
    publisher.store.remove("job-1.1")
    assert publisher.registry.files.load("pets", 1) is publisher.registry.files.resident("pets", 1) is loaded


def test_versions_beyond_the_bytes_are_dropped_and_read_again(
    tmp_path: Path, clock: ManualClock, address: str | None
) -> None:
    publisher = Publisher(tmp_path, clock, address=address, resident_bytes=2 * make_head().nbytes)
    for seed in (1, 2, 3):
        publisher.publish(head=make_head(seed=seed))
        publisher.registry.files.load("pets", seed)
    assert publisher.registry.files.resident("pets", 1) is None
    assert publisher.resident.nbytes == 2 * make_head().nbytes
    again = publisher.registry.files.load("pets", 1)
    assert again.head.weights.tobytes() == make_head(seed=1).weights.tobytes()
    assert publisher.registry.files.resident("pets", 2) is None
    publisher.close()


def test_a_deleted_version_leaves_memory_disk_and_rows(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    publisher.registry.files.load("pets", 1)
    publisher.registry.delete_version("pets", 1, force=False)
    assert publisher.registry.files.resident("pets", 1) is None
    assert list(publisher.store.artifacts()) == ["job-2.1"]
    for look in (publisher.registry.files.load, publisher.registry.reader.version):
        with pytest.raises(VersionNotFound):
            look("pets", 1)
    with pytest.raises(VersionNotFound):
        publisher.registry.index.resolve(Selector(model="pets", number=1))


class DeletingStore(VersionStore):
    """Loses the files of a version between the look at its row and the read, as a delete by another does."""

    registry: Registry

    def read(self, artifact: str, manifest: Manifest) -> Head:
        self.registry.delete_version(manifest.model, 1, force=True)
        return super().read(artifact, manifest)


def test_a_version_deleted_while_it_is_read_is_not_called_damaged(
    publisher: Publisher, tmp_path: Path, clock: ManualClock
) -> None:
    publisher.publish()
    store = DeletingStore(tmp_path / "versions")
    store.registry = Registry(publisher.database, store, ResidentVersions(1000), clock=clock)
    with pytest.raises(VersionNotFound):
        store.registry.files.load("pets", 1)


class OvertakenStore(VersionStore):
    """Reads a head, and before that is kept another replica deletes its version and this one hears of it."""

    deleting: Registry
    reading: Registry

    def read(self, artifact: str, manifest: Manifest) -> Head:
        head = super().read(artifact, manifest)
        self.deleting.delete_version(manifest.model, 1, force=True)
        self.reading.index.sync()
        return head


def test_a_version_deleted_elsewhere_while_it_is_loaded_does_not_stay_in_memory(
    publisher: Publisher, tmp_path: Path, clock: ManualClock
) -> None:
    publisher.publish()
    publisher.publish()
    store, kept = OvertakenStore(tmp_path / "versions"), ResidentVersions(100_000)
    store.deleting = publisher.registry
    store.reading = registry = Registry(publisher.database, store, kept, clock=clock)
    assert registry.files.load("pets", 1)
    assert (len(kept), kept.nbytes) == (0, 0)
    assert registry.reader.model("pets").resident_count == 0


def in_memory(registry: Registry, model: str = "pets") -> tuple[int, list[int]]:
    """How many versions a replica says it has in memory, and which."""
    found = [one.number for one in registry.reader.versions(model, limit=9) if one.is_resident]
    assert registry.reader.model(model).resident_count == len(found)
    assert {one.name: one.resident_count for one in registry.reader.models(after="", limit=9)}[model] == len(
        found
    )
    return len(found), found


def test_each_replica_reports_what_it_has_in_memory_after_evictions_loads_and_deletions(
    publisher: Publisher, clock: ManualClock
) -> None:
    # One has room for two heads, the other one for one.
    kept = [ResidentVersions(count * make_head().nbytes) for count in (2, 1)]
    first, second = (Registry(publisher.database, publisher.store, one, clock=clock) for one in kept)
    for seed in (1, 2, 3):
        publisher.publish(head=make_head(seed=seed))
    publisher.publish("cars")
    for replica in (first, second):
        replica.index.sync()
        for number in (1, 2, 3):
            replica.files.load("pets", number)
    assert (in_memory(first), in_memory(second)) == ((2, [3, 2]), (1, [3]))
    # What was read counts as used, not what was listed.
    first.files.load("pets", 2)
    first.files.load("cars", 1)
    assert (in_memory(first), in_memory(first, "cars")) == ((1, [2]), (1, [1]))
    second.files.load("pets", 1)
    assert (in_memory(first), in_memory(second)) == ((1, [2]), (1, [1]))
    second.delete_version("pets", 2, force=False)
    assert in_memory(first, "cars") == (1, [1])
    first.index.sync()
    assert (in_memory(first), in_memory(second)) == ((0, []), (1, [1]))
    assert [(len(one), one.nbytes) for one in kept] == [(1, make_head().nbytes)] * 2
    second.delete_model("cars", force=True)
    first.index.sync()
    assert (len(kept[0]), kept[0].nbytes) == (0, 0)


def test_damaged_files_are_reported_as_such(publisher: Publisher) -> None:
    publisher.publish()
    publisher.store.remove("job-1.1")
    with pytest.raises(ArtifactDamaged):
        publisher.registry.files.load("pets", 1)
    assert publisher.registry.files.resident("pets", 1) is None


# Deleting


def test_a_version_that_aliases_name_is_deleted_by_force_only(publisher: Publisher) -> None:
    publisher.publish(alias="stable")
    publisher.registry.set_alias("pets", "canary", 1)
    publisher.publish()
    with pytest.raises(VersionInUse) as caught:
        publisher.registry.delete_version("pets", 1, force=False)
    assert caught.value.message == (
        "Aliases refer to version 1 of model 'pets': canary, stable. "
        "Move or delete them first, or delete with force."
    )
    assert publisher.registry.index.resolve(Selector(model="pets", alias="stable")) == 1
    publisher.registry.delete_version("pets", 1, force=True)
    assert publisher.registry.reader.model("pets").aliases == ()
    with pytest.raises(AliasNotFound):
        publisher.registry.index.resolve(Selector(model="pets", alias="stable"))


def test_a_deleted_model_is_gone_until_it_is_fine_tuned_again(publisher: Publisher) -> None:
    publisher.publish(alias="stable")
    publisher.publish("cars")
    publisher.registry.files.load("pets", 1)
    publisher.registry.delete_model("pets", force=True)
    assert publisher.registry.files.resident("pets", 1) is None
    assert list(publisher.store.artifacts()) == ["job-2.1"]
    for registry in (publisher.registry, publisher.reopened()):
        with pytest.raises(ModelNotFound):
            newest(registry)
        with pytest.raises(ModelNotFound):
            registry.reader.model("pets")
        with pytest.raises(ModelNotFound):
            registry.set_alias("pets", "stable", 1)
        assert [model.name for model in registry.reader.models(after="", limit=9)] == ["cars"]
    with pytest.raises(ModelNotFound):
        publisher.registry.delete_model("pets", force=True)
    with pytest.raises(ModelNotFound):
        publisher.registry.delete_version("pets", 1, force=True)
    publisher.publish()
    assert publisher.registry.reader.model("pets").version_count == 1
    assert publisher.registry.reader.model("pets").aliases == ()


def test_a_model_without_versions_stays_listed(publisher: Publisher) -> None:
    publisher.publish()
    publisher.registry.delete_version("pets", 1, force=False)
    model = publisher.registry.reader.model("pets")
    assert (model.newest, model.version_count) == (0, 0)
    with pytest.raises(ModelNotFound):
        newest(publisher.registry)


def test_deleting_what_is_not_there_is_reported(publisher: Publisher) -> None:
    publisher.publish()
    with pytest.raises(ModelNotFound):
        publisher.registry.delete_version("cars", 1, force=False)
    with pytest.raises(VersionNotFound):
        publisher.registry.delete_version("pets", 2, force=False)


def test_files_without_a_row_are_left_over_and_removed(publisher: Publisher) -> None:
    publisher.publish()
    manifest = publisher.registry.reader.version("pets", 1).manifest
    publisher.store.write("lost.1", make_head(), manifest)
    assert publisher.registry.remove_leftovers(set) == 1
    assert list(publisher.store.artifacts()) == ["job-1.1"]
    assert publisher.registry.files.load("pets", 1)
    assert publisher.registry.remove_leftovers(set) == 0


def test_files_of_a_job_on_its_way_are_not_left_over(publisher: Publisher) -> None:
    publisher.publish()
    for artifact in ("busy.1", "busy.2.fit", "ended.1"):
        publisher.store.write(artifact, make_head(), make_manifest())
    assert publisher.registry.remove_leftovers(lambda: {"busy"}) == 1
    assert sorted(publisher.store.artifacts()) == ["busy.1", "busy.2.fit", "job-1.1"]


def test_files_of_a_job_that_publishes_during_the_look_are_not_left_over(publisher: Publisher) -> None:
    publisher.store.write("job-1.1", make_head(), make_manifest())

    def publishes() -> set[str]:
        publisher.publish()
        return set()

    assert publisher.registry.remove_leftovers(publishes) == 0
    assert publisher.registry.files.load("pets", 1)


def test_files_are_old_by_the_clock_that_dated_them(
    publisher: Publisher, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's clock is years behind theirs here, and this replica's two hours ahead."""
    publisher.store.write("lost.1", make_head(), make_manifest())
    monkeypatch.setattr(time, "time", lambda right=time.time: right() + 7200)
    assert publisher.registry.remove_leftovers(set, older_than=3600) == 0
    lost = publisher.folder / "versions" / "lost.1"
    written = lost.stat().st_mtime - 3601
    os.utime(lost, (written, written))
    assert publisher.registry.remove_leftovers(set, older_than=3600) == 1


# Several replicas


def test_what_another_replica_changes_is_found_by_catching_up(publisher: Publisher) -> None:
    other = publisher.reopened()
    with pytest.raises(ModelNotFound):
        other.index.resolve(Selector(model="pets"))
    publisher.publish(alias="stable")
    publisher.publish()
    other.index.sync()
    assert other.index.resolve(Selector(model="pets")) == 2
    assert other.index.resolve(Selector(model="pets", alias="stable")) == 1
    publisher.registry.set_alias("pets", "stable", 2)
    other.index.sync()
    assert other.index.resolve(Selector(model="pets", alias="stable")) == 2
    assert other.files.load("pets", 1)
    publisher.registry.delete_version("pets", 1, force=False)
    other.index.sync()
    assert other.files.resident("pets", 1) is None
    publisher.registry.delete_model("pets", force=True)
    other.index.sync()
    with pytest.raises(ModelNotFound):
        other.index.resolve(Selector(model="pets"))


def test_what_another_replica_has_just_made_is_found_at_once(publisher: Publisher) -> None:
    other = publisher.reopened()
    publisher.publish(alias="stable")
    assert other.index.find(Selector(model="pets")) == 1
    publisher.publish(alias="next")
    assert other.index.find(Selector(model="pets", alias="next")) == 2
    publisher.publish()
    assert other.index.find(Selector(model="pets", number=3)) == 3
    for missing in (Selector(model="cars"), Selector(model="pets", number=4)):
        with pytest.raises((ModelNotFound, VersionNotFound)):
            other.index.find(missing)


def test_catching_up_leaves_models_alone_that_did_not_change(publisher: Publisher) -> None:
    publisher.publish("pets")
    publisher.publish("cars")
    other = publisher.reopened()
    with publisher.database.write() as connection:
        # Behind the counter's back: only who reads the model again can see it.
        connection.execute(delete(versions).where(versions.c.model == "cars"))
    publisher.publish("pets")
    other.index.sync()
    assert other.index.resolve(Selector(model="pets")) == 2
    assert other.index.resolve(Selector(model="cars")) == 1


def test_a_change_that_fails_is_no_change(publisher: Publisher) -> None:
    publisher.publish()
    with publisher.database.read() as connection:
        before = rows.last_revision(connection)
    with pytest.raises(VersionNotFound):
        publisher.registry.set_alias("pets", "stable", 9)
    with publisher.database.read() as connection:
        assert rows.last_revision(connection) == before


# Aliases


def moved(registry: Registry, number: int, etag: str = "", alias: str = "stable") -> Alias:
    return registry.set_alias("pets", alias, number, etag=etag)


def test_an_alias_is_set_moved_and_removed(publisher: Publisher, clock: ManualClock) -> None:
    publisher.publish()
    publisher.publish()
    first = moved(publisher.registry, 1)
    assert (first.name, first.number, first.updated) == ("stable", 1, clock())
    clock.advance(5)
    second = moved(publisher.registry, 2)
    assert (second.number, second.updated) == (2, clock())
    assert publisher.registry.reader.model("pets").aliases == (second,)
    assert publisher.registry.reader.version("pets", 2).aliases == ("stable",)
    assert publisher.registry.reader.version("pets", 1).aliases == ()
    publisher.registry.delete_alias("pets", "stable")
    with pytest.raises(AliasNotFound):
        publisher.registry.index.resolve(Selector(model="pets", alias="stable"))


def test_an_alias_moves_for_the_etag_it_has_now_and_no_other(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish()
    publisher.publish()
    first = moved(publisher.registry, 1)
    second = moved(publisher.registry, 2, etag=first.etag)
    assert second.etag != first.etag
    with pytest.raises(EtagMismatch):
        moved(publisher.registry, 1, etag=first.etag)
    with pytest.raises(EtagMismatch):
        publisher.registry.delete_alias("pets", "stable", etag=first.etag)
    assert publisher.registry.index.resolve(Selector(model="pets", alias="stable")) == 2
    publisher.registry.delete_alias("pets", "stable", etag=second.etag)
    with pytest.raises(EtagMismatch) as caught:
        moved(publisher.registry, 1, etag=second.etag)
    assert "was deleted after its etag" in caught.value.message


def test_an_etag_does_not_come_back_with_its_version(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    first = moved(publisher.registry, 1)
    moved(publisher.registry, 2)
    again = moved(publisher.registry, 1)
    assert again.etag != first.etag
    with pytest.raises(EtagMismatch):
        moved(publisher.registry, 2, etag=first.etag)


def test_an_etag_does_not_come_back_with_an_alias_made_again(
    publisher: Publisher, clock: ManualClock
) -> None:
    publisher.publish()
    first = moved(publisher.registry, 1)
    clock.advance(1e-3)
    publisher.registry.delete_alias("pets", "stable")
    clock.advance(1e-3)
    again = moved(publisher.registry, 1)
    with pytest.raises(EtagMismatch):
        moved(publisher.registry, 1, etag=first.etag)
    assert moved(publisher.registry, 1, etag=again.etag).number == 1


def test_of_many_who_move_with_one_etag_one_wins(publisher: Publisher) -> None:
    for _ in range(5):
        publisher.publish()
    first = moved(publisher.registry, 1)
    outcomes: list[object] = []
    ready = threading.Barrier(4)

    def move(number: int) -> None:
        ready.wait(PATIENCE)
        try:
            outcomes.append(moved(publisher.registry, number, etag=first.etag))
        except EtagMismatch:
            outcomes.append(None)

    threads = [threading.Thread(target=move, args=(number,)) for number in (2, 3, 4, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    (winner,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(winner, Alias)
    assert publisher.registry.index.resolve(Selector(model="pets", alias="stable")) == winner.number


def test_an_alias_names_versions_there_are(publisher: Publisher) -> None:
    publisher.publish()
    with pytest.raises(VersionNotFound):
        moved(publisher.registry, 2)
    with pytest.raises(AliasNotFound):
        publisher.registry.delete_alias("pets", "stable")
    with pytest.raises(ModelNotFound):
        publisher.registry.set_alias("cars", "stable", 1)
    assert publisher.registry.reader.model("pets").aliases == ()


# Shares of an alias's calls


KEYS = [f"user {place}" for place in range(60)]


def half(number: int) -> TrafficSplit:
    return TrafficSplit(number=number, fraction=0.5)


def answering(registry: Registry, alias: str = "stable") -> set[int]:
    """The versions that answer the calls of many keys."""
    selector = Selector(model="pets", alias=alias)
    return {registry.index.resolve(selector, TrafficRouter(lambda key=key: key)) for key in KEYS}


def test_an_alias_gives_others_a_share_at_every_replica(publisher: Publisher) -> None:
    other = publisher.reopened()
    for _ in range(3):
        publisher.publish()
    given = (half(2), TrafficSplit(number=3, fraction=0.25))
    alias = publisher.registry.set_alias("pets", "stable", 1, shares=given)
    assert alias.traffic == given
    other.index.sync()
    for registry in (publisher.registry, other, publisher.reopened()):
        assert answering(registry) == {1, 2, 3}
        # A caller that does not predict means the version that it names.
        assert registry.index.resolve(Selector(model="pets", alias="stable")) == 1
        assert registry.index.resolve(Selector(model="pets"), TrafficRouter()) == 3
        assert registry.reader.model("pets").aliases == (alias,)
    assert publisher.registry.reader.version("pets", 2).aliases == ()
    selector = Selector(model="pets", alias="stable")
    for key in KEYS:
        assert other.index.find(
            selector, TrafficRouter(lambda key=key: key)
        ) == publisher.registry.index.resolve(selector, TrafficRouter(lambda key=key: key))


def test_the_etag_covers_the_shares(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    first = moved(publisher.registry, 1)
    second = publisher.registry.set_alias("pets", "stable", 1, etag=first.etag, shares=[half(2)])
    assert second.etag != first.etag
    with pytest.raises(EtagMismatch):
        publisher.registry.set_alias("pets", "stable", 1, etag=first.etag)
    assert answering(publisher.registry) == {1, 2}


def test_whatever_moves_an_alias_ends_the_shares_it_gave(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    moved(publisher.registry, 1)
    assert answering(publisher.registry) == answering(publisher.reopened()) == {1}
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    # As a fine-tune does.
    assert publisher.publish(alias="stable") == 3
    assert answering(publisher.registry) == {3}
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    publisher.registry.delete_alias("pets", "stable")
    moved(publisher.registry, 1)
    assert publisher.registry.reader.model("pets").aliases[0].traffic == ()


def test_an_alias_that_an_earlier_release_moves_gives_no_shares_any_more(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    with publisher.database.write() as connection:
        rows.bump_revision(connection, ["pets"])
        connection.execute(update(aliases).values(number=2, moves=aliases.c.moves + 1))
    publisher.registry.index.sync()
    assert answering(publisher.registry) == {2}
    assert publisher.registry.reader.model("pets").aliases[0].traffic == ()
    # And the rows it left are in no one's way.
    publisher.registry.set_alias("pets", "stable", 2, shares=[half(1)])
    assert answering(publisher.registry) == {1, 2}


def test_a_version_with_a_share_is_deleted_by_force_only(publisher: Publisher) -> None:
    for _ in range(3):
        publisher.publish()
    given = publisher.registry.set_alias(
        "pets", "stable", 1, shares=[half(2), TrafficSplit(number=3, fraction=0.25)]
    )
    with pytest.raises(VersionInUse) as caught:
        publisher.registry.delete_version("pets", 2, force=False)
    assert "'pets': stable (a share of the traffic)." in caught.value.message
    publisher.registry.delete_version("pets", 2, force=True)
    (left,) = publisher.registry.reader.model("pets").aliases
    assert (left.number, left.traffic) == (1, (TrafficSplit(number=3, fraction=0.25),))
    assert left.etag != given.etag
    assert answering(publisher.registry) == answering(publisher.reopened()) == {1, 3}
    # The alias goes with the version that it names, and its shares with it.
    publisher.registry.delete_version("pets", 1, force=True)
    assert publisher.registry.reader.model("pets").aliases == ()
    publisher.registry.delete_version("pets", 3, force=False)


def test_a_version_with_a_share_outlives_its_time(publisher: Publisher, clock: ManualClock) -> None:
    publisher.publish()
    publisher.publish(expires=clock() + 10)
    other = publisher.reopened()
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    other.index.sync()
    clock.advance(11)
    assert publisher.registry.delete_expired() == 0
    for registry in (publisher.registry, other, publisher.reopened()):
        assert answering(registry) == {1, 2}
    moved(publisher.registry, 1)
    with pytest.raises(VersionNotFound):
        publisher.registry.index.resolve(Selector(model="pets", number=2))
    assert publisher.registry.delete_expired() == 1


def test_shares_are_given_to_versions_there_are(publisher: Publisher) -> None:
    publisher.publish()
    with pytest.raises(VersionNotFound):
        publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    assert publisher.registry.reader.model("pets").aliases == ()


def test_a_model_is_deleted_with_its_shares(publisher: Publisher) -> None:
    publisher.publish()
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 1, shares=[half(2)])
    publisher.registry.delete_model("pets", force=True)
    with publisher.database.read() as connection:
        assert connection.execute(select(alias_shares)).all() == []


# Listing


def test_models_come_by_name_in_pages(publisher: Publisher) -> None:
    for name in ("cars", "Pets", "birds", "ants-2", "ants"):
        publisher.publish(name)
    pages, after = [], ""
    while page := publisher.registry.reader.models(after=after, limit=2):
        pages.append([model.name for model in page])
        after = page[-1].name
    assert pages == [["Pets", "ants"], ["ants-2", "birds"], ["cars"]]


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (Scope(), ["100%", "Pets", "pets", "pets-1"]),
        (Scope(models=("pets*",)), ["pets", "pets-1"]),
        (Scope(models=("pets", "P*")), ["Pets", "pets"]),
        (Scope(models=("1*",)), ["100%"]),
        (Scope(models=("_ets*",)), []),
        (Scope(models=()), []),
        (Scope(models=("red/*", "red/pets")), []),
        (Scope(tenant="red"), ["red/cars", "red/pets"]),
        (Scope(tenant="red", models=("pets*",)), ["red/pets"]),
        (Scope(tenant="Red"), []),
        (Scope(tenant="re"), []),
    ],
)
def test_a_scope_has_the_models_of_one_tenant_that_fit(
    publisher: Publisher, scope: Scope, names: list[str]
) -> None:
    for name in ("Pets", "pets", "pets-1", "100%", "red/pets", "red/cars", "blue/pets"):
        publisher.publish(name)
    found = publisher.registry.reader.models(after="", limit=9, scope=scope)
    # Whether capital letters come first is the database's.
    assert sorted(model.name for model in found) == names
    versions = publisher.registry.reader.all_versions(scope=scope)
    assert sorted(version.model for version in versions) == names


def test_versions_come_newest_first_in_pages(publisher: Publisher) -> None:
    for _ in range(5):
        publisher.publish()
    publisher.publish("cars")
    pages, after = [], None
    while page := publisher.registry.reader.versions("pets", after=after, limit=2):
        pages.append([version.number for version in page])
        after = VersionOrder().key(page[-1])
    assert pages == [[5, 4], [3, 2], [1]]


def test_a_version_has_its_lineage(publisher: Publisher, clock: ManualClock) -> None:
    clock.advance(3)
    publisher.publish(alias="stable", expires=clock() + 60, display_name="Our pets", seed=2**64 - 1)
    version = publisher.registry.reader.version("pets", 1)
    assert (version.model, version.number, version.aliases) == ("pets", 1, ("stable",))
    assert (version.created, version.expires) == (clock(), clock() + 60)
    assert (version.manifest.display_name, version.manifest.seed) == ("Our pets", 2**64 - 1)
    assert version.size_bytes > make_head().weights.nbytes


# Routes in memory


class PausingDatabase(Database):
    """Holds the first snapshot of a chosen thread after it was read, until let go or for a moment."""

    def __init__(self, target: Path | str) -> None:
        super().__init__(target)
        self.slow: threading.Thread | None = None
        self.read_old = threading.Event()
        self.release = threading.Event()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        with super().snapshot() as connection:
            yield connection
            if threading.current_thread() is self.slow:
                self.slow = None
                self.read_old.set()
                # In vain where refreshes take turns: the other one waits for this one.
                self.release.wait(0.2)


def test_of_two_refreshes_at_once_the_later_commit_is_what_stays(
    tmp_path: Path, publisher: Publisher, clock: ManualClock, address: str | None
) -> None:
    publisher.publish()
    database = PausingDatabase(address or tmp_path / "headstart.sqlite3")
    registry = Registry(database, publisher.store, ResidentVersions(1000), clock=clock)

    def commit_and_refresh() -> None:
        registry.set_alias("pets", "stable", 1)
        database.release.set()

    slow = threading.Thread(target=registry.index.refresh, args=("pets",))
    database.slow = slow
    slow.start()
    assert database.read_old.wait(PATIENCE)
    fast = threading.Thread(target=commit_and_refresh)
    fast.start()
    for thread in (slow, fast):
        thread.join(PATIENCE)
    assert registry.index.resolve(Selector(model="pets", alias="stable")) == 1
    database.close()


def test_a_model_has_so_many_aliases_and_no_more(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias_rows, "MAX_ALIASES", 2)
    publisher.publish()
    for name in ("one", "two"):
        publisher.registry.set_alias("pets", name, 1)
    with pytest.raises(QuotaExceeded, match="maximum number of aliases, 2"):
        publisher.registry.set_alias("pets", "three", 1)
    # Those there are can be moved, and room made.
    publisher.registry.set_alias("pets", "one", 1)
    publisher.registry.delete_alias("pets", "two")
    publisher.registry.set_alias("pets", "three", 1)


def test_a_model_with_versions_is_deleted_by_force_only(publisher: Publisher) -> None:
    publisher.publish()
    with pytest.raises(ModelNotEmpty, match="has 1 version"):
        publisher.registry.delete_model("pets", force=False)
    publisher.registry.delete_version("pets", 1, force=False)
    assert publisher.registry.delete_model("pets", force=False) == 0
    with pytest.raises(ModelNotFound):
        publisher.registry.reader.model("pets")
