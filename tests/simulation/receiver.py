"""Who receives the webhooks: late, not at all, or without an answer, for a while."""

import json
import random
from collections.abc import Callable

from headstart_server.webhooks.sender import WebhookPostError


class Receiver:
    """Takes POSTs.

    Args:
        chance: of what goes wrong.
        sleep: waits.
        is_troubled: whether things go wrong now.

    Attributes:
        received: the received states of each job, by its ID.
    """

    def __init__(
        self, chance: random.Random, sleep: Callable[[float], None], is_troubled: Callable[[], bool]
    ) -> None:
        self._chance = chance
        self._sleep = sleep
        self._is_troubled = is_troubled
        self.received: dict[str, list[str]] = {}

    def take(self, body: bytes) -> None:
        """Take one POST."""
        job = json.loads(body)["data"]
        trouble = self._chance.random() if self._is_troubled() else 1.0
        self._sleep(self._chance.uniform(0.5, 8.0) if trouble < 0.3 else 0.02)
        if trouble < 0.6:
            raise WebhookPostError("No answer: it is down.")
        self.received.setdefault(job["jobId"], []).append(job["state"].removeprefix("JOB_STATE_").lower())
        if trouble < 0.8:
            raise WebhookPostError("No answer: it was lost.")
