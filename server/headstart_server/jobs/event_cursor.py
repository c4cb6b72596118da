"""Reads the events of a job in order, each once, until the job has ended."""

from collections.abc import Sequence

from headstart_server.jobs.job import JobEvent
from headstart_server.jobs.ledger import Ledger


class EventCursor:
    """Reads what is new of a job's events at each step. It is for whoever waits between the steps.

    Args:
        ledger: where events are read.
        job_id: the job.
        after: number of the last event that is known.

    Attributes:
        is_over: whether the job has ended and all its events were read.
    """

    def __init__(self, ledger: Ledger, job_id: str, after: int) -> None:
        self._ledger = ledger
        self._job_id = job_id
        self._after = after
        self.is_over = False

    def step(self) -> Sequence[JobEvent]:
        """Return the events since the last step.

        Raises:
            JobNotFound: there is no such job.
            DatabaseUnavailable: the database does not answer; the next step returns what this one missed.
        """
        events = self._ledger.events(self._job_id, self._after)
        if not events and self._ledger.get(self._job_id).state.is_terminal:
            # The cursor began after the last event, or the job has ended since its events were read.
            events = self._ledger.events(self._job_id, self._after)
            self.is_over = not events
        if events:
            self._after = events[-1].number
            self.is_over = events[-1].state.is_terminal
        return events
