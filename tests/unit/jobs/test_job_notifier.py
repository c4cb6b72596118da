"""Who follows a job is woken for it, and for as long as it follows."""

import threading

from fakes import PATIENCE
from headstart_server.jobs.job_notifier import JobNotifier


def test_only_the_followers_of_the_job_are_woken() -> None:
    notifier, seen = JobNotifier(), []
    with (
        notifier.subscribe("a", lambda: seen.append("first")),
        notifier.subscribe("a", lambda: seen.append("second")),
    ):
        notifier.publish("a")
        notifier.publish("b")
    assert seen == ["first", "second"]


def test_who_has_left_is_woken_no_more() -> None:
    notifier, seen = JobNotifier(), []
    with notifier.subscribe("a", lambda: seen.append("stays")):
        with notifier.subscribe("a", lambda: seen.append("leaves")):
            pass
        notifier.publish("a")
    notifier.publish("a")
    assert seen == ["stays"]


def test_one_who_follows_twice_leaves_once() -> None:
    notifier, seen = JobNotifier(), []

    def wake() -> None:
        seen.append(1)

    with notifier.subscribe("a", wake):
        with notifier.subscribe("a", wake):
            notifier.publish("a")
        notifier.publish("a")
    assert len(seen) == 3


def test_a_follower_may_leave_while_it_is_woken() -> None:
    notifier = JobNotifier()
    following = notifier.subscribe("a", lambda: following.__exit__(None, None, None))
    following.__enter__()
    done = threading.Thread(target=notifier.publish, args=("a",))
    done.start()
    done.join(PATIENCE)
    assert not done.is_alive()


def test_followers_may_come_and_go_in_threads() -> None:
    notifier, woken = JobNotifier(), threading.Event()
    ready = threading.Barrier(5)

    def come_and_go() -> None:
        ready.wait(PATIENCE)
        for _ in range(200):
            with notifier.subscribe("a", woken.set):
                notifier.publish("a")

    threads = [threading.Thread(target=come_and_go) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    woken.clear()
    notifier.publish("a")
    assert not woken.is_set()
