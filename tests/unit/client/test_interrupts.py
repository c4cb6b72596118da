import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstart.transport.blocking_wire import uninterrupted


def test_from_the_main_thread_a_call_starts_in_another():
    assert uninterrupted(threading.current_thread) is not threading.main_thread()


def test_from_another_thread_a_call_starts_at_once():
    with ThreadPoolExecutor(1) as pool:
        inner, outer = pool.submit(
            lambda: (uninterrupted(threading.current_thread), threading.current_thread())
        ).result()

    assert inner is outer


def test_what_goes_wrong_at_the_start_is_raised():
    def start():
        raise ValueError("closed")

    with pytest.raises(ValueError, match="closed"):
        uninterrupted(start)
