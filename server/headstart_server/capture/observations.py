"""Predictions that wait to be considered for capture, under a limit of inputs and bytes."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart_server.backbones.contract.backbone import Content, content_nbytes
from headstart_server.embedding.queue import RowFeatures
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.prediction.version_prediction import VersionPrediction

#: Predictions and bytes that may wait.
MAX_WAITING, MAX_WAITING_BYTES = 8192, 128 << 20


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observation:
    """The predictions of one version in one call."""

    prediction: VersionPrediction  # the predictions for n inputs
    policy: CapturePolicy
    contents: Sequence[Content]  # the inputs, [n]
    rows: Sequence[RowFeatures]  # their features, [n]
    cuts: frozenset[str] = frozenset()  # names of activations among the features
    is_traffic: bool = True  # whether they may be in the random sample
    # when they were predicted, on a monotonic clock
    time: float = field(default_factory=time.monotonic)

    @property
    def nbytes(self) -> int:
        """Approximate bytes in memory."""
        views = sum(view.nbytes for view in self.rows[0].views.values()) if self.rows else 0
        return sum(map(content_nbytes, self.contents)) + views * len(self.rows)


class Observations:
    """A queue from the event loop to the thread that captures. It never waits.

    Args:
        max_waiting: maximum number of predictions that wait.
        max_bytes: maximum bytes that wait.
    """

    def __init__(self, max_waiting: int = MAX_WAITING, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Observation] = deque()
        self._count = self._nbytes = 0
        self._dropped: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def put(self, observation: Observation) -> bool:
        """Add predictions, or count them as dropped if the queue is full; return whether they were added."""
        count, nbytes = len(observation.contents), observation.nbytes
        with self._lock:
            if self._count + count > self._max_waiting or self._nbytes + nbytes > self._max_bytes:
                model = observation.prediction.version.model
                self._dropped[model] = self._dropped.get(model, 0) + count
                return False
            self._waiting.append(observation)
            self._count += count
            self._nbytes += nbytes
        return True

    def take(self) -> tuple[list[Observation], dict[str, int]]:
        """Return and clear the queued predictions, and the number of dropped predictions by model."""
        with self._lock:
            waiting, self._waiting = list(self._waiting), deque()
            dropped, self._dropped = self._dropped, {}
            self._count = self._nbytes = 0
        return waiting, dropped
