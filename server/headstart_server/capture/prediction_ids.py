"""IDs of predictions. They cannot be guessed, and contain the time of the prediction."""

import os
import time
from collections.abc import Callable, Sequence

#: Seconds after a prediction in which another process may still store its input.
FRESH_SECONDS = 3.0
#: Bytes of an ID: the time, the process and random ones.
_TIME_BYTES, _ORIGIN_BYTES, _RANDOM_BYTES = 4, 2, 10
_ID_CHARACTERS = 2 * (_TIME_BYTES + _ORIGIN_BYTES + _RANDOM_BYTES)


class PredictionIds:
    """Creates the IDs of the predictions of this process.

    Args:
        clock: returns seconds since 1970, about the same on all replicas.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._origin = os.urandom(_ORIGIN_BYTES).hex()

    def create(self, count: int) -> Sequence[str]:
        """Return `count` new IDs."""
        head = f"{int(self._clock()) & 0xFFFFFFFF:08x}{self._origin}"
        text, size = os.urandom(_RANDOM_BYTES * count).hex(), 2 * _RANDOM_BYTES
        return [head + text[start : start + size] for start in range(0, len(text), size)]

    def may_arrive(self, prediction_id: str) -> bool:
        """Return whether another process predicted so recently that it may not have stored the input yet."""
        time_end = 2 * _TIME_BYTES
        if len(prediction_id) != _ID_CHARACTERS:
            return False
        if prediction_id[time_end : time_end + len(self._origin)] == self._origin:
            return False
        try:
            seconds = int(prediction_id[:time_end], 16)
        except ValueError:
            return False
        return abs(self._clock() - seconds) <= FRESH_SECONDS
