import pytest

from headstart.transport.cancellation import Cancellation, UploadCancelled


class Call:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_a_request_cancels_the_newest_call():
    cancellation, first, second = Cancellation(), Call(), Call()
    cancellation.covers(first)
    cancellation.covers(second)

    cancellation.request()

    assert (first.cancelled, second.cancelled) == (False, True)


def test_a_call_that_starts_after_the_request_is_refused():
    cancellation = Cancellation()
    cancellation.request()

    with pytest.raises(UploadCancelled):
        cancellation.covers(Call())


def test_a_request_ends_a_pause_of_any_length():
    cancellation = Cancellation()
    cancellation.request()

    with pytest.raises(UploadCancelled):
        cancellation.pause(1e6)


def test_items_that_arrive_after_the_request_are_dropped():
    cancellation = Cancellation()
    items = cancellation.checked([1, 2, 3])

    assert next(items) == 1
    cancellation.request()
    with pytest.raises(UploadCancelled):
        next(items)
