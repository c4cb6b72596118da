"""After a failover to a standby that lacks the last commits, replicas agree with the database again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import FakeBackbone, JobDriver, Publisher
from headstart_server.datasets.erasure_follower import AGAIN_SECONDS
from headstart_server.datasets.example_eraser import ExampleEraser
from headstart_server.embedding.cache import content_digest
from headstart_server.errors import ModelNotFound
from headstart_server.models.version import Selector
from postgres import PostgresServer
from workbench import Workbench, pet, pets


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def address(server: PostgresServer) -> str:
    return server.database()


def test_lost_versions_and_aliases_are_forgotten_although_other_changes_have_their_numbers(
    publisher: Publisher, server: PostgresServer
) -> None:
    publisher.publish(alias="stable")
    replica = publisher.reopened()
    server.remember()
    publisher.publish()
    publisher.registry.set_alias("pets", "stable", 2)
    publisher.publish("cars")
    replica.index.sync()
    replica.files.load("pets", 1)
    replica.files.load("pets", 2)
    assert replica.index.resolve(Selector(model="pets", alias="stable")) == 2

    server.fail_over()
    publisher.publish()
    publisher.publish("birds")
    publisher.registry.set_alias("birds", "stable", 1)
    replica.index.sync()
    assert replica.index.resolve(Selector(model="pets", alias="stable")) == 1
    assert replica.index.resolve(Selector(model="birds", alias="stable")) == 1
    with pytest.raises(ModelNotFound):
        replica.index.resolve(Selector(model="cars"))
    # Another version has the number of the lost one.
    assert replica.files.resident("pets", 2) is None
    assert replica.files.resident("pets", 1) is not None


def test_an_erasure_with_the_number_of_a_lost_one_is_carried_out_on_every_replica(
    tmp_path: Path, driver: JobDriver, server: PostgresServer
) -> None:
    bench = Workbench(tmp_path, driver, FakeBackbone("other", digest="c" * 64))
    bench.published(pets(8))
    dropped: set[str] = set()
    replica = ExampleEraser(
        driver.publisher.database,
        bench.registry,
        bench.datasets,
        lambda digests, _: dropped.update(digests),
    )
    server.remember()
    bench.eraser.erase("cat0")
    replica.follower.drop_here()
    assert content_digest(pet("cat", 0).content) in dropped

    server.fail_over()
    bench.eraser.erase("cat1")
    # A replica must not remove a digest that it has not read yet.
    driver.publisher.clock.advance(AGAIN_SECONDS + 1)
    replica.follower.forget_digests()
    replica.follower.drop_here()
    assert content_digest(pet("cat", 1).content) in dropped
    bench.close()
