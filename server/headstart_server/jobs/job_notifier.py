"""Notifies subscribers within this process that a job has changed."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class JobNotifier:
    """Wakes the subscribers of a job after each commit that changed it. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[str, list[Callable[[], None]]] = {}
        self._subscribers_to_all: list[Callable[[], None]] = []
        #: Called after each change that this process published, to inform the serving processes.
        self.on_publish: Callable[[], None] = lambda: None

    def publish(self, job_id: str) -> None:
        """Wake the subscribers of a job; called after the commit, so that they can read it."""
        with self._lock:
            subscribers = [*self._subscribers.get(job_id, ()), *self._subscribers_to_all]
        for wake in subscribers:
            wake()
        self.on_publish()

    def subscribed_ids(self) -> list[str]:
        """Return the IDs of the jobs with subscribers."""
        with self._lock:
            return list(self._subscribers)

    @property
    def has_subscriber_to_all(self) -> bool:
        """Whether a caller subscribes to all jobs."""
        return bool(self._subscribers_to_all)

    def publish_all(self) -> None:
        """Wake the subscribers to all jobs."""
        with self._lock:
            subscribers = list(self._subscribers_to_all)
        for wake in subscribers:
            wake()

    @contextmanager
    def subscribe_to_all(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` for each change of any job while the block runs, as `subscribe` does for one job."""
        with self._lock:
            self._subscribers_to_all.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._subscribers_to_all.remove(wake)

    @contextmanager
    def subscribe(self, job_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` for each change of a job while the block runs; it must be quick and must not raise."""
        with self._lock:
            self._subscribers.setdefault(job_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                subscribers = self._subscribers[job_id]
                subscribers.remove(wake)
                if not subscribers:
                    del self._subscribers[job_id]
