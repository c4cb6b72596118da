"""Polls the database for changes by other replicas."""

import random
import threading
from collections.abc import Callable

import structlog

from headstart_server.errors import DatabaseUnavailable
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_reader import JobReader

log = structlog.get_logger(__name__)

#: Seconds between two polls, so that versions and events reach every replica in less than a second.
POLL_SECONDS = 0.5


class Poller:
    """Polls the database for all subscribers of this process, in a separate thread.

    Args:
        sync: updates the routes of models.
        seconds: mean seconds between two polls; a random part keeps replicas apart.
    """

    def __init__(
        self,
        reader: JobReader,
        notifier: JobNotifier,
        sync: Callable[[], object],
        *,
        seconds: float = POLL_SECONDS,
    ) -> None:
        self._reader = reader
        self._notifier = notifier
        self._sync = sync
        self._seconds = seconds
        self._seen: dict[str, int] = {}
        self._seen_of_all: object = None
        self._stopped = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Poll soon, because another process of this server changed something."""
        self._woken.set()

    def poll(self) -> None:
        """Poll once."""
        self._sync()
        followed = self._notifier.subscribed_ids()
        newest = self._reader.last_events(followed) if followed else {}
        # A deleted job counts as changed too: its subscribers must get the error.
        changed = [job_id for job_id in followed if newest.get(job_id, -1) != self._seen.get(job_id)]
        self._seen = {job_id: newest.get(job_id, -1) for job_id in followed}
        for job_id in changed:
            self._notifier.publish(job_id)
        of_all = self._reader.unfinished_events() if self._notifier.has_subscriber_to_all else None
        if of_all != self._seen_of_all:
            self._seen_of_all = of_all
            self._notifier.publish_all()

    def _run(self) -> None:
        while True:
            self._woken.wait(self._seconds * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
            self._woken.clear()
            if self._stopped:
                return
            try:
                self.poll()
            except DatabaseUnavailable:
                # The heartbeat logs the outage. The last known state stays in use.
                continue
            except Exception:
                log.exception("job_poll_failed")
