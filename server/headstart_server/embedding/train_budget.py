"""The time and the concurrent items that training receives next to Predicts."""

from math import inf

#: Seconds for which the largest recent number of Predicts counts, because callers pause for some milliseconds
#: between calls.
HOLD_SECONDS = 0.02


class TrainBudget:
    """Decides when training runs next to the Predicts of a backbone, and how much of it.

    While Predicts arrive, training leaves them as many concurrent items as they recently needed. Otherwise
    training would fill a caller's pause between two calls, and the second call would wait. While both wait,
    training receives up to `share` of the time, so that it ends under any load. Time that training uses alone
    is not counted.

    Args:
        share: fraction of the time that training receives while Predicts wait, in [0, 1).
        items: number of concurrent training items that may always run, even while Predicts wait.
        capacity: number of items that run concurrently without slowing each other. Training uses those that
            recent Predicts do not need. None for no such limit.
    """

    def __init__(self, *, share: float = 0.2, items: int = 1, capacity: int | None = None) -> None:
        self._weight = share / (1.0 - share)
        self._items = items
        self._capacity = capacity
        #: Seconds that training may use while Predicts wait; below 0 it used more than its share.
        self._owed = 0.0
        #: The largest recent number of concurrent Predict inputs, and when it was observed.
        self._largest = 0
        self._since = -inf

    @property
    def is_owed(self) -> bool:
        """Whether training goes first, because it received less than its share."""
        return self._owed > 0

    def observe(self, count: int, now: float) -> None:
        """Record that `count` Predict inputs are prepared, run or wait."""
        if count >= self._largest or now - self._since > HOLD_SECONDS:
            self._largest, self._since = count, now

    def most_items(self, is_waiting: bool, serving: int, now: float) -> float:
        """Return the maximum number of concurrent training items.

        Args:
            is_waiting: whether Predicts wait.
            serving: Predict inputs that are prepared or run now.
            now: the time.
        """
        if is_waiting:
            return self._items
        if self._capacity is None:
            return inf
        demand = max(serving, self._largest) if now - self._since <= HOLD_SECONDS else serving
        return max(self._items, self._capacity - demand) if demand else inf

    def served(self, seconds: float) -> None:
        """Account for a Predict item that ran while training waited."""
        self._owed += self._weight * seconds

    def trained(self, seconds: float, *, contended: bool) -> None:
        """Account for a training item; `contended` if Predicts waited when it began."""
        if contended:
            self._owed -= seconds
        else:
            # Time that training used alone is not counted, except the item during which a Predict may have
            # arrived. Otherwise each Predict that arrives in a gap would wait for a second item.
            self._owed = min(self._owed, -seconds)
