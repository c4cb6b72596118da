"""The bearer token of each call."""

import asyncio
import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns one. `AsyncClient` takes coroutine functions too."""

_VISIBLE: Final = re.compile(r"[!-~]+")


class TokenSource:
    """The source of the token of each call. Safe to use from many threads.

    The result of a function is reused until the server rejects it as UNAUTHENTICATED.
    """

    def __init__(self, token: Token | None) -> None:
        self._supply = token if callable(token) else None
        self._token = None if callable(token) or not token else _checked(token)
        self._lock = threading.Lock()
        self._async_lock = asyncio.Lock()

    def get(self) -> str | None:
        """Return the token; the first call runs the function."""
        if self._supply is None:
            return self._token
        with self._lock:
            if self._token is None:
                self._token = _checked(self._supply())
            return self._token

    async def get_async(self) -> str | None:
        """Return the token as `get`; a function that is not a coroutine function runs in a thread."""
        if self._supply is None:
            return self._token
        async with self._async_lock:
            if self._token is None:
                supplied = await asyncio.to_thread(self._supply)
                self._token = _checked(await supplied if inspect.isawaitable(supplied) else supplied)
            return self._token

    def renew(self, rejected: str | None) -> bool:
        """Discard a rejected token; return False if no other token is possible."""
        if self._supply is None:
            return False
        if self._token == rejected:
            self._token = None
        return True


def _checked(token: Any) -> str:
    if inspect.iscoroutine(token):
        token.close()
        raise TypeError("token must return a str. Received: a coroutine. Use AsyncClient")
    if not isinstance(token, str):
        raise TypeError(
            f"token must be a str, or a function that returns one. Received: {type(token).__name__}"
        )
    stripped = token.strip()  # a file's last line ends with a line break
    if not _VISIBLE.fullmatch(stripped):
        raise ValueError("token must consist of visible ASCII characters. Check the file it was read from")
    return stripped
