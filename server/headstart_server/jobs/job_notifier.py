"""Tells whoever follows a job that there is something new to read."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class JobNotifier:
    """Wakes the followers of a job after each commit that changed it. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: dict[str, list[Callable[[], None]]] = {}
        self._followers_of_all: list[Callable[[], None]] = []

    def publish(self, job_id: str) -> None:
        """Wake the followers of a job; called after the commit, so that they find it."""
        with self._lock:
            followers = [*self._followers.get(job_id, ()), *self._followers_of_all]
        for wake in followers:
            wake()

    def subscribed_ids(self) -> list[str]:
        """The jobs that somebody follows."""
        with self._lock:
            return list(self._followers)

    @property
    def has_subscriber_to_all(self) -> bool:
        """Whether a caller follows all jobs."""
        return bool(self._followers_of_all)

    def publish_all(self) -> None:
        """Wake the followers of all jobs."""
        with self._lock:
            followers = list(self._followers_of_all)
        for wake in followers:
            wake()

    @contextmanager
    def subscribe_to_all(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` for each change of any job while the block runs, as `follow` does for one job."""
        with self._lock:
            self._followers_of_all.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._followers_of_all.remove(wake)

    @contextmanager
    def subscribe(self, job_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` for each change of a job while the block runs; it must be quick and must not raise."""
        with self._lock:
            self._followers.setdefault(job_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                followers = self._followers[job_id]
                followers.remove(wake)
                if not followers:
                    del self._followers[job_id]
