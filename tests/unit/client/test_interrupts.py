import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstart.transport.blocking_wire import uninterrupted


def threads() -> tuple[threading.Thread, threading.Thread]:
    """The thread in which a function runs, and the one that calls it."""
    with uninterrupted() as run:
        return run(threading.current_thread), threading.current_thread()


def test_from_the_main_thread_functions_run_in_another():
    inner, outer = threads()

    assert outer is threading.main_thread()
    assert inner is not outer
    assert not inner.is_alive()


def test_from_another_thread_functions_run_there():
    with ThreadPoolExecutor(1) as pool:
        inner, outer = pool.submit(threads).result()

    assert inner is outer


def test_what_goes_wrong_is_raised():
    def start():
        raise ValueError("closed")

    with pytest.raises(ValueError, match="closed"), uninterrupted() as run:
        run(start)
