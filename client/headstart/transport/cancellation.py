"""Cancels uploads from other threads."""

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class UploadCancelled(Exception):  # seen only by the upload's thread
    """The caller cancelled the upload."""


class Cancellable(Protocol):
    """A running call."""

    def cancel(self) -> object:
        """End the call."""


class Cancellation:
    """Lets another thread cancel an upload at any time: its call, its reading of examples and its pauses."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._call: Cancellable | None = None

    def request(self) -> None:
        """Cancel the running call; the upload's thread then raises `UploadCancelled`."""
        self._requested.set()  # before reading the call: `covers` does the opposite, so one of them sees it
        if self._call is not None:
            self._call.cancel()

    def covers(self, call: Cancellable) -> None:
        """Cancel this call too on request; raise `UploadCancelled` if the upload is cancelled already."""
        self._call = call
        self.check()

    def check(self) -> None:
        """Raise `UploadCancelled` if the upload is cancelled."""
        if self._requested.is_set():
            raise UploadCancelled

    def pause(self, seconds: float) -> None:
        """Wait; raise `UploadCancelled` as soon as the upload is cancelled."""
        self._requested.wait(seconds)
        self.check()

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items; raise `UploadCancelled` after the first one that arrives too late."""
        for item in items:
            self.check()
            yield item
