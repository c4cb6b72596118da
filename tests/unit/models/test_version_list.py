"""Versions are listed by filter and in order, and what people say about them can be changed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import ManualClock, Publisher
from headstart_server.errors import InvalidField, ModelNotFound, VersionNotFound
from headstart_server.models.updates import Expiration
from headstart_server.models.version import Selector
from headstart_server.models.version_list import VersionFilter, VersionOrder
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


def numbers(
    publisher: Publisher, order: str = "", after: Any = None, limit: int = 9, **condition: Any
) -> list[int]:
    found = publisher.registry.reader.versions(
        "pets",
        limit=limit,
        condition=VersionFilter(**condition),
        order=VersionOrder.of(order),
        after=after,
    )
    return [version.number for version in found]


def test_versions_are_listed_in_each_order_and_continue_after_each(
    publisher: Publisher, clock: ManualClock
) -> None:
    for _ in range(4):
        publisher.publish("pets")
        clock.advance(10.0)
    publisher.publish("cars")
    for text in (
        "",
        "version",
        "version desc",
        "create_time",
        "create_time desc",
        "size_bytes",
        "size_bytes desc",
    ):
        order = VersionOrder.of(text)
        whole = numbers(publisher, text)
        assert sorted(whole) == [1, 2, 3, 4]
        seen: list[int] = []
        after = None
        while found := publisher.registry.reader.versions("pets", limit=1, order=order, after=after):
            seen += [version.number for version in found]
            after = order.key(found[-1])
            assert [type(part) for part in after] == list(order.key_types)
        assert seen == whole
    assert (
        numbers(publisher)
        == numbers(publisher, "version desc")
        == numbers(publisher, "create_time desc")
        == [4, 3, 2, 1]
    )
    assert numbers(publisher, "version") == numbers(publisher, "create_time asc") == [1, 2, 3, 4]


@pytest.mark.parametrize("text", ["number", "version down", "version desc desc", "version,create_time", " "])
def test_an_unknown_order_is_rejected(publisher: Publisher, text: str) -> None:
    with pytest.raises(InvalidField) as caught:
        VersionOrder.of(text)
    assert caught.value.field == "order_by"


def test_versions_are_filtered_by_tags_alias_backbone_and_time(
    publisher: Publisher, clock: ManualClock
) -> None:
    for tags in ({"team": "a"}, {"team": "b", "q\"$.'ä": "x'%"}, {}):
        publisher.publish(tags=tags)
        clock.advance(10.0)
    publisher.registry.set_alias("pets", "stable", 2)
    start = clock() - 30.0
    assert numbers(publisher, tags={"team": "a"}) == [1]
    assert numbers(publisher, tags={"team": "b", "q\"$.'ä": "x'%"}) == [2]
    assert numbers(publisher, tags={"team": "a", "q\"$.'ä": "x'%"}) == []
    assert numbers(publisher, tags={"TEAM": "a"}) == []
    assert numbers(publisher, alias="stable") == [2]
    assert numbers(publisher, alias="other") == []
    backbone = publisher.registry.reader.version("pets", 1).manifest.backbone
    assert numbers(publisher, backbone=backbone) == [3, 2, 1]
    assert numbers(publisher, backbone="other") == []
    assert numbers(publisher, created_after=start + 10.0) == [3, 2]
    assert numbers(publisher, created_before=start + 10.0) == [1]
    assert numbers(publisher, tags={"team": "a"}, created_after=start + 10.0) == []
    publisher.registry.update_version("pets", 3, {"tags": {"team": "a"}}, None)
    publisher.registry.update_version("pets", 1, {"tags": {}}, None)
    assert numbers(publisher, tags={"team": "a"}) == [3]


def test_details_of_a_version_are_changed_one_by_one_and_its_manifest_stays(publisher: Publisher) -> None:
    number = publisher.publish(display_name="first", tags={"a": "1"})
    registry = publisher.registry
    changed = registry.update_version("pets", number, {"description": "long\ntext"}, None)
    assert (changed.manifest.display_name, dict(changed.manifest.tags)) == ("first", {"a": "1"})
    assert changed.description == "long\ntext"
    changed = registry.update_version("pets", number, {"display_name": "", "tags": {}}, None)
    assert (changed.manifest.display_name, dict(changed.manifest.tags)) == ("", {})
    assert changed.description == "long\ntext"
    assert publisher.reopened().reader.version("pets", number) == changed
    assert registry.update_version("pets", number, {}, None) == changed


def test_an_expiration_is_set_moved_and_removed(publisher: Publisher, clock: ManualClock) -> None:
    number = publisher.publish()
    registry = publisher.registry
    assert registry.update_version("pets", number, {}, Expiration(ttl=60.0)).expires == clock() + 60
    moved = registry.update_version("pets", number, {}, Expiration(time=clock() + 90))
    assert moved.expires == clock() + 90
    # What is not named stays.
    assert registry.update_version("pets", number, {"display_name": "x"}, None).expires == clock() + 90
    assert registry.update_version("pets", number, {}, Expiration()).expires is None
    registry.update_version("pets", number, {}, Expiration(ttl=1.0))
    clock.advance(2.0)
    registry.index.sync()
    with pytest.raises(ModelNotFound):
        registry.index.resolve(Selector(model="pets", number=number))
    # What has expired does not come back.
    with pytest.raises(VersionNotFound):
        registry.update_version("pets", number, {}, Expiration())
    assert registry.delete_expired() == 1


@pytest.mark.parametrize(
    ("expiration", "field"),
    [
        (Expiration(ttl=0.5), "ttl"),
        (Expiration(ttl=-5.0), "ttl"),
        (Expiration(ttl=1e18), "ttl"),
        (Expiration(ttl=float("nan")), "ttl"),
        (Expiration(time=5.0), "expire_time"),
        (Expiration(time=1e18), "expire_time"),
    ],
)
def test_an_expiration_out_of_range_is_rejected_and_changes_nothing(
    publisher: Publisher, expiration: Expiration, field: str
) -> None:
    number = publisher.publish()
    before = publisher.registry.reader.version("pets", number)
    with pytest.raises(InvalidField) as caught:
        publisher.registry.update_version("pets", number, {"display_name": "x"}, expiration)
    assert caught.value.field == field
    assert publisher.registry.reader.version("pets", number) == before


def test_details_of_a_model_are_changed_and_go_with_it(publisher: Publisher) -> None:
    publisher.publish()
    registry = publisher.registry
    changed = registry.update_model("pets", {"display_name": "Pets", "tags": {"a": "1"}})
    assert (changed.display_name, changed.description, dict(changed.tags)) == ("Pets", "", {"a": "1"})
    assert registry.update_model("pets", {"description": "d"}).display_name == "Pets"
    registry.delete_model("pets", force=True)
    with pytest.raises(ModelNotFound):
        registry.update_model("pets", {"display_name": "x"})
    publisher.publish()
    again = registry.reader.model("pets")
    assert (again.display_name, again.description, dict(again.tags)) == ("", "", {})


def test_what_is_missing_cannot_be_changed(publisher: Publisher) -> None:
    with pytest.raises(ModelNotFound):
        publisher.registry.update_version("pets", 1, {"display_name": "x"}, None)
    publisher.publish()
    with pytest.raises(VersionNotFound):
        publisher.registry.update_version("pets", 2, {"display_name": "x"}, None)
