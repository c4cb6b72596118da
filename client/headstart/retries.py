"""When to try again after no server answered, and for how long."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from headstart.errors import Unavailable

__all__ = ["LOADING_SECONDS", "Backoff", "RetryPolicy", "loading_delay"]

#: Seconds for which an upload is repeated while the server loads its backbone.
LOADING_SECONDS = 600.0
_LOADING = "LOADING"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How a client repeats what fails as UNAVAILABLE. Delays grow exponentially and are spread at random.

    Attributes:
        attempts: how often a call is tried in all; 1 turns repeating off. gRPC takes at most 5 for unary
            calls.
        initial_seconds: the delay before the second try, at most.
        maximum_seconds: no delay is longer, unless the server asks for it.
        multiplier: how much longer each delay is than the one before.
        outage_seconds: how long waiting for a job and watching it bear with a server that does not answer.
    """

    attempts: int = 5
    initial_seconds: float = 0.2
    maximum_seconds: float = 5.0
    multiplier: float = 2.0
    outage_seconds: float = 120.0

    def delay(self, failures: int) -> float:
        """The longest delay in seconds after so many failures in a row."""
        # The exponent is bounded because a float overflows after some hundred failures.
        return min(self.maximum_seconds, self.initial_seconds * self.multiplier ** min(failures - 1, 64))


def loading_delay(
    error: Unavailable,
    policy: RetryPolicy,
    left: float | None,
    spread: Callable[[], float] = random.random,
) -> float | None:
    """Returns the seconds until the next try of a call whose backbone is still being loaded.

    Args:
        error: how the call failed.
        policy: whether calls are repeated.
        left: seconds until the deadline of all tries. None: for ever.
        spread: gives numbers from 0 to 1.

    Returns:
        The server's own delay, spread at random by a quarter. None if the error is another one, if repeating
        is turned off, or if the deadline passes before.
    """
    if error.reason != _LOADING or policy.attempts <= 1:
        return None
    base = error.retry_after.total_seconds() if error.retry_after else policy.maximum_seconds
    delay = base * (1.0 + 0.25 * spread())
    return delay if left is None or delay < left else None


class Backoff:
    """Counts the failures in a row of one undertaking and says how long to wait after each.

    Args:
        policy: delays and limits.
        tries: give up after so many failures. None: no such limit.
        seconds: give up so long after the first failure. None: no such limit.
        clock: seconds that only grow.
        spread: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        tries: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._tries = tries
        self._seconds = seconds
        self._clock = clock
        self._spread = spread
        self._failures = 0
        self._since = 0.0

    def reset(self) -> None:
        """Begins anew, because something went well."""
        self._failures = 0

    def delay_after(self, error: Unavailable) -> float:
        """The seconds to wait before the next try.

        Raises:
            Unavailable: the error itself, if it was one too many.
        """
        now = self._clock()
        if self._failures == 0:
            self._since = now
        self._failures += 1
        if self._tries is not None and self._failures >= self._tries:
            raise error
        if self._seconds is not None and now - self._since >= self._seconds:
            raise error
        # Half of it at random: clients that were cut off together shall not come back together.
        delay = self._policy.delay(self._failures) * (0.5 + 0.5 * self._spread())
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        return max(delay, asked)
