"""Which archives stay: those that an unfinished job or a version needs, and no others for long."""

from collections.abc import Callable

import pytest

from fakes import Desk, FakeArchives
from headstart_server.errors import ExamplesNotKept
from headstart_server.jobs.archive_retention import Archives
from headstart_server.jobs.job import Findings, JobError
from headstart_server.models.version import TrafficSplit

ERROR = JobError(reason="INTERNAL", message="no")
MIB = 1 << 20


class Shop:
    """A desk whose jobs leave files behind."""

    def __init__(self, desk: Desk, *, max_bytes: int = 1 << 40) -> None:
        self.desk = desk
        self.files = FakeArchives()
        self.archives = Archives(desk.shelf.database, self.files, max_bytes=max_bytes)

    def queued(self, job_id: str, *parents: str, size: int = 1, **spec: object) -> None:
        self.files.files[job_id] = size
        self.desk.submit(job_id, archives=parents, nbytes=size, **spec)
        self.desk.clock.advance(1)

    def published(self, job_id: str, *parents: str, size: int = 1, **spec: object) -> int:
        self.queued(job_id, *parents, size=size, **spec)
        return self.desk.succeed(self.desk.claim())

    @property
    def left(self) -> set[str]:
        """What is left after a sweep."""
        self.archives.sweep()
        return set(self.files.files)


@pytest.fixture
def shop(desk: Desk) -> Shop:
    return Shop(desk)


def test_examples_stay_while_their_job_waits_runs_and_has_a_version(shop: Shop) -> None:
    shop.queued("one")
    assert shop.left == {"one"}
    job = shop.desk.claim()
    assert shop.left == {"one"}
    number = shop.desk.succeed(job)
    assert shop.left == {"one"}
    assert shop.archives.are_kept("one")
    assert shop.desk.shelf.registry.version("pets", number).has_examples


@pytest.mark.parametrize(
    "end",
    [
        lambda desk: desk.ledger.fail(desk.claim(), ERROR, Findings()),
        lambda desk: desk.ledger.cancel("one"),
        lambda desk: desk.shelf.registry.delete_version("pets", desk.succeed(desk.claim()), force=True),
        lambda desk: (desk.succeed(desk.claim()), desk.shelf.registry.delete_model("pets", force=True)),
    ],
    ids=["failed", "cancelled", "version deleted", "model deleted"],
)
def test_examples_go_when_nothing_comes_of_their_job_any_more(
    shop: Shop, end: Callable[[Desk], object]
) -> None:
    shop.queued("one")
    end(shop.desk)
    assert shop.left == set()
    assert not shop.archives.are_kept("one")


def test_a_job_given_back_keeps_its_examples(shop: Shop) -> None:
    shop.queued("one")
    shop.desk.ledger.give_back(shop.desk.claim())
    assert shop.left == {"one"}


def test_discarded_examples_go_with_the_end_of_their_job(shop: Shop) -> None:
    number = shop.published("one", discard_examples=True)
    assert not shop.desk.shelf.registry.version("pets", number).has_examples
    assert shop.left == set()


def test_a_childs_version_holds_what_the_deleted_parent_left(shop: Shop) -> None:
    parent = shop.published("one")
    child = shop.published("two", "one")
    shop.desk.shelf.registry.delete_version("pets", parent, force=True)
    assert shop.left == {"one", "two"}
    shop.desk.shelf.registry.delete_version("pets", child, force=True)
    assert shop.left == set()


def test_a_waiting_child_holds_what_the_deleted_parent_left(shop: Shop) -> None:
    parent = shop.published("one")
    shop.queued("two", "one")
    shop.desk.shelf.registry.delete_version("pets", parent, force=True)
    assert shop.left == {"one", "two"}


def test_a_job_whose_parent_went_while_its_examples_came_is_refused(shop: Shop) -> None:
    parent = shop.published("one")
    shop.desk.shelf.registry.delete_version("pets", parent, force=True)
    with pytest.raises(ExamplesNotKept, match="deleted"):
        shop.queued("two", "one")
    assert shop.desk.ledger.unfinished() == set()
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
    shop.desk.shelf.registry.delete_version("pets", number, force=True)

    class Crashing(FakeArchives):
        def remove(self, job_id: str) -> None:
            raise KeyboardInterrupt

    crashing = Crashing()
    crashing.files = shop.files.files
    with pytest.raises(KeyboardInterrupt):
        Archives(shop.desk.shelf.database, crashing, max_bytes=MIB).sweep()
    assert set(shop.files.files) == {"one", "two"}
    shop.archives.recover()
    assert set(shop.files.files) == {"two"}


def test_beyond_the_bound_a_version_with_a_share_of_an_alias_is_kept_as_one_with_an_alias(desk: Desk) -> None:
    shop = Shop(desk, max_bytes=25)
    shop.published("canary", size=10)
    number = shop.published("aliased", size=5)
    share = TrafficSplit(number=number - 1, fraction=0.1)
    desk.shelf.registry.set_alias("pets", "stable", number, shares=[share])
    shop.published("old", size=10)
    shop.published("new", size=10)
    assert shop.left == {"canary", "aliased", "new"}


def test_beyond_the_bound_the_oldest_versions_lose_their_examples_first_those_with_an_alias_last(
    desk: Desk,
) -> None:
    shop = Shop(desk, max_bytes=25)
    shop.published("aliased", size=10, alias="stable")
    shop.published("old", size=10)
    shop.published("new", size=10)
    assert shop.left == {"aliased", "new"}
    shop.published("newer", size=15)
    assert shop.left == {"aliased", "newer"}
    assert [version.has_examples for version in desk.shelf.registry.versions("pets", limit=9)] == [
        True,
        False,
        False,
        True,
    ]


def test_an_archive_that_several_versions_share_counts_once_and_goes_with_the_last_of_them(
    desk: Desk,
) -> None:
    shop = Shop(desk, max_bytes=25)
    shop.published("one", size=20)
    shop.published("two", "one", size=2)
    shop.published("three", "one", size=3)
    assert shop.left == {"one", "two", "three"}
    shop.published("four", "one", size=1)
    # The first version loses its examples; its archive stays for the others. That of the second goes.
    assert shop.left == {"one", "three", "four"}
    assert not shop.archives.are_kept("one")


def test_the_bound_never_touches_an_unfinished_job(desk: Desk) -> None:
    shop = Shop(desk, max_bytes=0)
    shop.published("one")
    shop.queued("two", "one")
    assert shop.left == {"one", "two"}
    desk.succeed(desk.claim())
    assert shop.left == set()
