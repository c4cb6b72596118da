"""Which archives stay: those that an unfinished job or a version needs, and no others for long."""

from collections.abc import Callable

import pytest

from fakes import FakeArchives, JobDriver
from headstart_server.errors import ExamplesNotKept
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import Findings, JobError
from headstart_server.models.version import TrafficSplit

ERROR = JobError(reason="INTERNAL", message="no")
MIB = 1 << 20


class Shop:
    """A driver whose jobs leave files behind."""

    def __init__(self, driver: JobDriver, *, max_bytes: int = 1 << 40) -> None:
        self.driver = driver
        self.files = FakeArchives()
        self.archives = ArchiveRetention(driver.publisher.database, self.files, max_bytes=max_bytes)

    def queued(self, job_id: str, *parents: str, size: int = 1, **spec: object) -> None:
        self.files.files[job_id] = size
        self.driver.submit(job_id, archives=parents, nbytes=size, **spec)
        self.driver.clock.advance(1)

    def published(self, job_id: str, *parents: str, size: int = 1, **spec: object) -> int:
        self.queued(job_id, *parents, size=size, **spec)
        return self.driver.succeed(self.driver.claim())

    @property
    def left(self) -> set[str]:
        """What is left after a sweep."""
        self.archives.sweep()
        return set(self.files.files)


@pytest.fixture
def shop(driver: JobDriver) -> Shop:
    return Shop(driver)


def test_examples_stay_while_their_job_waits_runs_and_has_a_version(shop: Shop) -> None:
    shop.queued("one")
    assert shop.left == {"one"}
    job = shop.driver.claim()
    assert shop.left == {"one"}
    number = shop.driver.succeed(job)
    assert shop.left == {"one"}
    assert shop.driver.publisher.registry.reader.version("pets", number).has_examples


@pytest.mark.parametrize(
    "end",
    [
        lambda driver: driver.job_store.runs.fail(driver.claim(), ERROR, Findings()),
        lambda driver: driver.job_store.queue.cancel("one"),
        lambda driver: driver.publisher.registry.delete_version(
            "pets", driver.succeed(driver.claim()), force=True
        ),
        lambda driver: (
            driver.succeed(driver.claim()),
            driver.publisher.registry.delete_model("pets", force=True),
        ),
    ],
    ids=["failed", "cancelled", "version deleted", "model deleted"],
)
def test_examples_go_when_nothing_comes_of_their_job_any_more(
    shop: Shop, end: Callable[[JobDriver], object]
) -> None:
    shop.queued("one")
    end(shop.driver)
    assert shop.left == set()


def test_a_job_given_back_keeps_its_examples(shop: Shop) -> None:
    shop.queued("one")
    shop.driver.job_store.runs.release(shop.driver.claim())
    assert shop.left == {"one"}


def test_discarded_examples_go_with_the_end_of_their_job(shop: Shop) -> None:
    number = shop.published("one", discard_examples=True)
    assert not shop.driver.publisher.registry.reader.version("pets", number).has_examples
    assert shop.left == set()


def test_a_childs_version_holds_what_the_deleted_parent_left(shop: Shop) -> None:
    parent = shop.published("one")
    child = shop.published("two", "one")
    shop.driver.publisher.registry.delete_version("pets", parent, force=True)
    assert shop.left == {"one", "two"}
    shop.driver.publisher.registry.delete_version("pets", child, force=True)
    assert shop.left == set()


def test_a_waiting_child_holds_what_the_deleted_parent_left(shop: Shop) -> None:
    parent = shop.published("one")
    shop.queued("two", "one")
    shop.driver.publisher.registry.delete_version("pets", parent, force=True)
    assert shop.left == {"one", "two"}


def test_a_job_whose_parent_went_while_its_examples_came_is_refused(shop: Shop) -> None:
    parent = shop.published("one")
    shop.driver.publisher.registry.delete_version("pets", parent, force=True)
    with pytest.raises(ExamplesNotKept, match="deleted"):
        shop.queued("two", "one")
    assert shop.driver.job_store.reader.unfinished() == set()
    # Whether a sweep has gone over it by then or not.
    shop.archives.sweep()
    with pytest.raises(ExamplesNotKept):
        shop.queued("three", "one")


def test_examples_of_fine_tunes_coming_in_outlive_a_sweep_but_not_a_restart(shop: Shop) -> None:
    shop.files.files["coming"] = 1
    assert shop.left == {"coming"}
    assert shop.archives.recover() == 1
    assert shop.files.files == {}


def test_what_a_crash_left_between_row_and_file_goes_at_the_next_start(shop: Shop) -> None:
    number = shop.published("one")
    shop.published("two")
    shop.driver.publisher.registry.delete_version("pets", number, force=True)

    class Crashing(FakeArchives):
        def remove(self, job_id: str) -> None:
            raise KeyboardInterrupt

    crashing = Crashing()
    crashing.files = shop.files.files
    with pytest.raises(KeyboardInterrupt):
        ArchiveRetention(shop.driver.publisher.database, crashing, max_bytes=MIB).sweep()
    assert set(shop.files.files) == {"one", "two"}
    shop.archives.recover()
    assert set(shop.files.files) == {"two"}


def test_beyond_the_bound_a_version_with_a_share_of_an_alias_is_kept_as_one_with_an_alias(
    driver: JobDriver,
) -> None:
    shop = Shop(driver, max_bytes=25)
    shop.published("canary", size=10)
    number = shop.published("aliased", size=5)
    share = TrafficSplit(number=number - 1, fraction=0.1)
    driver.publisher.registry.set_alias("pets", "stable", number, shares=[share])
    shop.published("old", size=10)
    shop.published("new", size=10)
    assert shop.left == {"canary", "aliased", "new"}


def test_beyond_the_bound_the_oldest_versions_lose_their_examples_first_those_with_an_alias_last(
    driver: JobDriver,
) -> None:
    shop = Shop(driver, max_bytes=25)
    shop.published("aliased", size=10, alias="stable")
    shop.published("old", size=10)
    shop.published("new", size=10)
    assert shop.left == {"aliased", "new"}
    shop.published("newer", size=15)
    assert shop.left == {"aliased", "newer"}
    assert [
        version.has_examples for version in driver.publisher.registry.reader.versions("pets", limit=9)
    ] == [
        True,
        False,
        False,
        True,
    ]


def test_an_archive_that_several_versions_share_counts_once_and_goes_with_the_last_of_them(
    driver: JobDriver,
) -> None:
    shop = Shop(driver, max_bytes=25)
    first = shop.published("one", size=20)
    shop.published("two", "one", size=2)
    shop.published("three", "one", size=3)
    assert shop.left == {"one", "two", "three"}
    shop.published("four", "one", size=1)
    # The first version loses its examples; its archive stays for the others. That of the second goes.
    assert shop.left == {"one", "three", "four"}
    assert not driver.publisher.registry.reader.version("pets", first).has_examples


def test_the_bound_never_touches_an_unfinished_job(driver: JobDriver) -> None:
    shop = Shop(driver, max_bytes=0)
    shop.published("one")
    shop.queued("two", "one")
    assert shop.left == {"one", "two"}
    driver.succeed(driver.claim())
    assert shop.left == set()
