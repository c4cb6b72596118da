"""Who follows a job is woken for it, and for as long as it follows."""

import threading

from fakes import PATIENCE
from headstart_server.jobs.job_notifier import Changes


def test_only_the_followers_of_the_job_are_woken() -> None:
    changes, seen = Changes(), []
    with (
        changes.follow("a", lambda: seen.append("first")),
        changes.follow("a", lambda: seen.append("second")),
    ):
        changes.publish("a")
        changes.publish("b")
    assert seen == ["first", "second"]


def test_who_has_left_is_woken_no_more() -> None:
    changes, seen = Changes(), []
    with changes.follow("a", lambda: seen.append("stays")):
        with changes.follow("a", lambda: seen.append("leaves")):
            pass
        changes.publish("a")
    changes.publish("a")
    assert seen == ["stays"]


def test_one_who_follows_twice_leaves_once() -> None:
    changes, seen = Changes(), []

    def wake() -> None:
        seen.append(1)

    with changes.follow("a", wake):
        with changes.follow("a", wake):
            changes.publish("a")
        changes.publish("a")
    assert len(seen) == 3


def test_a_follower_may_leave_while_it_is_woken() -> None:
    changes = Changes()
    following = changes.follow("a", lambda: following.__exit__(None, None, None))
    following.__enter__()
    done = threading.Thread(target=changes.publish, args=("a",))
    done.start()
    done.join(PATIENCE)
    assert not done.is_alive()


def test_followers_may_come_and_go_in_threads() -> None:
    changes, woken = Changes(), threading.Event()
    ready = threading.Barrier(5)

    def come_and_go() -> None:
        ready.wait(PATIENCE)
        for _ in range(200):
            with changes.follow("a", woken.set):
                changes.publish("a")

    threads = [threading.Thread(target=come_and_go) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    woken.clear()
    changes.publish("a")
    assert not woken.is_set()
