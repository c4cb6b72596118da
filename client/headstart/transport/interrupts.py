"""Starts calls where Ctrl-C cannot come between."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["uninterrupted"]

Started = TypeVar("Started")


def uninterrupted(start: Callable[[], Started]) -> Started:
    """Starts a streaming call, from the main thread in a new thread.

    Python raises KeyboardInterrupt in the main thread only, wherever it is. While gRPC starts a streaming
    call it leaves one behind that is never used, and closing the channel waits for it for ever (seen with
    grpcio 1.85). Started in another thread the call is attended to, even if the caller is gone meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        return start()
    with ThreadPoolExecutor(1, "headstart-start") as thread:
        return thread.submit(start).result()
