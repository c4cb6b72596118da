"""Starts calls without interruption by Ctrl-C."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["uninterrupted"]

Started = TypeVar("Started")


def uninterrupted(start: Callable[[], Started]) -> Started:
    """Start a streaming call; from the main thread, start it in a new thread.

    Python raises KeyboardInterrupt in the main thread only, at any instruction. Raised while gRPC starts a
    streaming call, it leaves an unused call behind, and closing the channel waits for it forever (seen with
    grpcio 1.85). A call that starts in another thread is handled, even if its caller is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        return start()
    with ThreadPoolExecutor(1, "headstart-start") as thread:
        return thread.submit(start).result()
