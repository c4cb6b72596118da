"""Retry policies, delays and deadlines."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from headstart.errors import DeadlineExceeded, HeadstartError, ResourceExhausted, Unavailable
from headstart.transport.call_log import LOGGER

#: Seconds for which an upload is repeated while the server loads its backbone.
LOADING_SECONDS = 600.0
#: The longest wait that a server may request before a retry, in seconds.
LONGEST_SECONDS = 600.0
_LOADING = "LOADING"
_CAPACITY_ATTEMPTS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How a client retries UNAVAILABLE calls. Delays grow exponentially, with random jitter.

    Attributes:
        attempts: maximum number of attempts of a call; 1 disables retries.
        initial_seconds: maximum delay before the second attempt.
        maximum_seconds: maximum delay, unless the server requests a longer one. A call is not retried if the
            server requests more than 10 minutes.
        multiplier: ratio of consecutive delays.
        outage_seconds: maximum seconds without an answer, or with a busy server, of a wait for a job, a watch
            and an upload to a dataset.
    """

    attempts: int = 5
    initial_seconds: float = 0.2
    maximum_seconds: float = 5.0
    multiplier: float = 2.0
    outage_seconds: float = 120.0

    def delay(self, failures: int) -> float:
        """Return the maximum delay in seconds after this number of consecutive failures."""
        # The exponent is bounded: a float overflows after some hundred failures.
        return min(self.maximum_seconds, self.initial_seconds * self.multiplier ** min(failures - 1, 64))


def loading_delay(
    error: Unavailable,
    policy: RetryPolicy,
    left: float | None,
    spread: Callable[[], float] = random.random,
) -> float | None:
    """Return the seconds until the retry of a call whose backbone is loading.

    It is the server's delay with 25 % jitter; None for another error, if retries are disabled, or if the
    deadline passes earlier.
    """
    if error.reason != _LOADING or policy.attempts <= 1:
        return None
    base = requested_seconds(error) or policy.maximum_seconds
    if base > LONGEST_SECONDS:
        return None
    delay = max(base, policy.initial_seconds) * (1.0 + 0.25 * spread())
    return delay if left is None or delay < left else None


def capacity_delay(
    error: HeadstartError,
    failures: int,
    left: float | None,
    spread: Callable[[], float] = random.random,
) -> float | None:
    """Return the seconds until a batch is retried because the server was busy.

    None for another error, or if the deadline passes earlier.
    """
    if not isinstance(error, ResourceExhausted) or error.retry_after is None or failures > _CAPACITY_ATTEMPTS:
        return None
    seconds = requested_seconds(error)
    delay = seconds * (1.0 + spread())
    return delay if seconds <= LONGEST_SECONDS and (left is None or delay < left) else None


def requested_seconds(error: HeadstartError) -> float:
    """Return the delay that the server requests, 0 without one."""
    return error.retry_after.total_seconds() if error.retry_after else 0.0


class Deadline:
    """The time of a timeout; None seconds: never."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() == 0.0

    def remaining(self) -> float | None:
        """Return the seconds left, 0 or more. None: no limit."""
        return None if self._end is None else max(self._end - self._clock(), 0.0)

    def within(self, seconds: float) -> float:
        """Return these seconds, or the seconds left if they are fewer."""
        remaining = self.remaining()
        return seconds if remaining is None else min(seconds, remaining)


class Backoff:
    """The delays after consecutive failures, until a number of attempts or seconds is exceeded."""

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
        """Reset the count after a success."""
        self._failures = 0

    def delay_after(self, error: HeadstartError) -> float:
        """Return the seconds until the next attempt; raise the error if a limit is exceeded."""
        now = self._clock()
        if self._failures == 0:
            self._since = now
        self._failures += 1
        if self._tries is not None and self._failures >= self._tries:
            raise error
        if self._seconds is not None and now - self._since >= self._seconds:
            raise error
        if requested_seconds(error) > LONGEST_SECONDS:
            raise error
        # Half of it is random, so that clients that were disconnected together do not reconnect together.
        delay = self._policy.delay(self._failures) * (0.5 + 0.5 * self._spread())
        return max(delay, requested_seconds(error))


class Outage:
    """The time for which a wait, a watch or an upload goes on without a server that accepts its calls.

    Args:
        policy: limits the outage.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._backoff = Backoff(policy, seconds=policy.outage_seconds)

    def answered(self) -> None:
        """Record that the server accepted a call."""
        self._backoff.reset()

    def interrupted(self, error: HeadstartError) -> float:
        """Return the seconds to wait after a transient error; raise other errors, and after a long outage."""
        is_busy = isinstance(error, ResourceExhausted) and error.retry_after is not None
        if not is_busy and not isinstance(error, Unavailable | DeadlineExceeded):
            raise error
        return self._backoff.delay_after(error)


class Attempts:
    """The attempts of one call, within a number of seconds for all of them."""

    def __init__(self, path: str, policy: RetryPolicy, seconds: float | None) -> None:
        self._path = path
        self._policy = policy
        self._deadline = Deadline(seconds)
        self._backoff = Backoff(policy, tries=policy.attempts)

    def remaining(self) -> float | None:
        """Return the seconds left, 0 or more. None: no limit."""
        return self._deadline.remaining()

    def delay_after(self, error: Unavailable, *, repeatable: bool) -> float:
        """Return the seconds until the next attempt; raise the error if no further attempt is allowed."""
        left = self.remaining()
        delay = loading_delay(error, self._policy, left)
        if delay is None:
            if not repeatable:
                raise error
            delay = self._backoff.delay_after(error)
            if left is not None and delay >= left:
                raise error
        LOGGER.info("%s is sent again in %.2f s: %s", self._path, delay, error)
        return delay
