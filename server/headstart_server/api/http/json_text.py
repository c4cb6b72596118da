"""Reads JSON without holding up other work, however it is made.

Python's `json` keeps the interpreter's lock until a whole text is read, in a thread too, so only small texts
go there. Larger ones are read a token at a time, in threads of their own, up to a number of values.
"""

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from headstart_server.api.grpc.requests.limits import MAX_TEXT

#: Larger texts are read in a thread, and a token at a time.
SMALL_BYTES = 32 << 10
#: Values of one text, and how deep they may lie in each other.
MAX_VALUES, MAX_DEPTH = 100_000, 64

_TOKEN = re.compile(rb'[ \t\r\n]*([\[\]{},:"]|[^\s\[\]{},:"]{1,400}|$)')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = {b"true": True, b"false": False, b"null": None}
_BACKSLASH = ord("\\")

_Result = TypeVar("_Result")

_POOL = ThreadPoolExecutor(2, "json")


async def in_json_thread(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Run the reading of a large text in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, work, *arguments)


def load_json(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, has a key twice in an object, or more or deeper values than allowed.
    """
    if len(text) > SMALL_BYTES:
        return _Reader(text).read()
    try:
        return json.loads(text.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise _too_deep() from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise _twice(next(name for name in names if names.count(name) > 1))
    return values


class _Reader:
    """Reads one text.

    Args:
        text: in UTF-8.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._place = 0
        self._values = 0
        #: The containers around the next value, and the key of each that is an object.
        self._around: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str] = []

    def read(self) -> Any:
        while True:
            value = self._value()
            if value is _OPENED:
                continue
            while True:
                if not self._around:
                    if self._token():
                        raise self._wrong("the end")
                    return value
                self._add(value)
                token = self._token()
                if token == b",":
                    if isinstance(self._around[-1], dict):
                        self._key(self._token())
                    break
                if token != (b"}" if isinstance(self._around[-1], dict) else b"]"):
                    raise self._wrong("a comma or the end of the list or object")
                value = self._close()

    def _token(self) -> bytes:
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            raise self._wrong("a value")
        self._place = match.end()
        return match[1]

    def _value(self) -> Any:
        """Return the next value, or a mark that a container was opened that is not empty."""
        self._count()
        token = self._token()
        if token == b'"':
            return self._string()
        if token in (b"{", b"["):
            return self._open(token)
        if token in _LITERALS:
            return _LITERALS[token]
        number = _NUMBER.fullmatch(token)
        if number is None:
            raise self._wrong("a value")
        return float(token) if number[1] or number[2] else int(token)

    def _open(self, token: bytes) -> Any:
        if len(self._around) >= MAX_DEPTH:
            raise _too_deep()
        container: dict[str, Any] | list[Any] = {} if token == b"{" else []
        self._around.append(container)
        self._keys.append("")
        start = self._place
        following = self._token()
        if following == (b"}" if token == b"{" else b"]"):
            return self._close()
        if token == b"{":
            self._key(following)
        else:
            self._place = start
        return _OPENED

    def _close(self) -> Any:
        self._keys.pop()
        return self._around.pop()

    def _key(self, token: bytes) -> None:
        if token != b'"':
            raise self._wrong("a name in quotes")
        key = self._string()
        if not isinstance(key, str):
            raise ValueError(f"a key of more than {MAX_TEXT} characters")
        if self._token() != b":":
            raise self._wrong("a colon")
        if key in self._around[-1]:
            raise _twice(key)
        self._keys[-1] = key

    def _add(self, value: Any) -> None:
        container = self._around[-1]
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)

    def _string(self) -> Any:
        """Return the string whose opening quote was read; one that is too long for a text as bytes.

        Only base64 may be that long: protobuf decodes it from bytes, and rejects them where a text belongs.
        """
        text, start = self._text, self._place
        end = start
        while True:
            end = text.find(b'"', end)
            if end < 0:
                raise self._wrong("the end of a string")
            before = end - 1
            while before >= start and text[before] == _BACKSLASH:
                before -= 1
            if (end - 1 - before) % 2 == 0:
                break
            self._count()
            end += 1
        self._place = end + 1
        if end - start > 4 * MAX_TEXT and text.find(b"\\", start, end) < 0:
            return text[start:end]
        value = json.loads(text[start - 1 : end + 1].decode())
        return value if len(value) <= MAX_TEXT else value.encode(errors="surrogatepass")

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(
                f"more than {MAX_VALUES} values. Send them in several requests, or examples as JSON lines"
            )

    def _wrong(self, wanted: str) -> ValueError:
        found = bytes(self._text[self._place - 1 : self._place + 19])
        return ValueError(f"no JSON: {wanted} is missing at byte {self._place}, before {found!r}")


_OPENED = object()


def _too_deep() -> ValueError:
    return ValueError(f"values that lie deeper than {MAX_DEPTH} in each other")


def _twice(key: str) -> ValueError:
    return ValueError(f"the key {key[:80]!r} twice in one object")
