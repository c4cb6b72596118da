"""The number of Predict inputs that a backbone serves at once, now and a moment ago."""

from math import inf

#: Seconds for which the largest number counts: callers that repeat their calls pause for some milliseconds.
HOLD_SECONDS = 0.02


class PredictDemand:
    """Remembers the largest number of Predict inputs that were under way together a moment ago.

    Training that filled the pause of a caller between two calls would make the second call wait.
    """

    def __init__(self) -> None:
        self._largest = 0
        self._since = -inf

    def observe(self, count: int, now: float) -> None:
        """Record that `count` inputs are under way."""
        if count >= self._largest or now - self._since > HOLD_SECONDS:
            self._largest, self._since = count, now

    def recent(self, count: int, now: float) -> int:
        """Return the largest number of the last moment, at least `count`, the number now."""
        return max(count, self._largest) if now - self._since <= HOLD_SECONDS else count
