"""One look for all who follow: what other replicas wrote wakes them."""

import threading

import pytest

from fakes import PATIENCE, JobDriver
from headstart_server.errors import DatabaseUnavailable
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.poller import Poller
from postgres import on_both_databases

pytestmark = on_both_databases


class Post:
    """A poller of one replica, and the job store of another one."""

    def __init__(self, driver: JobDriver) -> None:
        self.notifier = JobNotifier()
        self.caught_up = 0
        self.elsewhere = driver.job_store
        here = driver.restarted(notifier=self.notifier)
        self.poller = Poller(here.reader, self.notifier, self._sync, seconds=0.001)
        self.woken: list[str] = []

    def _sync(self) -> None:
        self.caught_up += 1

    def wake(self) -> None:
        self.woken.append("a")


@pytest.fixture
def post(driver: JobDriver) -> Post:
    return Post(driver)


def test_followers_are_woken_by_what_another_replica_writes_and_by_nothing_else(
    driver: JobDriver, post: Post
) -> None:
    driver.submit("a")
    driver.submit("b")
    with post.notifier.subscribe("a", post.wake):
        post.poller.poll()
        assert post.woken == ["a"]
        post.poller.poll()
        driver.job_store.queue.cancel("b")
        post.poller.poll()
        assert post.woken == ["a"]
        driver.claim()
        post.poller.poll()
        assert post.woken == ["a", "a"]
    post.poller.poll()
    assert post.caught_up == 5


def test_followers_of_a_job_that_is_forgotten_are_woken(driver: JobDriver, post: Post) -> None:
    driver.submit("a")
    driver.job_store.queue.cancel("a")
    driver.clock.advance(1)
    with post.notifier.subscribe("a", post.wake):
        post.poller.poll()
        driver.job_store.cleaner.forget(older_than=0)
        post.poller.poll()
        post.poller.poll()
    assert post.woken == ["a", "a"]


def test_many_followed_jobs_are_one_look(driver: JobDriver, post: Post) -> None:
    ids = [f"{number}" for number in range(1200)]
    driver.submit("7")
    assert post.elsewhere.reader.last_events(ids) == {"7": 1}


def test_it_looks_by_itself_and_bears_with_an_outage(driver: JobDriver, post: Post) -> None:
    looked = threading.Event()
    looks = 0

    def sync() -> None:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise DatabaseUnavailable("gone")
        looked.set()

    poller = Poller(driver.job_store.reader, post.notifier, sync, seconds=0.001)
    poller.start()
    assert looked.wait(PATIENCE)
    poller.stop()
