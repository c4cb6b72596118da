from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from headstart.errors import ErrorDetails, ResourceExhausted, Unavailable
from headstart.transport.retries import Backoff, RetryPolicy, capacity_delay, loading_delay

ERROR = Unavailable(ErrorDetails(code=grpc.StatusCode.UNAVAILABLE, message="no"))
POLICY = RetryPolicy(initial_seconds=1, maximum_seconds=5, multiplier=2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_delays_grow_up_to_the_maximum():
    backoff = Backoff(POLICY, spread=lambda: 1.0)

    assert [backoff.delay_after(ERROR) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_at_most_half_of_a_delay_is_taken_off_at_random():
    assert Backoff(POLICY, spread=lambda: 0.0).delay_after(ERROR) == 0.5


def test_what_the_server_asks_for_is_waited_at_least():
    asking = Unavailable(replace(ERROR.details, retry_after=timedelta(seconds=9)))

    assert Backoff(POLICY).delay_after(asking) == 9


def test_after_so_many_tries_the_error_is_raised():
    backoff = Backoff(POLICY, tries=3)
    backoff.delay_after(ERROR)
    backoff.delay_after(ERROR)

    with pytest.raises(Unavailable):
        backoff.delay_after(ERROR)


def test_after_so_long_the_error_is_raised_unless_something_went_well_meanwhile():
    clock = Clock()
    backoff = Backoff(POLICY, seconds=60, clock=clock)
    backoff.delay_after(ERROR)
    clock.now = 59
    backoff.delay_after(ERROR)
    backoff.reset()
    clock.now = 100
    backoff.delay_after(ERROR)
    clock.now = 160

    with pytest.raises(Unavailable):
        backoff.delay_after(ERROR)


def test_a_thousand_failures_do_not_overflow():
    assert POLICY.delay(5000) == 5


@pytest.mark.parametrize("reason", ["", "LOADING"])
def test_a_server_that_asks_for_a_year_is_not_waited_for(reason):
    details = replace(ERROR.details, retry_after=timedelta(days=365), reason=reason)

    with pytest.raises(Unavailable):
        Backoff(POLICY).delay_after(Unavailable(details))
    assert loading_delay(Unavailable(details), POLICY, None) is None
    assert capacity_delay(ResourceExhausted(details), 1, None) is None


def test_a_batch_does_not_wait_beyond_its_deadline():
    details = replace(ERROR.details, retry_after=timedelta(seconds=3))

    def delay(left: float | None) -> float | None:
        return capacity_delay(ResourceExhausted(details), 1, left, spread=lambda: 0.0)

    assert [delay(None), delay(3.1), delay(3.0), delay(1.0)] == [3, 3, None, None]


def test_a_server_that_loads_is_not_flooded():
    details = replace(ERROR.details, retry_after=timedelta(microseconds=1), reason="LOADING")

    assert loading_delay(Unavailable(details), POLICY, None, spread=lambda: 0.0) == 1
